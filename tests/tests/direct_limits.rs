//! The time that requests may take which workers took themselves.

use http_body_util::BodyExt as _;
use hyper::Response;
use replug_tests::{
    Connection, artifacts, client,
    host::{Host, Site},
    in_time, until,
};

/// One worker whose requests may take that long. All else that could end one is off.
async fn direct(site: &Site, request_timeout: &str) -> Host {
    site.install("probe", &artifacts::probe(1));
    let request_timeout = format!("request-timeout={request_timeout}");
    let mut args = vec!["--processes", "1", "--direct"];
    args.extend(["--group-option", &request_timeout]);
    for none in [
        "hang-timeout=0s",
        "graceful-timeout=0s",
        "shutdown-timeout=0s",
    ] {
        args.extend(["--group-option", none]);
    }
    site.serve_library("probe", &args).await
}

/// Waits until the app has seen so many requests, or bodies, dropped.
async fn dropped(host: &Host, count: u64) {
    let text = format!("{count}\n");
    let mut connection = host.connect().await;
    host.until_text(&mut connection, "/drops", &text).await;
}

/// Reads on until the body breaks off. `false`: it ended as if it were whole.
async fn breaks_off(mut response: Response<hyper::body::Incoming>) -> bool {
    loop {
        match in_time("the body's end", response.frame()).await {
            Some(Ok(_)) => {}
            Some(Err(_)) => return true,
            None => return false,
        }
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_by_its_worker_and_given_up() {
    let site = Site::new();
    let host = direct(&site, "300ms").await;
    let mut connections = [host.connect().await, host.connect_http2().await];
    let mut events = 0;
    for connection in &mut connections {
        let answer = connection.get("/hang").await;
        assert_eq!(answer.status, 504, "{answer:?}");
        assert!(answer.text.contains("longer than it may"), "{answer:?}");
        events += 1;
        let event = host.nth_event(events, "not-answered").await;
        assert_eq!(event.text("code"), "request-timeout");
        assert_eq!(event.text("app"), "fixture-probe");
        assert_eq!(event.number("worker"), Some(0));
        dropped(&host, events as u64).await;
        // Its connection and its worker go on.
        assert_eq!(connection.text("/").await, "version 1\n");
    }
    // One that wants the connection for itself, too.
    let upgrade = connections[0]
        .request("GET", "/hang")
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    let upgrade = upgrade.body(client::empty()).unwrap();
    let answer = client::read(connections[0].send(upgrade).await).await;
    assert_eq!(answer.unwrap().status, 504);
    dropped(&host, 3).await;
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
}

#[tokio::test]
async fn a_body_that_is_under_way_when_its_time_is_over_is_cut() {
    let site = Site::new();
    let host = direct(&site, "500ms").await;
    for (nth, mut connection) in [host.connect().await, host.connect_http2().await]
        .into_iter()
        .enumerate()
    {
        let mut response = connection.open("/slow-body").await;
        assert_eq!(client::next(&mut response).await, "version 1\n");
        assert!(breaks_off(response).await, "it looked whole");
        let event = host.nth_event(nth + 1, "body-broken").await;
        assert!(
            event.text("message").contains("longer than it may"),
            "{event}"
        );
        dropped(&host, nth as u64 + 1).await;
    }
    // What ends in time is whole.
    let mut connection = host.connect().await;
    let body = "x".repeat(1 << 20);
    assert_eq!(connection.post("/echo", body.clone()).await.text, body);
    assert_eq!(connection.text("/sleep?ms=10").await, "version 1\n");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nothing_beyond_the_requests_time() {
    let site = Site::new();
    let host = direct(&site, "500ms").await;
    let address = host.socket_address();
    let mut stuck = Connection::http1_with_little_room(address).await;
    // It is not read.
    let response = stuck.open("/source?bytes=100000000").await;
    host.event("body-broken").await;
    until("no request but the one that asks", async || {
        let status = site.status().await;
        (status["apps"][0]["workers"][0]["in_flight"] == 0).then_some(())
    })
    .await;
    assert!(breaks_off(response).await, "it looked whole");
    // A deploy has nothing to wait for.
    artifacts::probe(2).install(&site.library("probe"));
    host.retired("fixture-probe", 1).await;
}

#[tokio::test]
async fn a_websocket_that_was_answered_in_time_may_stay() {
    use replug_tests::socket::Socket;
    let site = Site::new();
    let host = direct(&site, "300ms").await;
    let mut socket = Socket::open(&host, "/ws").await;
    let mut connection = host.connect().await;
    assert_eq!(connection.get("/hang").await.status, 504);
    assert_eq!(socket.ask("a").await, "version 1: a");
}
