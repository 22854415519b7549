use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

use super::rig::*;
use crate::workers::{Death, Set, Worker};

fn ok(number: u32) -> Server {
    Server::start(number, |request: Request<Incoming>| async move {
        Response::new(full(collect(request.into_body()).await.unwrap().0))
    })
}

/// A set in which the first of those is asked first.
fn first_of(first: &Server, second: &Server) -> (Set, crate::workers::Held) {
    let set = set(&[second]);
    let busy = set.pick(&about()).unwrap();
    set.add(Arc::clone(&first.worker));
    (set, busy)
}

fn check_cut(is_http2: bool, has_length: bool) {
    run(async move {
        let (sender, body) = channel();
        let body = Rc::new(RefCell::new(Some(body)));
        let server = Server::start(1, move |_| {
            let mut response = Response::new(body.take().unwrap());
            if has_length {
                let length = "1000".parse().unwrap();
                response.headers_mut().insert("content-length", length);
            }
            async { response }
        });
        let front = Front::new(&set(&[&server]));
        let mut response = if is_http2 {
            let request = request2(Method::GET, "/", empty());
            front.http2().await.send_request(request).await.unwrap()
        } else {
            front.send(get("/")).await
        };
        sender.send(data("half")).await.unwrap();
        let half = response.frame().await.unwrap().unwrap();
        assert_eq!(half.into_data().unwrap(), "half");
        server.kill().await;
        // The request is still named when the death becomes known, a little later.
        assert_eq!(server.worker.died(Death::Killed(9)).len(), 1);
        assert!(collect(response.into_body()).await.is_err());
        assert_eq!(server.worker.in_flight(), 0);
    });
}

#[test]
fn a_response_whose_worker_dies_halfway_never_looks_whole() {
    for is_http2 in [false, true] {
        for has_length in [false, true] {
            check_cut(is_http2, has_length);
        }
    }
}

#[test]
fn a_response_that_ends_with_its_connection_never_looks_whole() {
    run(async {
        let server = Server::accept(1, |mut stream| async move {
            read_request(&mut stream).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\n\r\nwhole or not?";
            stream.write_all(answer).await.unwrap();
        });
        let front = Front::new(&set(&[&server]));
        let response = front.send(get("/")).await;
        assert!(collect(response.into_body()).await.is_err());
    });
}

fn check_death_before_an_answer(is_http2: bool) {
    run(async move {
        let server = Server::start(1, |_| std::future::pending::<Response<AnyBody>>());
        let other = ok(2);
        let (set, busy) = first_of(&server, &other);
        let front = Front::new(&set);
        let sending = tokio::task::spawn_local(async move {
            if is_http2 {
                let request = request2(Method::GET, "/", empty());
                front.http2().await.send_request(request).await.unwrap()
            } else {
                front.send(get("/")).await
            }
        });
        server.asked(1).await;
        server.kill().await;
        let held = server.worker.died(Death::Killed(9));
        assert_eq!(held.len(), 1);
        let response = sending.await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(code(&response), "worker-died");
        let text = collect(response.into_body()).await.unwrap().0;
        let pid = server.worker.pid;
        let expected = format!("worker 1 (pid {pid}): the worker was ended by signal 9 (SIGKILL)");
        assert_eq!(text, expected);
        assert_eq!(other.connections.get(), 0);
        drop(busy);
    });
}

#[test]
fn a_request_whose_worker_dies_says_so_and_is_sent_to_no_other() {
    check_death_before_an_answer(false);
    check_death_before_an_answer(true);
}

#[test]
fn a_request_that_ends_its_connection_is_sent_once_more_to_the_same_worker_only() {
    run(async {
        let seen = Rc::new(Cell::new(0));
        let count = Rc::clone(&seen);
        let server = Server::accept(1, move |mut stream| {
            let count = Rc::clone(&count);
            async move {
                while let Some((head, _)) = read_request(&mut stream).await {
                    if head.starts_with("GET /poison") {
                        count.set(count.get() + 1);
                        return;
                    }
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(answer).await.unwrap();
                }
            }
        });
        let other = ok(2);
        let (set, busy) = first_of(&server, &other);
        let front = Front::new(&set);
        assert_eq!(front.send(get("/")).await.status(), StatusCode::OK);
        let response = front.send(get("/poison")).await;
        assert_eq!(code(&response), "worker-broke");
        assert_eq!((seen.get(), other.connections.get()), (2, 0));
        // On a connection of its own it was no race.
        let response = front.send(get("/poison")).await;
        assert_eq!(code(&response), "worker-broke");
        assert_eq!(seen.get(), 3);
        drop(busy);
    });
}

#[test]
fn a_request_that_may_have_been_done_is_not_done_again() {
    run(async {
        let seen = Rc::new(Cell::new(0));
        let count = Rc::clone(&seen);
        let server = Server::accept(1, move |mut stream| {
            let count = Rc::clone(&count);
            async move {
                read_request(&mut stream).await.unwrap();
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                read_request(&mut stream).await.unwrap();
                count.set(count.get() + 1);
            }
        });
        let front = Front::new(&set(&[&server]));
        assert_eq!(front.send(get("/")).await.status(), StatusCode::OK);
        let response = front.send(request(Method::POST, "/", full("x"))).await;
        assert_eq!(code(&response), "worker-broke");
        assert_eq!(seen.get(), 1);
    });
}

