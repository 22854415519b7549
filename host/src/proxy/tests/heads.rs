use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{super::Forwarded, rig::*};
use crate::loader::Peer;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// A worker that answers each connection's first request with those bytes, and ends it.
fn says(answer: &'static str) -> Server {
    Server::accept(1, move |mut stream| async move {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
}

/// A worker that answers with the request's head as it came.
fn mirror() -> Server {
    Server::start(1, |request: Request<Incoming>| async move {
        let (parts, body) = request.into_parts();
        let body = collect(body).await.unwrap().0;
        let mut text = format!("{} {} {:?}\n", parts.method, parts.uri, parts.version);
        for (name, value) in &parts.headers {
            text += &format!("{name}: {}\n", value.to_str().unwrap());
        }
        text += &String::from_utf8_lossy(&body);
        Response::new(full(text))
    })
}

/// What comes back on a connection on which that is said.
async fn raw(front: &Front, request: &str) -> String {
    let mut client = front.connect();
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

fn check_answer(method: &str, worker: &'static str, expected: &str) {
    run(async {
        let server = says(worker);
        let front = Front::new(&set(&[&server]));
        let request = format!("{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = raw(&front, &request).await;
        assert_eq!(answer.replace("\r\n", "\n"), expected);
        until(|| server.worker.in_flight() == 0).await;
    });
}

#[test]
fn a_response_passes_but_for_what_concerns_the_workers_connection() {
    check_answer(
        "GET",
        "HTTP/1.1 299 Very Fine\r\nDate: then\r\nset-cookie: a\r\nConnection: x-hop, close\r\n\
         X-Hop: 1\r\nset-cookie: b\r\nkeep-alive: timeout=5\r\ncontent-length: 2\r\nserver: s\r\n\
         upgrade: h2c\r\ntrailer: x\r\n\r\nok",
        "HTTP/1.1 299 Very Fine\ndate: then\nset-cookie: a\nset-cookie: b\ncontent-length: 2\n\
         server: s\ntrailer: x\nconnection: close\n\nok",
    );
}

#[test]
fn the_answer_to_head_says_what_it_said() {
    let answer = "HTTP/1.1 200 OK\r\ndate: then\r\ncontent-length: 5000\r\n\r\n";
    let expected = "HTTP/1.1 200 OK\ndate: then\ncontent-length: 5000\nconnection: close\n\n";
    check_answer("HEAD", answer, expected);
}

#[test]
fn the_answer_to_head_gets_no_length_that_it_had_not() {
    let answer = "HTTP/1.1 200 OK\r\ndate: then\r\ntransfer-encoding: chunked\r\n\r\n";
    let expected = "HTTP/1.1 200 OK\ndate: then\nconnection: close\n\n";
    check_answer("HEAD", answer, expected);
}

#[test]
fn answers_without_a_body_stay_so() {
    check_answer(
        "GET",
        "HTTP/1.1 304 Not Modified\r\ndate: then\r\netag: \"x\"\r\n\r\n",
        "HTTP/1.1 304 Not Modified\ndate: then\netag: \"x\"\nconnection: close\n\n",
    );
    check_answer(
        "GET",
        "HTTP/1.1 204 No Content\r\ndate: then\r\n\r\n",
        "HTTP/1.1 204 No Content\ndate: then\nconnection: close\n\n",
    );
}

#[test]
fn hints_before_the_answer_do_not_stand_for_it() {
    check_answer(
        "GET",
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
         HTTP/1.1 200 OK\r\ndate: then\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\ndate: then\ncontent-length: 2\nconnection: close\n\nok",
    );
}

#[test]
fn a_request_passes_but_for_what_concerns_the_clients_connection() {
    run(async {
        let server = mirror();
        let peer = Peer::Inet("[2001:db8::1]:80".parse().unwrap());
        let front = Front::new(&set(&[&server])).with_peer(peer);
        let request = "PUT /a%20b?c#d HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop\r\n\
                       Cookie: 1\r\nX-Hop: 1\r\nReplug-Forwarded: id=7;peer=unix\r\n\
                       TE: trailers, gzip\r\nCookie: 2\r\nUpgrade: websocket\r\n\
                       replug-forwarded: id=8;peer=unix\r\nContent-Length: 2\r\n\r\nhi";
        let answer = raw(&front, request).await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            body,
            "PUT /a%20b?c HTTP/1.1\nhost: a\ncookie: 1\ncookie: 2\ncontent-length: 2\n\
             te: trailers\nconnection: te\nreplug-forwarded: id=1;peer=[2001:db8::1]:80\nhi"
        );
    });
}

#[test]
fn a_request_of_http2_passes_as_one() {
    run(async {
        let server = mirror();
        let front = Front::new(&set(&[&server]));
        let mut sender = front.http2().await;
        let mut request = request2(Method::POST, "/x?y", full("hi"));
        let headers = request.headers_mut();
        headers.insert("te", "trailers".parse().unwrap());
        headers.append("cookie", "1".parse().unwrap());
        headers.append("cookie", "2".parse().unwrap());
        headers.insert("replug-forwarded", "id=7;peer=unix".parse().unwrap());
        let response = sender.send_request(request).await.unwrap();
        let body = collect(response.into_body()).await.unwrap().0;
        assert_eq!(
            body,
            "POST http://a/x?y HTTP/2.0\ncookie: 1\ncookie: 2\ncontent-length: 2\nte: trailers\n\
             replug-forwarded: id=1;peer=unix\nhi"
        );
    });
}

#[test]
fn the_body_of_a_get_passes_when_its_length_is_unknown() {
    run(async {
        let server = mirror();
        let front = Front::new(&set(&[&server]));
        let (sender, body) = channel();
        let mut request = request(Method::GET, "/", body);
        let chunked = "chunked".parse().unwrap();
        request.headers_mut().insert("transfer-encoding", chunked);
        let response = tokio::task::spawn_local({
            let front = front.clone();
            async move { front.send(request).await }
        });
        sender.send(data("he")).await.unwrap();
        sender.send(data("llo")).await.unwrap();
        drop(sender);
        let body = collect(response.await.unwrap().into_body()).await;
        assert!(body.unwrap().0.ends_with(b"hello"));
    });
}

#[test]
fn a_client_of_http10_gets_its_answer_and_the_worker_is_told() {
    run(async {
        let server = Server::start(1, |mut request: Request<Incoming>| async move {
            assert_eq!(request.version(), Version::HTTP_11);
            let forwarded = Forwarded::take(&mut request).unwrap();
            assert_eq!((forwarded.id, forwarded.peer), (1, Peer::Unix));
            assert_eq!(request.version(), Version::HTTP_10);
            // Of unknown length, so that the host and its worker need chunks.
            Response::new(full("ok").map_frame(|frame| frame).boxed_unsync())
        });
        let front = Front::new(&set(&[&server]));
        let answer = raw(&front, "GET / HTTP/1.0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    });
}

#[test]
fn a_worker_that_wants_a_body_has_it_asked_for() {
    run(async {
        let server = mirror();
        let front = Front::new(&set(&[&server]));
        let mut client = front.connect();
        let head = b"PUT / HTTP/1.1\r\nconnection: close\r\nexpect: 100-continue\r\n\
                     content-length: 2\r\n\r\n";
        client.write_all(head).await.unwrap();
        let mut interim = [0; 25];
        client.read_exact(&mut interim).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"hi").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with("hi"), "{answer}");
    });
}

#[test]
fn a_body_that_no_worker_wants_is_not_asked_for() {
    run(async {
        let server = Server::start(1, |_| async {
            let mut response = Response::new(full("too large"));
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            response
        });
        let front = Front::new(&set(&[&server]));
        let request = "PUT / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        // The connection ends with it: what would follow is no request.
        let answer = raw(&front, request).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.ends_with("too large"), "{answer}");
        until(|| server.worker.in_flight() == 0).await;
    });
}

#[test]
fn a_client_is_not_held_back_for_ever_by_a_worker_that_does_not_ask() {
    run(async {
        // It reads the body without ever having asked for it.
        let server = Server::accept(1, |mut stream| async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\nhi") {
                request.push(stream.read_u8().await.unwrap());
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
        });
        let front = Front::new(&set(&[&server]));
        let mut client = front.connect();
        let head = b"PUT / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        client.write_all(head).await.unwrap();
        let mut interim = [0; 25];
        client.read_exact(&mut interim).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"hi").await.unwrap();
        let mut answer = [0; 15];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    });
}

#[test]
fn a_response_may_have_many_fields() {
    run(async {
        let server = Server::start(1, |_| async {
            let mut response = Response::new(empty());
            for number in 0..400 {
                let cookie = format!("c{number}=1").parse().unwrap();
                response.headers_mut().append("set-cookie", cookie);
            }
            response
        });
        let front = Front::new(&set(&[&server]));
        let mut sender = front.http2().await;
        for _ in 0..2 {
            let request = request2(Method::GET, "/", empty());
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.headers().get_all("set-cookie").iter().count(), 400);
        }
        let mut client = front.connect();
        let request = b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.matches("set-cookie").count(), 400);
    });
}

#[test]
fn connect_is_answered_as_the_worker_answers_it() {
    run(async {
        let server = Server::start(1, |request: Request<Incoming>| async move {
            let mut response = Response::new(full("no tunnels"));
            *response.status_mut() = match request.uri().host() {
                Some("agreed") => StatusCode::OK,
                _ => StatusCode::METHOD_NOT_ALLOWED,
            };
            response
        });
        let front = Front::new(&set(&[&server]));
        let ask = |host| format!("CONNECT {host}:80 HTTP/1.1\r\nconnection: close\r\n\r\n");
        let answer = raw(&front, &ask("refused")).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        assert!(answer.ends_with("no tunnels"), "{answer}");
        let answer = raw(&front, &ask("agreed")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        until(|| server.worker.in_flight() == 0).await;
    });
}
