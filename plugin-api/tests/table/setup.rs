//! How a plugin starts.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU32, Ordering},
};

use axum::{Router, routing::get};
use replug_plugin::{BoxError, Mode, Setup, abi};
use serde::Deserialize;

use crate::host::{App, plugin};

fn router() -> Router {
    Router::new().route("/", get(async || "hello"))
}

#[track_caller]
fn check_answers(table: abi::PluginTable) {
    let app = App::start(table);
    assert_eq!(app.get("/").wait().unwrap().body.text(), "hello");
    app.stop();
}

#[test]
fn plain_function_starts() {
    fn app(_: &mut Setup) -> Router {
        router()
    }
    check_answers(plugin!(app));
}

#[test]
fn fallible_function_starts() {
    fn app(_: &mut Setup) -> Result<Router, Infallible> {
        Ok(router())
    }
    check_answers(plugin!(app));
}

#[test]
fn async_function_starts() {
    async fn app(_: &mut Setup) -> Router {
        tokio::task::yield_now().await;
        router()
    }
    check_answers(plugin!(app));
}

#[test]
fn async_fallible_function_starts() {
    async fn app(_: &mut Setup) -> Result<Router, BoxError> {
        tokio::spawn(async {}).await?;
        Ok(router())
    }
    check_answers(plugin!(app));
}

#[test]
fn setup_knows_its_facts_and_settings() {
    #[derive(Deserialize)]
    struct Settings {
        greeting: String,
    }
    fn app(setup: &mut Setup) -> Result<Router, BoxError> {
        assert_eq!(setup.name(), "tested");
        assert_eq!(setup.path(), "/srv/libtested.so");
        assert_eq!(setup.mount(), "/mounted");
        assert_eq!(setup.generation(), 3);
        let Mode::Daemon { group, worker, .. } = setup.mode() else {
            panic!("{:?}", setup.mode());
        };
        assert_eq!((group.as_str(), *worker), ("blue", 2));
        assert_eq!(setup.settings::<Settings>()?.greeting, "hi");
        assert_eq!(setup.shutdown().reason(), None);
        Ok(router())
    }
    let app = App::try_start(plugin!(app), r#"{"greeting":"hi"}"#).unwrap();
    app.stop();
}

#[test]
fn error_in_setup_comes_back_with_its_causes() {
    fn app(setup: &mut Setup) -> Result<Router, BoxError> {
        setup.settings::<Vec<u8>>()?;
        Ok(router())
    }
    let failed = App::try_start(plugin!(app), "{}").err().unwrap();
    assert_eq!(failed.status, abi::ERROR);
    assert!(failed.message.contains("`tested`"), "{failed:?}");
    assert!(failed.message.contains("expected a sequence"), "{failed:?}");
    assert_eq!(failed.location, "");
}

#[test]
fn panic_in_setup_comes_back_as_one() {
    fn app(_: &mut Setup) -> Router {
        panic!("no {}", "way")
    }
    let failed = App::try_start(plugin!(app), "{}").err().unwrap();
    failed.assert_panic("no way", "setup.rs");
}

#[test]
fn setup_that_fails_is_cleaned_up() {
    static CLEANED: AtomicU32 = AtomicU32::new(0);
    async fn app(setup: &mut Setup) -> Result<Router, BoxError> {
        setup.on_cleanup(|| {
            CLEANED.fetch_add(1, Ordering::SeqCst);
        });
        setup.on_cleanup(async || {
            CLEANED.fetch_add(1, Ordering::SeqCst);
        });
        Err("changed my mind".into())
    }
    let failed = App::try_start(plugin!(app), "{}").err().unwrap();
    assert_eq!(failed.message, "changed my mind");
    assert_eq!(CLEANED.load(Ordering::SeqCst), 2);
}
