//! What reaches the host's log.

use axum::{Router, routing::get};
use replug_plugin::Setup;

use crate::host::{App, logged, plugin};

#[test]
fn events_and_records_arrive_with_spans_fields_and_request() {
    async fn handler() {
        let _span = tracing::info_span!("outer", id = 7).entered();
        tracing::warn!(answer = 42, "an event of the tests");
        log::info!("a record of the tests");
    }
    fn app(_: &mut Setup) -> Router {
        Router::new().route("/", get(handler))
    }
    let app = App::start(plugin!(app));
    app.get("/").wait().unwrap();
    app.stop();

    let events = logged("an event of the tests");
    let [event] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(
        // Whose it is, the first plugin to start has said for all.
        (event.context != 0, event.level, event.request_id),
        (true, 2, 9)
    );
    assert_eq!(event.target, module_path!());
    assert_eq!(event.spans, "outer{id=7}");
    assert_eq!(event.fields, [("answer".to_owned(), "42".to_owned())]);

    let records = logged("a record of the tests");
    let [record] = records.as_slice() else {
        panic!("{records:?}");
    };
    assert_eq!((record.level, record.request_id), (3, 9));
    assert_eq!(record.target, module_path!());
}

#[test]
fn panic_in_a_task_is_logged_with_its_place() {
    async fn handler() -> String {
        let task = tokio::spawn(async { panic!("a task of the tests fails") });
        let outcome: Result<(), _> = task.await;
        outcome.is_err().to_string()
    }
    fn app(_: &mut Setup) -> Router {
        Router::new().route("/", get(handler))
    }
    let app = App::start(plugin!(app));
    assert_eq!(app.get("/").wait().unwrap().body.text(), "true");
    app.stop();

    let panics = logged("panicked: a task of the tests fails");
    let [panic] = panics.as_slice() else {
        panic!("{panics:?}");
    };
    assert_eq!(panic.level, 1);
    let [(key, place)] = panic.fields.as_slice() else {
        panic!("{panic:?}");
    };
    assert_eq!(key, "location");
    assert!(place.contains("logs.rs"), "{place}");
}
