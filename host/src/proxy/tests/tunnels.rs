use std::rc::Rc;

use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::Notify,
};

use super::rig::*;
use crate::workers::Death;

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nConnection: keep-alive, Upgrade\r\n\
                     Upgrade: echo\r\n\r\n";

/// A worker that agrees to talk, says `first`, and then what it hears.
fn talker(leave: &Rc<Notify>) -> Server {
    let leave = Rc::clone(leave);
    Server::start(1, move |mut request: Request<Incoming>| {
        let leave = Rc::clone(&leave);
        async move {
            assert_eq!(request.headers()[header::UPGRADE], "echo");
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::task::spawn_local(async move {
                let mut stream = TokioIo::new(upgrade.await.unwrap());
                stream.write_all(b"first").await.unwrap();
                let (mut from, mut to) = tokio::io::split(stream);
                tokio::select! {
                    _ = tokio::io::copy(&mut from, &mut to) => {}
                    () = leave.notified() => {}
                }
                let _ = to.write_all(b"last").await;
                let _ = to.shutdown().await;
            });
            Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header(header::CONNECTION, "upgrade")
                .header(header::UPGRADE, "echo")
                .body(empty())
                .unwrap()
        }
    })
}

async fn head(client: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn expect(client: &mut DuplexStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, text.as_bytes());
}

async fn talk(server: &Server) -> DuplexStream {
    let front = Front::new(&set(&[server]));
    let mut client = front.connect();
    client.write_all(ASK).await.unwrap();
    let head = head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("\r\nupgrade: echo\r\n"), "{head}");
    assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
    expect(&mut client, "first").await;
    client
}

#[test]
fn an_upgraded_connection_talks_both_ways_and_each_end_is_passed_on() {
    run(async {
        let server = talker(&Rc::default());
        let mut client = talk(&server).await;
        for number in 0..50 {
            let text = format!("line {number}");
            client.write_all(text.as_bytes()).await.unwrap();
            expect(&mut client, &text).await;
        }
        assert_eq!(server.worker.in_flight(), 1);
        // The client says no more, and hears the rest.
        client.shutdown().await.unwrap();
        expect(&mut client, "last").await;
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        until(|| server.worker.in_flight() == 0).await;
    });
}

#[test]
fn a_client_hears_the_last_words_of_a_worker_that_leaves() {
    run(async {
        let leave = Rc::default();
        let server = talker(&leave);
        let mut client = talk(&server).await;
        leave.notify_one();
        expect(&mut client, "last").await;
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        drop(client);
        until(|| server.worker.in_flight() == 0).await;
    });
}

#[test]
fn a_client_that_goes_away_ends_its_tunnel() {
    run(async {
        let server = talker(&Rc::default());
        let client = talk(&server).await;
        drop(client);
        until(|| server.worker.in_flight() == 0).await;
        until(|| server.open.get() == 0).await;
    });
}

#[test]
fn a_tunnel_ends_with_its_worker() {
    run(async {
        let server = talker(&Rc::default());
        let mut client = talk(&server).await;
        server.kill().await;
        assert_eq!(server.worker.died(Death::Killed(9)).len(), 1);
        let _ = client.read_to_end(&mut Vec::new()).await;
        until(|| server.worker.in_flight() == 0).await;
    });
}

#[test]
fn a_worker_may_decline_to_upgrade() {
    run(async {
        let server = Server::start(1, |_| async {
            Response::builder()
                .status(StatusCode::UPGRADE_REQUIRED)
                .header(header::UPGRADE, "other")
                .body(full("no"))
                .unwrap()
        });
        let front = Front::new(&set(&[&server]));
        let mut client = front.connect();
        for _ in 0..2 {
            client.write_all(ASK).await.unwrap();
            let head = head(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 426"), "{head}");
            assert!(head.contains("\r\nupgrade: other\r\n"), "{head}");
            expect(&mut client, "no").await;
        }
        assert_eq!(server.connections.get(), 1);
    });
}

#[test]
fn a_protocol_that_nobody_asked_for_is_an_error() {
    run(async {
        let server = Server::accept(1, |mut stream| async move {
            let _ = stream.read(&mut [0; 1000]).await;
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n";
            let _ = stream.write_all(answer).await;
        });
        let front = Front::new(&set(&[&server]));
        let response = front.send(get("/")).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(code(&response), "worker-broke");
        assert_eq!(server.worker.in_flight(), 0);
    });
}
