use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt as _;

use super::rig::*;
use crate::workers::Death;

const PIECE: usize = 16 * 1024;

/// A worker that answers with the request's body, piece by piece, and its trailers.
fn echo() -> Server {
    Server::start(1, |request: Request<Incoming>| async move {
        let body = request.into_body().map_err(Into::into).boxed_unsync();
        Response::new(body)
    })
}

/// A piece comes back before the next is sent.
async fn play(
    sender: tokio::sync::mpsc::Sender<Result<Frame<Bytes>, replug_plugin::BoxError>>,
    mut body: Incoming,
) {
    for number in 0..100_u8 {
        sender.send(data(vec![number; 1000])).await.unwrap();
        let mut back = 0;
        while back < 1000 {
            let frame = body.frame().await.unwrap().unwrap();
            let piece = frame.into_data().unwrap();
            assert!(piece.iter().all(|byte| *byte == number));
            back += piece.len();
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "100".parse().unwrap());
    let trailers = Frame::trailers(trailers);
    sender.send(Ok(trailers)).await.unwrap();
    drop(sender);
    let (rest, trailers) = collect(body).await.unwrap();
    assert!(rest.is_empty());
    assert_eq!(trailers.unwrap()["x-sum"], "100");
}

#[test]
fn both_bodies_pass_at_the_same_time_with_trailers_in_http2() {
    run(async {
        let server = echo();
        let front = Front::new(&set(&[&server]));
        let mut client = front.http2().await;
        let (sender, body) = channel();
        let mut request = request2(Method::POST, "/", body);
        let te = "trailers".parse().unwrap();
        request.headers_mut().insert("te", te);
        let response = client.send_request(request).await.unwrap();
        assert_eq!(server.worker.in_flight(), 1);
        play(sender, response.into_body()).await;
        assert_eq!(server.worker.in_flight(), 0);
    });
}

#[test]
fn both_bodies_pass_at_the_same_time_in_http1() {
    run(async {
        let server = Server::start(1, |request: Request<Incoming>| async move {
            let body = request.into_body().map_err(Into::into).boxed_unsync();
            Response::builder()
                .header("trailer", "x-sum")
                .body(body)
                .unwrap()
        });
        let front = Front::new(&set(&[&server]));
        let (sender, body) = channel();
        let mut request = request(Method::POST, "/", body);
        let headers = request.headers_mut();
        headers.insert("te", "trailers".parse().unwrap());
        headers.insert("trailer", "x-sum".parse().unwrap());
        let response = front.send(request).await;
        play(sender, response.into_body()).await;
        assert_eq!(server.worker.in_flight(), 0);
    });
}

/// How much goes into a body that nobody reads, in bytes; it must come to a stop.
async fn push(
    sender: tokio::sync::mpsc::Sender<Result<Frame<Bytes>, replug_plugin::BoxError>>,
) -> usize {
    let mut pushed = 0;
    loop {
        // What moves at all does so in far less than this many turns.
        let mut turns = 0;
        while sender.capacity() == 0 && turns < 20_000 {
            tokio::task::yield_now().await;
            turns += 1;
        }
        if sender.try_send(data(vec![0; PIECE])).is_err() {
            return pushed;
        }
        pushed += PIECE;
        assert!(pushed < 64 << 20, "nothing holds it back");
    }
}

fn check_upload_is_held_back(is_http2: bool) {
    run(async move {
        let server = Server::start(1, |request: Request<Incoming>| async move {
            // Holds the body, and never reads it.
            let _request = request;
            std::future::pending::<Response<AnyBody>>().await
        });
        let front = Front::new(&set(&[&server]));
        let (sender, body) = channel();
        let sending = tokio::task::spawn_local(async move {
            if is_http2 {
                let request = request2(Method::POST, "/", body);
                front.http2().await.send_request(request).await.map(drop)
            } else {
                let request = request(Method::POST, "/", body);
                front.http1().await.send_request(request).await.map(drop)
            }
        });
        let pushed = push(sender).await;
        assert!(pushed < 8 << 20, "{pushed} bytes wait somewhere");
        server.kill().await;
        server.worker.died(Death::Killed(9));
        until(|| server.worker.in_flight() == 0).await;
        sending.abort();
    });
}

#[test]
fn an_upload_is_held_back_while_the_worker_does_not_read() {
    check_upload_is_held_back(false);
    check_upload_is_held_back(true);
}

fn check_download_is_held_back(is_http2: bool) {
    run(async move {
        let (sender, body) = channel();
        let body = Rc::new(RefCell::new(Some(body)));
        let server = Server::start(1, move |_| {
            let body = body.take().unwrap();
            async { Response::new(body) }
        });
        let front = Front::new(&set(&[&server]));
        let response = if is_http2 {
            let request = request2(Method::GET, "/", empty());
            front.http2().await.send_request(request).await.unwrap()
        } else {
            front.send(get("/")).await
        };
        let pushed = push(sender.clone()).await;
        assert!(pushed < 8 << 20, "{pushed} bytes wait somewhere");
        drop(sender);
        let (whole, _) = collect(response.into_body()).await.unwrap();
        assert_eq!(whole.len(), pushed);
        assert_eq!(server.worker.in_flight(), 0);
    });
}

#[test]
fn a_download_is_held_back_while_the_client_does_not_read() {
    check_download_is_held_back(false);
    check_download_is_held_back(true);
}

/// Says when it is dropped.
struct Told(Rc<Cell<usize>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_client_that_goes_away_cancels_its_request() {
    run(async {
        let cancelled = Rc::new(Cell::new(0));
        let tell = Rc::clone(&cancelled);
        let server = Server::start(1, move |_| {
            let told = Told(Rc::clone(&tell));
            async move {
                let _told = told;
                std::future::pending::<Response<AnyBody>>().await
            }
        });
        let front = Front::new(&set(&[&server]));
        let mut http1 = front.connect();
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        http1.write_all(request).await.unwrap();
        let mut client = front.http2().await;
        let http2 = tokio::task::spawn_local(async move {
            let request = request2(Method::GET, "/", empty());
            client.send_request(request).await.map(drop)
        });
        server.asked(2).await;
        drop(http1);
        until(|| cancelled.get() == 1).await;
        http2.abort();
        until(|| cancelled.get() == 2).await;
        until(|| server.worker.in_flight() == 0).await;
    });
}

#[test]
fn a_client_that_goes_away_ends_the_response() {
    run(async {
        let (http1, body1) = channel();
        let (http2, body2) = channel();
        let bodies = Rc::new(RefCell::new(vec![body2, body1]));
        let server = Server::start(1, move |_| {
            let body = bodies.borrow_mut().pop().unwrap();
            async { Response::new(body) }
        });
        let front = Front::new(&set(&[&server]));
        let response1 = front.send(get("/")).await;
        let mut client = front.http2().await;
        let request = request2(Method::GET, "/", empty());
        let response2 = client.send_request(request).await.unwrap();
        drop(response1);
        http1.closed().await;
        drop(response2);
        http2.closed().await;
        until(|| server.worker.in_flight() == 0).await;
    });
}

fn check_client_error(is_http2: bool) {
    run(async move {
        let ends = Rc::new(RefCell::new(Vec::new()));
        let note = Rc::clone(&ends);
        let server = Server::start(1, move |request: Request<Incoming>| {
            let note = Rc::clone(&note);
            async move {
                let end = collect(request.into_body()).await;
                note.borrow_mut().push(end.is_err());
                Response::new(empty())
            }
        });
        let front = Front::new(&set(&[&server]));
        let (sender, body) = channel();
        let sending = tokio::task::spawn_local(async move {
            if is_http2 {
                let request = request2(Method::POST, "/", body);
                front.http2().await.send_request(request).await.map(drop)
            } else {
                let request = request(Method::POST, "/", body);
                front.http1().await.send_request(request).await.map(drop)
            }
        });
        sender.send(data("half")).await.unwrap();
        server.asked(1).await;
        sender.send(Err("the client breaks".into())).await.unwrap();
        until(|| !ends.borrow().is_empty()).await;
        assert_eq!(
            *ends.borrow(),
            [true],
            "the worker must not take it for whole"
        );
        assert!(sending.await.unwrap().is_err());
        until(|| server.worker.in_flight() == 0).await;
    });
}

#[test]
fn an_error_of_the_clients_body_is_one_for_the_worker() {
    check_client_error(false);
    check_client_error(true);
}

#[test]
fn connections_are_used_again_and_closed_when_the_worker_drains() {
    run(async {
        let server = echo();
        let front = Front::new(&set(&[&server]));
        for _ in 0..20 {
            let response = front.send(request(Method::POST, "/", full("x"))).await;
            assert_eq!(collect(response.into_body()).await.unwrap().0, "x");
            let mut client = front.http2().await;
            let request = request2(Method::POST, "/", full("x"));
            let response = client.send_request(request).await.unwrap();
            assert_eq!(collect(response.into_body()).await.unwrap().0, "x");
        }
        assert_eq!(server.connections.get(), 2);
        assert_eq!(server.open.get(), 2);
        server.worker.drain();
        until(|| server.open.get() == 0).await;
    });
}

#[test]
fn a_large_body_comes_back_as_it_went() {
    run(async {
        let server = echo();
        let front = Front::new(&set(&[&server]));
        let bytes: Bytes = (0..3 << 20).map(|_| fastrand::u8(..)).collect();
        let response = front
            .send(request(Method::PUT, "/", full(bytes.clone())))
            .await;
        assert_eq!(collect(response.into_body()).await.unwrap().0, bytes);
        let mut client = front.http2().await;
        let request = request2(Method::PUT, "/", full(bytes.clone()));
        let response = client.send_request(request).await.unwrap();
        assert_eq!(collect(response.into_body()).await.unwrap().0, bytes);
    });
}
