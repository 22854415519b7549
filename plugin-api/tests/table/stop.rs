//! How a plugin stops.

use std::{
    convert::Infallible,
    future::{pending, ready},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use axum::{Router, routing::get};
use http::{Request, Response};
use replug_plugin::{AppService, Body, Setup, abi};

use crate::host::{App, plugin};

#[test]
fn hooks_run_last_first_and_are_counted() {
    static ORDER: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    fn app(setup: &mut Setup) -> Router {
        setup.on_cleanup(|| ORDER.lock().unwrap().push("first"));
        setup.on_cleanup(async || {
            tokio::time::sleep(Duration::from_millis(1)).await;
            ORDER.lock().unwrap().push("second");
        });
        setup.on_cleanup(|| -> () { panic!("third fails") });
        setup
            .on_cleanup(pending::<()>)
            .name("fourth hangs")
            .time_limit(Duration::from_millis(1));
        setup.on_cleanup(|| ORDER.lock().unwrap().push("fifth"));
        Router::new()
    }
    let report = App::start(plugin!(app)).stop();
    assert_eq!(*ORDER.lock().unwrap(), ["fifth", "second", "first"]);
    assert_eq!((report.hooks_done, report.hooks_failed), (3, 2));
    assert_eq!(report.threads_left, 0);
}

#[test]
fn shutdown_resolves_the_token_with_its_reason() {
    fn app(setup: &mut Setup) -> Router {
        let token = setup.shutdown();
        let handler = move || {
            let mut token = token.clone();
            async move { token.wait().await.to_string() }
        };
        Router::new().route("/", get(handler))
    }
    let app = App::start(plugin!(app));
    let mut call = app.get("/");
    assert!(call.poll(&std::sync::Arc::default()).is_none());
    app.shutdown(abi::REASON_REMOVAL);
    app.shutdown(abi::REASON_HOST_SHUTDOWN);
    assert_eq!(call.wait().unwrap().body.text(), "removal");
    drop(call);
    app.stop();
}

#[test]
fn stop_alone_resolves_the_token_before_the_hooks_run() {
    static SEEN: AtomicBool = AtomicBool::new(false);
    fn app(setup: &mut Setup) -> Router {
        let token = setup.shutdown();
        setup.on_cleanup(move || SEEN.store(token.reason().is_some(), Ordering::SeqCst));
        Router::new()
    }
    App::start(plugin!(app)).stop();
    assert!(SEEN.load(Ordering::SeqCst));
}

#[test]
fn panic_in_the_service_s_destructor_is_survived() {
    #[derive(Clone)]
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("boom");
        }
    }
    fn app(setup: &mut Setup) -> impl AppService + use<> {
        setup.on_cleanup(|| {});
        let bomb = Bomb;
        tower::service_fn(move |_: Request<Body>| {
            let _ = &bomb;
            ready(Ok::<_, Infallible>(Response::new(Body::empty())))
        })
    }
    let report = App::start(plugin!(app)).stop();
    assert_eq!((report.hooks_done, report.threads_left), (1, 0));
}

#[test]
fn tasks_end_with_the_runtime() {
    static ENDED: AtomicBool = AtomicBool::new(false);
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            ENDED.store(true, Ordering::SeqCst);
        }
    }
    async fn app(_: &mut Setup) -> Router {
        let guard = Guard;
        tokio::spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        Router::new()
    }
    let report = App::start(plugin!(app)).stop();
    assert!(ENDED.load(Ordering::SeqCst));
    assert_eq!(report.threads_left, 0);
}

#[test]
fn thread_that_does_not_end_in_time_is_reported() {
    static RELEASE: Mutex<Option<mpsc::Sender<()>>> = Mutex::new(None);
    async fn app(_: &mut Setup) -> Router {
        let (release, released) = mpsc::channel();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        *RELEASE.lock().unwrap() = Some(release);
        tokio::task::spawn_blocking(move || {
            let _ = begun.send(());
            released.recv()
        });
        let _ = has_begun.await;
        Router::new()
    }
    let report = App::start(plugin!(app)).stop();
    assert_eq!(report.threads_left, 1);
    RELEASE.lock().unwrap().take();
}
