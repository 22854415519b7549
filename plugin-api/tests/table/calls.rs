//! How a request is answered, or not.

use std::{
    convert::Infallible,
    future::{pending, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use axum::{Router, body::Bytes, extract::OriginalUri, routing::get};
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use replug_plugin::{AppService, Body, Peer, RequestInfo, Setup, abi};
use tokio::runtime::Handle;

use crate::{
    bell::Bell,
    bodies::Given,
    host::{App, plugin},
};

#[test]
fn request_arrives_whole() {
    async fn handler(
        method: Method,
        OriginalUri(uri): OriginalUri,
        version: Version,
        headers: HeaderMap,
        axum::Extension(info): axum::Extension<RequestInfo>,
        body: Bytes,
    ) -> String {
        assert_eq!(method, Method::PATCH);
        assert_eq!(uri, Uri::from_static("/?a=b"));
        assert_eq!(version, Version::HTTP_2);
        let values: Vec<_> = headers.get_all("x-many").iter().collect();
        assert_eq!(values, ["one", "two"]);
        assert_eq!(headers["x-bytes"].as_bytes(), b"\xff");
        assert_eq!(info.peer(), Peer::Inet("127.0.0.1:80".parse().unwrap()));
        assert_eq!(info.original_uri(), "/mounted/?a=b");
        assert_eq!(info.mount(), "/mounted");
        assert_eq!(info.generation(), 3);
        assert_eq!(info.request_id(), 9);
        format!("{} bytes", body.len())
    }
    fn app(_: &mut Setup) -> Router {
        Router::new().route("/", axum::routing::any(handler))
    }
    let app = App::start(plugin!(app));
    let headers: [(&str, &[u8]); 3] =
        [("x-many", b"one"), ("x-many", b"two"), ("x-bytes", b"\xff")];
    let body = Given::new(["seven", " b"]).into_abi();
    let mut call = app.call("PATCH", "/?a=b", &headers, body).unwrap();
    let response = call.wait().unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.headers["content-length"], "7");
    assert_eq!(response.body.text(), "7 bytes");
    drop(call);
    app.stop();
}

#[test]
fn panic_in_a_handler_is_that_request_s_alone() {
    fn app(_: &mut Setup) -> Router {
        Router::new()
            .route("/", get(async || "fine"))
            .route("/panic", get(async || -> () { panic!("lost {}", 1) }))
    }
    let app = App::start(plugin!(app));
    let failed = app.get("/panic").wait().unwrap_err();
    failed.assert_panic("lost 1", "calls.rs");
    assert_eq!(app.get("/").wait().unwrap().body.text(), "fine");
    app.stop();
}

#[test]
fn error_of_a_service_comes_back_as_text() {
    fn app(_: &mut Setup) -> impl AppService + use<> {
        tower::service_fn(|_: Request<Body>| ready(Err::<Response<Body>, _>("out of order")))
    }
    let app = App::start(plugin!(app));
    let failed = app.get("/").wait().unwrap_err();
    assert_eq!(
        (failed.status, &*failed.message),
        (abi::ERROR, "out of order")
    );
    app.stop();
}

#[test]
fn request_that_is_none_is_refused_and_its_body_dropped() {
    fn app(_: &mut Setup) -> Router {
        Router::new()
    }
    let app = App::start(plugin!(app));
    let body = Given::new(["unread"]);
    let dropped = Arc::clone(&body.dropped);
    let failed = app.call("GET", "/ /", &[], body.into_abi()).err().unwrap();
    assert_eq!(failed.status, abi::ERROR);
    assert!(dropped.load(Ordering::SeqCst));
    app.stop();
}

#[test]
fn panic_before_there_is_a_future_refuses_the_call() {
    struct Fragile;
    impl Clone for Fragile {
        fn clone(&self) -> Self {
            panic!("handle with care");
        }
    }
    fn app(_: &mut Setup) -> impl AppService + use<> {
        let fragile = Fragile;
        tower::service_fn(move |_: Request<Body>| {
            let _ = &fragile;
            ready(Ok::<_, Infallible>(Response::new(Body::empty())))
        })
    }
    let app = App::start(plugin!(app));
    let failed = app.call("GET", "/", &[], abi::Body::EMPTY).err().unwrap();
    failed.assert_panic("handle with care", "calls.rs");
    app.stop();
}

#[test]
fn dropped_call_is_cancelled_with_the_runtime_entered() {
    static CANCELLED: AtomicBool = AtomicBool::new(false);
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            CANCELLED.store(Handle::try_current().is_ok(), Ordering::SeqCst);
        }
    }
    fn app(_: &mut Setup) -> Router {
        Router::new().route(
            "/",
            get(async || -> () {
                let _guard = Guard;
                pending().await
            }),
        )
    }
    let app = App::start(plugin!(app));
    let bell = Arc::new(Bell::default());
    let mut call = app.get("/");
    assert!(call.poll(&bell).is_none());
    assert!(!CANCELLED.load(Ordering::SeqCst));
    drop(call);
    assert!(CANCELLED.load(Ordering::SeqCst));
    assert_eq!(Arc::strong_count(&bell), 1);
    app.stop();
}

#[test]
fn call_that_is_never_polled_can_be_dropped() {
    fn app(_: &mut Setup) -> Router {
        Router::new()
    }
    let app = App::start(plugin!(app));
    drop(app.get("/"));
    app.stop();
}

#[test]
fn panic_in_a_destructor_of_a_cancelled_call_is_survived() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("boom");
        }
    }
    fn app(_: &mut Setup) -> Router {
        Router::new().route("/", get(async || "fine")).route(
            "/bomb",
            get(async || -> () {
                let _bomb = Bomb;
                pending().await
            }),
        )
    }
    let app = App::start(plugin!(app));
    let mut call = app.get("/bomb");
    assert!(call.poll(&Arc::new(Bell::default())).is_none());
    drop(call);
    assert_eq!(app.get("/").wait().unwrap().body.text(), "fine");
    app.stop();
}

#[test]
fn call_polled_again_after_it_was_ready_fails() {
    fn app(_: &mut Setup) -> Router {
        Router::new()
    }
    let app = App::start(plugin!(app));
    let mut call = app.get("/");
    assert_eq!(call.wait().unwrap().status, 404);
    let status = call.wait().unwrap_err().status;
    assert!([abi::ERROR, abi::PANICKED].contains(&status), "{status}");
    drop(call);
    app.stop();
}

#[test]
fn timer_wakes_the_host_from_the_plugin_s_runtime() {
    fn app(_: &mut Setup) -> Router {
        Router::new().route(
            "/",
            get(async || {
                tokio::time::sleep(Duration::from_millis(1)).await;
                tokio::spawn(async { "rested" }).await.unwrap_or("broken")
            }),
        )
    }
    let app = App::start(plugin!(app));
    let bell = Arc::new(Bell::default());
    let mut call = app.get("/");
    assert!(call.poll(&bell).is_none());
    assert_ne!(bell.wait(), thread::current().id());
    assert_eq!(call.wait().unwrap().body.text(), "rested");
    drop(call);
    app.stop();
    assert_eq!(Arc::strong_count(&bell), 1, "a waker is left");
}
