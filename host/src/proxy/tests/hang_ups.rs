use std::{
    cell::Cell,
    collections::HashMap,
    rc::Rc,
    sync::{Arc, Mutex},
    thread,
};

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncWriteExt as _, net::UnixListener};

use super::rig::*;
use crate::workers::Worker;

/// Ends connections now and then without a word, and counts how often it has done what it was
/// asked. The first worker does so to new connections, too.
async fn rude(number: u32, listener: UnixListener, done: Arc<Mutex<HashMap<String, usize>>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let done = Arc::clone(&done);
        tokio::task::spawn_local(async move {
            let mut is_new = number > 1;
            while (is_new || fastrand::u8(..10) > 0)
                && let Some((head, body)) = read_request(&mut stream).await
            {
                is_new = false;
                let line = head.lines().next().unwrap();
                let number = body.len();
                *done.lock().unwrap().entry(line.to_owned()).or_default() += 1;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: {number}\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
    }
}

#[test]
fn of_a_thousand_requests_none_is_lost_or_done_twice_by_workers_that_hang_up() {
    const CLIENTS: usize = 4;
    const REQUESTS: usize = 250;
    let folder = tempfile::tempdir().unwrap();
    let done = Arc::<Mutex<HashMap<String, usize>>>::default();
    let (stop, stopped) = tokio::sync::watch::channel(());
    let workers: Vec<_> = (1..=2)
        .map(|number| {
            let path = folder.path().join(number.to_string());
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            listener.set_nonblocking(true).unwrap();
            let done = Arc::clone(&done);
            let mut stopped = stopped.clone();
            // On a thread of its own: what happens at the same time is what is asked here.
            let thread = thread::spawn(move || {
                run(async move {
                    let listener = UnixListener::from_std(listener).unwrap();
                    tokio::select! {
                        () = rude(number, listener, done) => {}
                        _ = stopped.changed() => {}
                    }
                });
            });
            (
                Worker::new(number, std::process::id(), this_process(), path, 0),
                thread,
            )
        })
        .collect();
    let set = set(&[]);
    for (worker, _) in &workers {
        set.add(Arc::clone(worker));
    }
    let front = Front::new(&set);
    run(async move {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let front = front.clone();
                tokio::task::spawn_local(async move {
                    let mut sender = front.http1().await;
                    for number in 0..REQUESTS {
                        let path = format!("/{client}/{number}");
                        let request = match number % 2 {
                            0 => get(&path),
                            _ => request(Method::POST, &path, full(vec![1; number * 20])),
                        };
                        sender.ready().await.unwrap();
                        let response = sender.send_request(request).await.unwrap();
                        assert_eq!(response.status(), StatusCode::OK, "{}", code(&response));
                        let length = if number % 2 == 0 { 0 } else { number * 20 };
                        assert_eq!(response.headers()["x"], length.to_string());
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    });
    drop(stop);
    for (worker, thread) in workers {
        thread.join().unwrap();
        assert_eq!(worker.in_flight(), 0);
    }
    let done = done.lock().unwrap();
    assert_eq!(done.len(), CLIENTS * REQUESTS);
    assert!(done.values().all(|times| *times == 1));
}

#[test]
fn of_many_requests_of_http2_none_is_lost_by_workers_that_shut_connections_down() {
    run(async {
        let server = Server::accept(1, |stream| async move {
            let left = Rc::new(Cell::new(fastrand::u32(1..5)));
            let shut = Rc::new(tokio::sync::Notify::new());
            let service = hyper::service::service_fn(|request: Request<Incoming>| {
                left.set(left.get().saturating_sub(1));
                if left.get() == 0 {
                    shut.notify_one();
                }
                async {
                    let body = collect(request.into_body()).await?.0;
                    Ok::<_, hyper::Error>(Response::new(full(body)))
                }
            });
            let connection = hyper::server::conn::http2::Builder::new(Local)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = shut.notified() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
        let front = Front::new(&set(&[&server]));
        let mut client = front.http2().await;
        for number in 0..500_usize {
            let body = vec![1; number * 20];
            let request = request2(Method::POST, "/", full(body.clone()));
            let response = client.send_request(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{}", code(&response));
            assert_eq!(collect(response.into_body()).await.unwrap().0, body);
        }
        assert!(server.connections.get() > 50);
    });
}
