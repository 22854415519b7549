//! Bodies, heads and ends of requests by way of the host to workers, besides what `scripts/test` runs through workers of
//! `streaming` and `upgrades`.

use http::StatusCode;
use http_body_util::BodyExt as _;
use replug_tests::{
    Connection, Host, artifacts,
    client::{self, empty},
    host::Site,
    in_time, until,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The site's probe in one worker of one HTTP thread, so that all requests share a connection.
async fn one_worker(site: &Site) -> Host {
    site.install("probe", &artifacts::probe(1));
    let args = ["--processes=1", "--group-option=threads=1", "--threads=1"];
    site.serve_library("probe", &args).await
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody_who_shares_its_connection() {
    const BYTES: usize = 8 << 20;
    let site = Site::new();
    let host = one_worker(&site).await;
    let mut slow = Connection::http1_with_little_room(host.socket_address()).await;
    let mut download = slow.open(&format!("/source?bytes={BYTES}")).await;
    let mut unread = Connection::http1_with_little_room(host.socket_address()).await;
    let endless = unread.open("/endless").await;
    let mut connection = host.connect().await;
    for _ in 0..100 {
        assert_eq!(connection.text("/").await, "version 1\n");
    }
    let large = host.connect().await.get("/source?bytes=1000000").await;
    assert_eq!(large.headers["content-length"], "1000000");
    drop(endless);
    let mut read = 0;
    while read < BYTES {
        for found in client::next(&mut download).await {
            assert_eq!(usize::from(found), read % 251);
            read += 1;
        }
    }
    assert!(download.body_mut().frame().await.is_none());
}

#[tokio::test]
async fn a_worker_makes_no_more_of_a_body_than_is_read() {
    let site = Site::new();
    let host = one_worker(&site).await;
    let mut unread = Connection::http1_with_little_room(host.socket_address()).await;
    let endless = unread.open("/endless").await;
    let mut connection = host.connect().await;
    let mut before = connection.text("/pull").await;
    until("it to stop", async || {
        let now = connection.text("/pull").await;
        let has_stopped = now == before;
        before = now;
        has_stopped.then_some(())
    })
    .await;
    // Pieces of 64 KiB, in the worker, the host and the sockets between.
    let pulled: u64 = before.trim_end().parse().unwrap();
    assert!(pulled < 200, "{pulled}");
    drop(endless);
}

#[tokio::test]
async fn a_client_that_goes_away_has_its_request_given_up() {
    let site = Site::new();
    let host = one_worker(&site).await;
    let mut leaving = host.connect_http2().await;
    let hanging = leaving.begin("/hang").await;
    let mut reading = host.connect().await;
    let mut body = reading.open("/slow-body").await;
    assert_eq!(client::next(&mut body).await, "version 1\n");
    hanging.cancel();
    drop((leaving, body, reading));
    let mut connection = host.connect().await;
    until("both to end", async || {
        (connection.text("/drops").await == "2\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn heads_and_trailers_are_those_of_the_app() {
    let site = Site::new();
    let host = one_worker(&site).await;
    for mut connection in [host.connect().await, host.connect_http2().await] {
        let head = connection.request("HEAD", "/source?bytes=1000");
        let head = connection.send(head.body(empty()).unwrap()).await;
        assert_eq!(head.headers()["content-length"], "1000");
        let whole = connection.get("/source?bytes=0").await;
        assert_eq!((whole.status, whole.text.as_str()), (StatusCode::OK, ""));
        let missing = connection.get("/nowhere").await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
        let info = connection.json("/info?a=%20b").await;
        assert_eq!(
            info["original_uri"]
                .as_str()
                .unwrap()
                .rsplit_once("/info")
                .unwrap()
                .1,
            "?a=%20b"
        );
    }
    let mut connection = host.connect_http2().await;
    let answer = connection.get("/trailers").await;
    assert_eq!(answer.text, "version 1\n");
    assert_eq!(answer.trailers.unwrap()["x-version"], "1");
}

#[tokio::test]
async fn a_body_that_fails_is_cut_behind_its_head() {
    let site = Site::new();
    let host = one_worker(&site).await;
    for path in ["/error-in-body", "/panic-in-body"] {
        for mut connection in [host.connect().await, host.connect_http2().await] {
            let response = connection.open(path).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            let body = client::read(response).await;
            assert!(body.is_err(), "{path}: {body:?}");
        }
    }
    // The connection that they shared goes on.
    assert_eq!(host.get("/").await, "version 1\n");
    assert_eq!(host.log.all(|event| event.kind() == "trunk-malformed"), []);
}

#[tokio::test]
async fn a_target_that_is_none_harms_nobody_who_shares_the_connection() {
    let site = Site::new();
    let host = one_worker(&site).await;
    let mut connection = host.connect_http2().await;
    let waiting = connection.begin("/sleep?ms=500").await;
    for target in [
        "://a/b", "x://a/b", "://", "*", "a:1", "http://a", "//", "/%",
    ] {
        let mut stream = TcpStream::connect(host.socket_address()).await.unwrap();
        let head = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        in_time("an answer", stream.read_to_end(&mut answer))
            .await
            .unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{target}");
    }
    assert_eq!(waiting.answer().await.unwrap().text, "version 1\n");
    assert_eq!(host.log.all(|event| event.kind() == "trunk-malformed"), []);
}
