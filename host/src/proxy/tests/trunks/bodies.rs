use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;

use super::{far::pass, *};
use crate::trunk::{Ask, MOST_DATA, WINDOW};

#[test]
fn a_body_comes_piece_by_piece_with_its_trailers() {
    run(async {
        let (_worker, front, mut far) = one().await;
        let sending = sent2(&front, "/");
        let (stream, _) = far.request().await;
        far.begin(stream, "").await;
        let mut body = sending.await.unwrap().into_body();
        for piece in ["one", "two"] {
            far.outbox.data(stream, piece.into(), false);
            far.say().await;
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "6".parse().unwrap());
        far.outbox.trailers(stream, &trailers).unwrap();
        far.say().await;
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_trailers().unwrap(), trailers);
        assert!(body.frame().await.is_none());
    });
}

#[test]
fn a_worker_is_asked_for_no_more_than_a_window_beyond_what_was_read() {
    run(async {
        let mut worker = Scripted::start(1, 1);
        let set = set(&[&worker.server]);
        let passing = pass(&set, "/");
        let mut far = worker.trunk().await;
        let (stream, _) = far.request().await;
        far.begin(stream, "").await;
        let mut body = passing.await.unwrap().unwrap().into_body();
        let piece = Bytes::from(vec![b'x'; MOST_DATA]);
        let total = 8 * u64::from(WINDOW);
        let (mut said, mut read, mut credit) = (0, 0, u64::from(WINDOW));
        let mut is_reading = false;
        while read < total {
            while said < credit.min(total) {
                let length = (credit.min(total) - said).min(MOST_DATA as u64);
                said += length;
                let piece = piece.slice(..usize::try_from(length).unwrap());
                far.outbox.data(stream, piece, said == total);
            }
            far.say().await;
            // Whatever is credited comes before the next request.
            settle().await;
            let probe = pass(&set, "/probe");
            loop {
                match far.ask().await.unwrap() {
                    (other, Ask::Request(_)) => break far.answer(other, "").await,
                    (other, Ask::Credit(bytes)) => {
                        assert_eq!(other, stream);
                        credit += u64::from(bytes);
                    }
                    (_, Ask::Cancel | Ask::Unreadable(_)) => panic!("cancelled, or none"),
                }
            }
            assert!(credit <= read + u64::from(WINDOW));
            assert!(said == total || credit > read + u64::from(WINDOW / 2));
            probe.await.unwrap().unwrap();
            // All that is there, each other time.
            is_reading = !is_reading;
            while is_reading && read < said {
                let frame = body.frame().await.unwrap().unwrap();
                read += frame.into_data().unwrap().len() as u64;
            }
        }
        assert!(body.frame().await.is_none());
    });
}

#[test]
fn a_long_body_comes_whole_to_a_client_that_reads_slowly() {
    run(async {
        let (_worker, front, mut far) = one().await;
        let sending = sent(&front, "/");
        let (stream, _) = far.request().await;
        far.begin(stream, "").await;
        let mut body = sending.await.unwrap().into_body();
        let speaking = spawn_local(async move {
            let mut credit = WINDOW;
            for n in 0..40_u8 {
                while credit < 1 << 16 {
                    let Some((_, Ask::Credit(more))) = far.ask().await else {
                        panic!("no credit");
                    };
                    credit += more;
                }
                let piece = vec![n; MOST_DATA].into();
                credit -= 1 << 16;
                far.outbox.data(stream, piece, n == 39);
                far.say().await;
            }
            far
        });
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            read.extend(frame.unwrap().into_data().unwrap());
            settle().await;
        }
        assert_eq!(read.len(), 40 * MOST_DATA);
        let is_right = |(n, piece): (usize, &[u8])| piece.iter().all(|it| usize::from(*it) == n);
        assert!(read.chunks(MOST_DATA).enumerate().all(is_right));
        drop(speaking.await.unwrap());
    });
}

