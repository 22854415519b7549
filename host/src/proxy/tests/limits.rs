use std::{cell::RefCell, os::fd::OwnedFd, rc::Rc, sync::Arc, time::Duration};

use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};
use tokio::{io::AsyncWriteExt as _, net::UnixStream};

use super::{super::Limits, rig::*};
use crate::workers::Worker;

const SHORT: Duration = Duration::from_millis(50);

const TIMED: Limits = Limits {
    connect_timeout: Duration::ZERO,
    request_timeout: SHORT,
};

#[test]
fn a_request_that_is_not_answered_in_time_is_given_up() {
    run(async {
        let server = Server::start(1, |_| std::future::pending::<Response<AnyBody>>());
        let front = Front::new(&set(&[&server])).with_limits(TIMED);
        let response = front.send(get("/")).await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(code(&response), "request-timeout");
        assert_eq!(server.worker.in_flight(), 0);
        until(|| server.open.get() == 0).await;
    });
}

#[test]
fn a_request_s_time_runs_while_it_waits_for_a_worker() {
    run(async {
        let set = set(&[]);
        let front = Front::new(&set).with_limits(TIMED);
        let response = front.send(get("/")).await;
        assert_eq!(code(&response), "request-timeout");
        assert_eq!(set.waiting(), 0);
    });
}

#[test]
fn a_response_that_does_not_end_in_time_is_cut() {
    run(async {
        let (sender, body) = channel();
        let body = Rc::new(RefCell::new(Some(body)));
        let server = Server::start(1, move |_| {
            let body = body.take().unwrap();
            async { Response::new(body) }
        });
        let front = Front::new(&set(&[&server])).with_limits(TIMED);
        let mut response = front.send(get("/")).await;
        sender.send(data("begin")).await.unwrap();
        let begin = response.frame().await.unwrap().unwrap();
        assert_eq!(begin.into_data().unwrap(), "begin");
        assert!(collect(response.into_body()).await.is_err());
        sender.closed().await;
        assert_eq!(server.worker.in_flight(), 0);
    });
}

#[test]
fn a_worker_gets_rid_of_a_request_in_time_whose_client_does_not_read() {
    run(async {
        let (sender, body) = channel();
        let body = Rc::new(RefCell::new(Some(body)));
        let server = Server::start(1, move |_| {
            let body = body.take().unwrap();
            async { Response::new(body) }
        });
        let front = Front::new(&set(&[&server])).with_limits(TIMED);
        let response = front.send(get("/")).await;
        // Until nobody takes any more.
        while sender.send(data(vec![0; 100_000])).await.is_ok() {}
        until(|| server.worker.in_flight() == 0).await;
        assert!(collect(response.into_body()).await.is_err());
    });
}

#[test]
fn a_response_that_ends_in_time_is_whole() {
    run(async {
        let server = Server::start(1, |_| async { Response::new(full("ok")) });
        let limits = Limits {
            request_timeout: Duration::from_secs(50),
            ..TIMED
        };
        let front = Front::new(&set(&[&server])).with_limits(limits);
        let response = front.send(get("/")).await;
        assert_eq!(collect(response.into_body()).await.unwrap().0, "ok");
    });
}

/// A worker that takes no connections, of which as many wait as may.
async fn stuck(folder: &tempfile::TempDir) -> (Arc<Worker>, OwnedFd, Vec<UnixStream>) {
    let path = folder.path().join("socket");
    let listener = net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    net::listen(&listener, 1).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = UnixStream::connect(&path).await {
        waiting.push(stream);
    }
    (Worker::new(2, 1002, None, path, 0), listener, waiting)
}

#[test]
fn a_request_that_gets_no_connection_in_time_goes_to_another_worker() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (stuck, _listener, _waiting) = stuck(&folder).await;
        let server = Server::start(1, |_| async { Response::new(full("ok")) });
        let set = set(&[&server]);
        // It is asked first.
        let busy = set.pick(&about()).unwrap();
        set.add(Arc::clone(&stuck));
        let limits = Limits {
            connect_timeout: SHORT,
            request_timeout: Duration::ZERO,
        };
        let front = Front::new(&set).with_limits(limits);
        let response = front.send(get("/")).await;
        assert_eq!(collect(response.into_body()).await.unwrap().0, "ok");
        drop(busy);
        // And when there is no other, it is not waited for one.
        server.worker.drain();
        let response = front.send(get("/")).await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(code(&response), "connect-timeout");
        assert_eq!((set.in_flight(), set.waiting()), (0, 0));
    });
}

#[test]
fn a_request_that_waits_for_a_connection_gets_it_when_there_is_room() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (stuck, listener, waiting) = stuck(&folder).await;
        let set = set(&[]);
        set.add(Arc::clone(&stuck));
        let front = Front::new(&set);
        let sending = tokio::task::spawn_local(async move { front.send(get("/")).await });
        until(|| stuck.in_flight() == 1).await;
        let listener = std::os::unix::net::UnixListener::from(listener);
        let refused: Vec<_> = waiting.iter().map(|_| listener.accept().unwrap()).collect();
        assert!(!refused.is_empty());
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        assert_eq!(sending.await.unwrap().status(), StatusCode::OK);
    });
}
