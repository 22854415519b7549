use http::{Method, Version};
use hyper::body::Incoming;
use tokio::task::{JoinHandle, spawn_local, yield_now};

use super::rig::*;
use far::{Far, Scripted, head};

mod bodies;
mod ends;
mod far;
mod heads;
mod malformed;

/// A worker with a trunk, and the front that has it.
async fn one() -> (Scripted, Front, Far) {
    let mut worker = Scripted::start(1, 1);
    let front = Front::new(&set(&[&worker.server]));
    let first = sent(&front, "/");
    let mut far = worker.trunk().await;
    let (stream, _) = far.request().await;
    far.answer(stream, "").await;
    assert_eq!(code(&first.await.unwrap()), "none");
    (worker, front, far)
}

/// A request under way, over HTTP/1.1.
fn sent(front: &Front, path: &str) -> JoinHandle<http::Response<Incoming>> {
    let (front, request) = (front.clone(), get(path));
    spawn_local(async move { front.send(request).await })
}

/// The same, over HTTP/2.
fn sent2(front: &Front, path: &str) -> JoinHandle<http::Response<Incoming>> {
    let (front, request) = (front.clone(), request2(Method::GET, path, empty()));
    spawn_local(async move { front.http2().await.send_request(request).await.unwrap() })
}

async fn text(sending: JoinHandle<http::Response<Incoming>>) -> bytes::Bytes {
    let response = sending.await.unwrap();
    collect(response.into_body()).await.unwrap().0
}

/// What is under way goes as far as it goes.
async fn settle() {
    for _ in 0..1000 {
        yield_now().await;
    }
}

#[test]
fn requests_that_share_a_connection_each_get_their_own_answer_in_any_order() {
    run(async {
        let (worker, front, mut far) = one().await;
        let sending: Vec<_> = (0..50).map(|n| sent(&front, &format!("/{n}"))).collect();
        let streams = far.requests(50).await;
        for n in (0..50).rev() {
            let path = format!("/{n}");
            far.answer(streams[&path], path).await;
        }
        for (n, sending) in sending.into_iter().enumerate() {
            assert_eq!(text(sending).await, format!("/{n}"));
        }
        assert_eq!(worker.server.connections.get(), 1);
        assert_eq!(worker.server.worker.in_flight(), 0);
    });
}

#[test]
fn requests_with_a_body_or_another_protocol_and_those_for_a_head_go_alone() {
    run(async {
        let (worker, front, mut far) = one().await;
        let alone = |response: &http::Response<Incoming>| {
            assert_eq!(response.headers()["way"], "http");
        };
        alone(&front.send(request(Method::HEAD, "/", empty())).await);
        alone(&front.send(request(Method::POST, "/", full("x"))).await);
        let mut upgrade = get("/");
        let headers = upgrade.headers_mut();
        headers.insert("connection", "upgrade".parse().unwrap());
        headers.insert("upgrade", "websocket".parse().unwrap());
        alone(&front.send(upgrade).await);
        let mut client = front.http2().await;
        let request = request2(Method::HEAD, "/", empty());
        alone(&client.send_request(request).await.unwrap());
        let request = request2(Method::PUT, "/", full("x"));
        alone(&client.send_request(request).await.unwrap());
        assert_eq!(worker.alone.get(), 5);
        // Nothing of them was seen there.
        let last = spawn_local({
            let front = front.clone();
            async move {
                front
                    .send(super::rig::request(Method::POST, "/last", empty()))
                    .await
            }
        });
        let (stream, head) = far.request().await;
        assert_eq!(head.request.uri(), "/last");
        assert_eq!(head.request.method(), Method::POST);
        far.answer(stream, "").await;
        last.await.unwrap();
    });
}

#[test]
fn a_worker_gets_no_more_trunks_than_it_takes_whatever_begins_at_once() {
    run(async {
        let mut worker = Scripted::start(1, 2);
        let front = Front::new(&set(&[&worker.server]));
        let first: Vec<_> = (0..20).map(|n| sent(&front, &format!("/{n}"))).collect();
        let mut fars = [worker.trunk().await, worker.trunk().await];
        settle().await;
        let later: Vec<_> = (20..40).map(|n| sent(&front, &format!("/{n}"))).collect();
        settle().await;
        assert!(!worker.has_trunk());
        let mut carried = 40 - worker.alone.get();
        assert!(carried >= 22);
        // Those of both are about as many.
        let last = sent(&front, "/last");
        carried += 1;
        for (far, number) in fars.iter_mut().zip([carried.div_ceil(2), carried / 2]) {
            for (path, stream) in far.requests(number).await {
                far.answer(stream, path).await;
            }
        }
        for sending in first.into_iter().chain(later).chain([last]) {
            assert_eq!(code(&sending.await.unwrap()), "none");
        }
        assert_eq!(worker.server.worker.in_flight(), 0);
    });
}

#[test]
fn a_worker_that_takes_no_trunks_gets_none() {
    run(async {
        let mut worker = Scripted::start(1, 0);
        let front = Front::new(&set(&[&worker.server]));
        assert_eq!(front.send(get("/")).await.headers()["way"], "http");
        assert!(!worker.has_trunk());
    });
}

#[test]
fn a_trunk_ends_with_its_last_answer_when_its_worker_is_drained() {
    run(async {
        let (worker, front, mut far) = one().await;
        let sending = sent(&front, "/");
        let (stream, _) = far.request().await;
        worker.server.worker.drain();
        settle().await;
        far.begin(stream, "first,").await;
        settle().await;
        far.outbox.data(stream, "last".into(), true);
        far.say().await;
        assert_eq!(text(sending).await, "first,last");
        assert!(far.ask().await.is_none());
    });
}

#[test]
fn a_trunk_that_was_being_made_when_its_worker_was_drained_is_not_kept() {
    run(async {
        let mut worker = Scripted::start(1, 1);
        let set = set(&[&worker.server]);
        let held = set.hold(about()).await.unwrap();
        worker.server.worker.drain();
        let passing = far::pass_held(&set, held, "/");
        let mut far = worker.trunk().await;
        settle().await;
        // It went alone, or there.
        if !passing.is_finished() {
            let (stream, _) = far.request().await;
            far.answer(stream, "").await;
        }
        assert!(passing.await.unwrap().is_ok());
        assert!(far.ask().await.is_none());
    });
}