/// What becomes of an answer that says one length and has another, over HTTP/1.1; and the next
/// request on the client's connection.
async fn of_length(
    length: Option<u64>,
    fields: &[(&'static str, &str)],
    pieces: &[&'static str],
) -> Option<Bytes> {
    let (_worker, front, mut far) = one().await;
    let mut client = front.http1().await;
    let sending = client.send_request(get("/"));
    let (response, stream) = tokio::join!(sending, async {
        let (stream, _) = far.request().await;
        let head = head(length, fields);
        let (first, rest) = pieces.split_first().unwrap();
        let is_whole = rest.is_empty();
        far.outbox
            .response(stream, &head, (*first).into(), is_whole)
            .unwrap();
        for (n, piece) in rest.iter().enumerate() {
            let is_last = n + 1 == rest.len();
            far.outbox.data(stream, (*piece).into(), is_last);
        }
        far.say().await;
        stream
    });
    let body = collect(response.ok()?.into_body()).await.ok()?.0;
    if client.ready().await.is_ok() {
        let sending = client.send_request(get("/"));
        let (response, ()) = tokio::join!(sending, async {
            let (next, _) = far.request().await;
            assert_eq!(next, stream);
            far.answer(next, "next").await;
        });
        let next = collect(response.unwrap().into_body()).await.unwrap().0;
        assert_eq!(next, "next");
    }
    Some(body)
}

#[test]
fn a_body_that_is_shorter_than_was_said_never_looks_whole() {
    run(async {
        let said = ("content-length", "10");
        assert_eq!(of_length(Some(10), &[], &["short"]).await, None);
        assert_eq!(of_length(Some(10), &[], &["sh", "ort"]).await, None);
        assert_eq!(of_length(None, &[said], &["short"]).await, None);
        assert_eq!(of_length(None, &[said], &["sh", "ort"]).await, None);
        assert_eq!(of_length(Some(10), &[said], &["", "short", ""]).await, None);
    });
}

#[test]
fn a_body_of_the_length_that_was_said_is_whole() {
    run(async {
        let said = ("content-length", "4");
        for fields in [&[][..], &[said]] {
            for length in [None, Some(4)] {
                for pieces in [&["body"][..], &["bo", "dy"], &["", "body", ""]] {
                    let body = of_length(length, fields, pieces).await;
                    assert_eq!(body.unwrap(), "body");
                }
            }
        }
    });
}

#[test]
fn a_body_that_is_longer_than_was_said_does_not_run_into_the_next() {
    run(async {
        let said = ("content-length", "4");
        for pieces in [&["bodymore"][..], &["bo", "dymo", "re"]] {
            let body = of_length(None, &[said], pieces).await;
            assert!(body.is_none_or(|body| body == "body"));
        }
    });
}

fn check_without_body(status: StatusCode, is_http2: bool, body: &'static str, is_whole: bool) {
    run(async move {
        let (worker, front, mut far) = one().await;
        let sending = match is_http2 {
            true => sent2(&front, "/"),
            false => sent(&front, "/"),
        };
        let (stream, _) = far.request().await;
        let mut head = head(None, &[("etag", "x")]);
        head.status = status;
        if status == StatusCode::NOT_MODIFIED {
            head.headers.insert("content-length", 100.into());
        }
        far.outbox
            .response(stream, &head, body.into(), is_whole)
            .unwrap();
        far.say().await;
        let response = sending.await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["etag"], "x");
        let collected = collect(response.into_body()).await.unwrap().0;
        assert_eq!(collected, "");
        until(|| worker.server.worker.in_flight() == 0).await;
        if !is_whole {
            assert!(matches!(far.ask().await, Some((_, Ask::Cancel))));
        }
    });
}

#[test]
fn an_answer_that_has_no_body_by_its_status_has_none() {
    for status in [StatusCode::NOT_MODIFIED, StatusCode::NO_CONTENT] {
        for is_http2 in [false, true] {
            for body in ["", "none"] {
                check_without_body(status, is_http2, body, true);
                check_without_body(status, is_http2, body, false);
            }
        }
    }
}
