//! How bodies cross, both ways.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::Poll,
};

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::SizeHint;
use http_body_util::{BodyExt as _, StreamBody};
use replug_plugin::{
    BoxError, Setup, abi,
    glue::body::{BodySource, export},
};
use tokio::runtime::Handle;

use crate::{
    bell::Bell,
    host::{App, plugin},
    message::{Body as Received, Frame},
};

/// A request's body, from the host's side.
pub(crate) struct Given {
    chunks: VecDeque<&'static str>,
    trailers: Option<HeaderMap>,
    /// Whether it breaks off instead of ending.
    broken: bool,
    pub(crate) polls: Arc<AtomicU32>,
    pub(crate) dropped: Arc<AtomicBool>,
}

impl Given {
    pub(crate) fn new<const N: usize>(chunks: [&'static str; N]) -> Self {
        Self {
            chunks: chunks.into(),
            trailers: None,
            broken: false,
            polls: Arc::default(),
            dropped: Arc::default(),
        }
    }

    pub(crate) fn into_abi(self) -> abi::Body {
        export(self)
    }
}

impl BodySource for Given {
    fn poll(&mut self, _: &abi::Waker) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        let data = self.chunks.pop_front().map(Bytes::from);
        let trailers = || self.trailers.take().map(http_body::Frame::trailers);
        Poll::Ready(match data.map(http_body::Frame::data).or_else(trailers) {
            Some(frame) => Some(Ok(frame)),
            None if self.broken => Some(Err("the client is gone".into())),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }

    fn is_end(&self) -> bool {
        false
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

fn x(value: &'static str) -> HeaderMap {
    [(
        http::HeaderName::from_static("x"),
        HeaderValue::from_static(value),
    )]
    .into_iter()
    .collect()
}

/// The body that `GET /` answers with.
fn body_of(app: &App) -> Received {
    app.get("/").wait().unwrap().body
}

#[test]
fn frames_and_trailers_come_in_order() {
    fn app(_: &mut Setup) -> Router {
        async fn handler() -> Body {
            let frames = ["one", "two"].map(|text| http_body::Frame::data(Bytes::from(text)));
            let stream = futures_util::stream::iter(frames.map(Ok::<_, Infallible>));
            Body::new(StreamBody::new(stream).with_trailers(async { Some(Ok(x("y"))) }))
        }
        Router::new().route("/", get(handler))
    }
    let app = App::start(plugin!(app));
    let mut body = body_of(&app);
    assert_eq!((body.raw.lower, body.raw.upper), (0, u64::MAX));
    assert!(matches!(body.next(), Frame::Data(data) if data == "one"));
    assert!(matches!(body.next(), Frame::Data(data) if data == "two"));
    assert!(matches!(body.next(), Frame::Trailers(trailers) if trailers == x("y")));
    assert!(matches!(body.next(), Frame::End));
    assert!(matches!(body.next(), Frame::End));
    drop(body);
    app.stop();
}

#[test]
fn size_of_a_body_is_known_before_it_is_read() {
    fn app(_: &mut Setup) -> Router {
        Router::new()
            .route("/", get(async || "hello"))
            .route("/empty", get(async || ()))
    }
    let app = App::start(plugin!(app));
    let body = body_of(&app);
    assert_eq!((body.raw.lower, body.raw.upper), (5, 5));
    drop(body);
    let empty = app.get("/empty").wait().unwrap().body;
    assert!(empty.raw.this.is_null());
    assert_eq!((empty.raw.lower, empty.raw.upper), (0, 0));
    app.stop();
}

#[test]
fn data_crosses_without_a_copy() {
    static DATA: [u8; 4096] = [7; 4096];
    fn app(_: &mut Setup) -> Router {
        Router::new().route("/", get(async || Bytes::from_static(&DATA)))
    }
    let app = App::start(plugin!(app));
    let mut body = body_of(&app);
    assert!(matches!(body.next(), Frame::Data(data) if data.as_ptr() == DATA.as_ptr()));
    drop(body);
    app.stop();
}

#[test]
fn error_in_a_body_ends_it_with_the_reason() {
    fn app(_: &mut Setup) -> Router {
        async fn handler() -> Body {
            let items = [Ok("first"), Err("disk on fire")];
            Body::from_stream(futures_util::stream::iter(items))
        }
        Router::new().route("/", get(handler))
    }
    let app = App::start(plugin!(app));
    let mut body = body_of(&app);
    assert!(matches!(body.next(), Frame::Data(data) if data == "first"));
    let Frame::Failed(failed) = body.next() else {
        panic!("no failure");
    };
    assert_eq!(failed.status, abi::ERROR);
    assert_eq!(failed.message, "disk on fire");
    drop(body);
    app.stop();
}

#[test]
fn panic_in_a_body_ends_it_with_message_and_place() {
    fn half_way() -> Result<&'static str, Infallible> {
        panic!("half way")
    }
    fn app(_: &mut Setup) -> Router {
        async fn handler() -> Body {
            let panics = futures_util::stream::once(async { half_way() });
            Body::from_stream(panics)
        }
        Router::new().route("/", get(handler))
    }
    let app = App::start(plugin!(app));
    let mut body = body_of(&app);
    let Frame::Failed(failed) = body.next() else {
        panic!("no failure");
    };
    failed.assert_panic("half way", "bodies.rs");
    drop(body);
    app.stop();
}

#[test]
fn dropped_body_drops_its_source_with_the_runtime_entered() {
    static DROPPED: AtomicBool = AtomicBool::new(false);
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            DROPPED.store(Handle::try_current().is_ok(), Ordering::SeqCst);
        }
    }
    fn app(_: &mut Setup) -> Router {
        async fn handler() -> Body {
            let guard = Guard;
            Body::from_stream(futures_util::stream::once(async move {
                let _guard = guard;
                std::future::pending::<Result<&str, Infallible>>().await
            }))
        }
        Router::new().route("/", get(handler))
    }
    let app = App::start(plugin!(app));
    let bell = Arc::new(Bell::default());
    let mut body = body_of(&app);
    assert!(body.poll(&bell).is_none());
    drop(body);
    assert!(DROPPED.load(Ordering::SeqCst));
    assert_eq!(Arc::strong_count(&bell), 1);
    app.stop();
}

#[test]
fn request_s_body_streams_through_with_its_trailers() {
    fn app(_: &mut Setup) -> Router {
        Router::new().route("/", post(async |body: Body| body))
    }
    let app = App::start(plugin!(app));
    let mut given = Given::new(["in", "out"]);
    given.trailers = Some(x("z"));
    let polls = Arc::clone(&given.polls);
    let mut call = app.call("POST", "/", &[], given.into_abi()).unwrap();
    let mut body = call.wait().unwrap().body;
    assert_eq!(polls.load(Ordering::SeqCst), 0, "nobody has asked for it");
    assert!(matches!(body.next(), Frame::Data(data) if data == "in"));
    assert_eq!(polls.load(Ordering::SeqCst), 1);
    assert!(matches!(body.next(), Frame::Data(data) if data == "out"));
    assert!(matches!(body.next(), Frame::Trailers(trailers) if trailers == x("z")));
    assert!(matches!(body.next(), Frame::End));
    drop((body, call));
    app.stop();
}

#[test]
fn request_s_body_that_nobody_wants_is_dropped_unread() {
    fn app(_: &mut Setup) -> Router {
        Router::new().route("/", post(async || "no, thanks"))
    }
    let app = App::start(plugin!(app));
    let given = Given::new(["unread"]);
    let (polls, dropped) = (Arc::clone(&given.polls), Arc::clone(&given.dropped));
    let mut call = app.call("POST", "/", &[], given.into_abi()).unwrap();
    assert_eq!(call.wait().unwrap().body.text(), "no, thanks");
    drop(call);
    assert!(dropped.load(Ordering::SeqCst));
    assert_eq!(polls.load(Ordering::SeqCst), 0);
    app.stop();
}

#[test]
fn request_s_body_that_breaks_off_is_an_error_to_its_reader() {
    fn app(_: &mut Setup) -> Router {
        async fn handler(body: Body) -> String {
            let error = body.collect().await.err();
            error.map_or_else(String::new, |error| error.to_string())
        }
        Router::new().route("/", post(handler))
    }
    let app = App::start(plugin!(app));
    let mut given = Given::new(["first"]);
    given.broken = true;
    let mut call = app.call("POST", "/", &[], given.into_abi()).unwrap();
    assert_eq!(call.wait().unwrap().body.text(), "the client is gone");
    drop(call);
    app.stop();
}

#[test]
fn data_outlives_its_body_and_its_call() {
    fn app(_: &mut Setup) -> Router {
        Router::new().route("/", get(async || "a".repeat(100)))
    }
    let app = App::start(plugin!(app));
    let Frame::Data(data) = body_of(&app).next() else {
        panic!("no data");
    };
    assert_eq!(data, "a".repeat(100));
    drop(data);
    app.stop();
}
