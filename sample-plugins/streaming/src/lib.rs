//! Bodies that are made or passed on piece by piece: server-sent events, a download, an echo.

#![forbid(unsafe_code)]

use std::{convert::Infallible, fmt::Write as _, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName},
    response::sse::{Event, Sse},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use replug_plugin::{Setup, ShutdownToken, export_app};

export_app!(app);

fn app(setup: &mut Setup) -> Router {
    Router::new()
        .route("/events", get(events))
        .route("/download", get(download))
        .route("/echo", post(echo))
        .with_state(setup.shutdown())
}

/// A tick each second; when draining begins, an event that says why, and the end. Clients of
/// server-sent events connect again by themselves, and so come to the next generation.
async fn events(
    State(shutdown): State<ShutdownToken>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = tokio::time::interval(Duration::from_secs(1));
    let start = Some((0_u64, ticks, shutdown));
    Sse::new(stream::unfold(start, |state| async {
        let (number, mut ticks, mut shutdown) = state?;
        tokio::select! {
            biased;
            reason = shutdown.wait() => {
                let last = Event::default().event("end").data(reason.to_string());
                Some((Ok(last), None))
            }
            _ = ticks.tick() => {
                let tick = Event::default().event("tick").data(number.to_string());
                Some((Ok(tick), Some((number + 1, ticks, shutdown))))
            }
        }
    }))
}

#[derive(serde::Deserialize)]
struct Download {
    #[serde(default = "one_mebibyte")]
    bytes: u64,
}

fn one_mebibyte() -> u64 {
    1 << 20
}

const LINE: usize = 16;
const CHUNK: u64 = 4096 * LINE as u64;

/// Numbered lines, made when the client has room for them: no more than one chunk is held.
async fn download(Query(download): Query<Download>) -> ([(HeaderName, String); 2], Body) {
    let Download { bytes } = download;
    let chunks = stream::unfold(0, move |at| async move {
        let len = CHUNK.min(bytes - at);
        (len > 0).then(|| (Ok::<_, Infallible>(lines(at, len as usize)), at + len))
    });
    let headers = [
        (CONTENT_TYPE, "text/plain".to_owned()),
        (CONTENT_LENGTH, bytes.to_string()),
    ];
    (headers, Body::from_stream(chunks))
}

/// `len` bytes from `at`, which is the beginning of a line.
fn lines(at: u64, len: usize) -> Bytes {
    let mut text = String::with_capacity(len + LINE);
    let mut number = at / LINE as u64;
    while text.len() < len {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{number:0width$}", width = LINE - 1);
        number += 1;
    }
    text.truncate(len);
    text.into()
}

/// What comes in goes out, frame by frame, at the pace of whoever reads it.
async fn echo(body: Body) -> Body {
    body
}

#[cfg(test)]
mod tests {
    use axum::http::{Request, Response};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn call(request: Request<Body>) -> Response<Body> {
        let mut setup = Setup::detached("streaming");
        app(&mut setup).oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_download_has_the_length_that_was_asked_for() {
        let request = Request::get("/download?bytes=70000");
        let response = call(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.headers()[CONTENT_LENGTH], "70000");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), 70_000);
        assert!(body.starts_with(b"000000000000000\n000000000000001\n"));
        assert_eq!(body[65_536..65_536 + LINE], *b"000000000004096\n");
    }

    #[tokio::test]
    async fn an_echo_answers_before_its_request_has_ended() {
        let first = stream::iter([Ok::<_, Infallible>("first")]);
        let body = Body::from_stream(stream::StreamExt::chain(first, stream::pending()));
        let mut response = call(Request::post("/echo").body(body).unwrap()).await;
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "first");
    }

    #[tokio::test]
    async fn events_end_when_draining_begins() {
        // Without a host, draining begins when the setup is dropped.
        let request = Request::get("/events").body(Body::empty()).unwrap();
        let body = call(request).await.into_body();
        let text = body.collect().await.unwrap().to_bytes();
        assert!(text.starts_with(b"event: end\n"), "{text:?}");
    }
}