#[test]
fn a_worker_that_takes_no_connection_is_passed_over() {
    run(async {
        let dead = ok(1);
        dead.kill().await;
        let other = ok(2);
        let (set, busy) = first_of(&dead, &other);
        let front = Front::new(&set);
        let response = front.send(request(Method::POST, "/", full("x"))).await;
        assert_eq!(collect(response.into_body()).await.unwrap().0, "x");
        let mut client = front.http2().await;
        let request = request2(Method::POST, "/", full("x"));
        let response = client.send_request(request).await.unwrap();
        assert_eq!(collect(response.into_body()).await.unwrap().0, "x");
        drop(busy);
    });
}

#[test]
fn a_request_waits_for_the_next_worker_when_the_only_one_has_gone() {
    run(async {
        let dead = ok(1);
        dead.kill().await;
        let set = set(&[&dead]);
        let front = Front::new(&set);
        let sending = tokio::task::spawn_local(async move { front.send(get("/")).await });
        until(|| set.waiting() == 1).await;
        let next = ok(1);
        set.replace(&dead.worker, Arc::clone(&next.worker));
        assert_eq!(sending.await.unwrap().status(), StatusCode::OK);
    });
}

/// Sends `body` to a worker that reads nothing, and is killed; what becomes of it.
async fn unread(
    is_http2: bool,
    body: AnyBody,
    is_there: impl Fn(&Server) -> bool,
) -> Response<Incoming> {
    let deaf = Server::accept(1, |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    let other = ok(2);
    let (set, busy) = first_of(&deaf, &other);
    let front = Front::new(&set);
    let sending = tokio::task::spawn_local(async move {
        if is_http2 {
            let request = request2(Method::POST, "/", body);
            front.http2().await.send_request(request).await.unwrap()
        } else {
            front.send(request(Method::POST, "/", body)).await
        }
    });
    until(|| is_there(&deaf)).await;
    // Whatever the client has to say has been said.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    deaf.kill().await;
    deaf.worker.died(Death::Killed(9));
    let response = sending.await.unwrap();
    drop(busy);
    response
}

#[test]
fn a_request_that_a_dead_worker_has_not_read_is_done_by_another() {
    run(async {
        let response = unread(false, full("x"), |deaf| deaf.open.get() == 1).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(collect(response.into_body()).await.unwrap().0, "x");
        let response = unread(true, empty(), |deaf| deaf.open.get() == 1).await;
        assert_eq!(response.status(), StatusCode::OK);
    });
}

/// As a worker whose HTTP thread is blocked by the first request: it has read the head, and what its
/// own settings are acknowledged with stays unread.
async fn blocked(mut stream: UnixStream) {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    stream.read_exact(&mut [0; PREFACE]).await.unwrap();
    let mut head = [0; 9];
    while head[3] != HEADERS {
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut rest = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut rest).await.unwrap();
    }
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(&settings).await.unwrap();
    std::future::pending::<()>().await;
}

#[test]
fn a_request_of_http2_whose_head_was_read_kills_one_worker_only() {
    run(async {
        let server = Server::accept(1, blocked);
        let other = ok(2);
        let (set, busy) = first_of(&server, &other);
        let front = Front::new(&set);
        let sending = tokio::task::spawn_local(async move {
            let request = request2(Method::GET, "/", empty());
            front.http2().await.send_request(request).await.unwrap()
        });
        until(|| server.open.get() == 1).await;
        // The settings are acknowledged.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        server.kill().await;
        assert_eq!(server.worker.died(Death::Killed(9)).len(), 1);
        let response = sending.await.unwrap();
        assert_eq!(code(&response), "worker-died");
        assert_eq!(other.connections.get(), 0);
        drop(busy);
    });
}

#[test]
fn a_request_of_which_too_much_was_taken_is_not_sent_again() {
    run(async {
        let body = full(vec![0; 100_000]);
        let response = unread(false, body, |deaf| deaf.open.get() == 1).await;
        assert_eq!(code(&response), "worker-died");
    });
}

#[test]
fn a_request_that_was_never_accepted_goes_to_another_worker_when_its_worker_dies() {
    run(async {
        // Somebody else keeps the socket open, so that the system ends nothing.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        let dying = Worker::new(1, 1001, None, path, 0);
        let other = ok(2);
        let set = set(&[&other]);
        let busy = set.pick(&about()).unwrap();
        set.add(Arc::clone(&dying));
        let front = Front::new(&set);
        let sending = tokio::task::spawn_local(async move {
            front.send(request(Method::POST, "/", full("x"))).await
        });
        until(|| dying.in_flight() == 1).await;
        dying.died(Death::Exited(1));
        let response = sending.await.unwrap();
        assert_eq!(collect(response.into_body()).await.unwrap().0, "x");
        drop(busy);
    });
}

#[test]
fn a_request_ends_with_its_worker_even_if_the_system_keeps_its_connection() {
    run(async {
        // As a child of the worker's does that has inherited it.
        let server = Server::start(1, |_| std::future::pending::<Response<AnyBody>>());
        let front = Front::new(&set(&[&server]));
        let sending = tokio::task::spawn_local(async move { front.send(get("/")).await });
        server.asked(1).await;
        server.worker.died(Death::Exited(1));
        let response = sending.await.unwrap();
        assert_eq!(code(&response), "worker-died");
        assert_eq!(server.worker.in_flight(), 0);
    });
}
