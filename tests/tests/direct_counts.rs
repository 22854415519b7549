//! What workers have answered themselves, as the host sees it: in its status, its guard and its
//! limits.

use replug_tests::{
    Connection, artifacts, client, configured::write, direct::direct, host::Site, socket::Socket,
    until,
};
use serde_json::Value;

const APP: &str = "fixture-probe";

async fn serving(site: &Site) -> Value {
    site.status().await["apps"][0]["serving"].clone()
}

#[tokio::test]
async fn a_version_that_does_worse_for_direct_requests_is_rolled_back() {
    let site = Site::new();
    let host = direct(&site, "2", &["--guard", "30s"]).await;
    // On connections to both workers, most likely.
    for _ in 0..8 {
        assert_eq!(
            host.connect().await.get("/fails-when-even").await.status,
            200
        );
    }
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    let status = serving(&site).await;
    assert!(status["guarded"].is_number(), "{status}");
    until("the old version", async || {
        let answer = host.connect().await.get("/fails-when-even").await;
        (answer.status == 200).then_some(())
    })
    .await;
    let event = host.event("rolling-back").await;
    assert!(event.text("reason").contains("before: 0 of "), "{event}");
    host.serving(APP, 3).await;
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn a_version_that_did_no_better_before_is_kept() {
    let site = Site::new();
    let host = direct(&site, "2", &["--guard", "1s"]).await;
    // In the window before, whenever that is, and in the one after.
    let failing = async {
        loop {
            assert_eq!(host.connect().await.get("/panic").await.status, 500);
        }
    };
    let deploying = async {
        artifacts::probe(2).install(&site.library("probe"));
        host.serving(APP, 2).await;
        host.event("guarded").await
    };
    let event = tokio::select! {
        event = deploying => event,
        () = failing => unreachable!("it does not end"),
    };
    assert!(event.number("failures") > Some(0), "{event}");
    assert_eq!(host.log.all(|event| event.kind() == "rolling-back"), []);
}

#[tokio::test]
async fn status_counts_what_came_by_either_way() {
    let site = Site::new();
    artifacts::probe(1).install(&site.library("probe"));
    write(
        &site,
        "[plugins]\ndirs = [\"apps\"]\n[apps.fixture-probe]\ngroup = \"web\"\nmount = \"/\"\n\
         [groups.web]\nprocesses = 2\nlisten = [\"127.0.0.1:0\"]\n",
    );
    let host = site.serve(&[]).await;
    let addresses = host.log.all(|event| event.kind() == "listening");
    let own = addresses[1].text("address").to_owned();
    for address in [&own, &host.address] {
        for (path, status) in [("/", 200), ("/status?code=503", 503), ("/panic", 500)] {
            let mut connection = Connection::http1(address).await;
            assert_eq!(connection.get(path).await.status, status, "{path}");
        }
    }
    let status = until("the requests' end", async || {
        let status = serving(&site).await;
        (status["in_flight"] == 0).then_some(status)
    })
    .await;
    assert_eq!(status["requests"], 6, "{status}");
    assert_eq!(status["failures"], 4, "{status}");
    // The host sees no more than a 500 of what it passes on.
    assert_eq!(status["panics"], 1, "{status}");
    let mut held = Vec::new();
    for address in [&own, &own, &host.address] {
        let mut connection = Connection::http2(address).await;
        held.push(connection.begin("/hang").await);
        held.push(connection.begin("/slow-body").await);
    }
    let status = site.status().await["apps"][0].clone();
    assert_eq!(status["serving"]["in_flight"], 6, "{status}");
    assert_eq!(status["serving"]["requests"], 18, "{status}");
    let sum = |key: &str| {
        let workers = status["workers"].as_array().unwrap().iter();
        workers.map(|it| it[key].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((sum("in_flight"), sum("requests")), (6, 18), "{status}");
    for request in held {
        request.cancel();
    }
    until("the requests' end", async || {
        (serving(&site).await["in_flight"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_fresh_generation_comes_after_as_many_direct_requests_as_one_may_answer() {
    let site = Site::new();
    let host = direct(&site, "2", &["--option", "max-requests=20"]).await;
    let mut kept = host.connect().await;
    until("a fresh generation", async || {
        assert_eq!(kept.text("/").await, "version 1\n");
        host.log
            .all(|event| event.is("serving", APP, 2))
            .pop()
            .map(|_| ())
    })
    .await;
}

#[tokio::test]
async fn an_open_websocket_is_a_request_under_way() {
    let site = Site::new();
    let host = direct(&site, "2", &[]).await;
    let mut sockets = Vec::new();
    for open in 1..=3 {
        let mut socket = Socket::open(&host, "/ws").await;
        assert_eq!(socket.ask("a").await, "version 1: a");
        sockets.push(socket);
        assert_eq!(serving(&site).await["in_flight"], open);
    }
    for socket in sockets {
        socket.close().await;
    }
    // An upgrade that the app does not grant, too.
    let mut connection = host.connect().await;
    let upgrade = connection.request("GET", "/");
    let upgrade = upgrade
        .header("connection", "upgrade")
        .header("upgrade", "x");
    let response = connection
        .send(upgrade.body(client::empty()).unwrap())
        .await;
    assert_eq!(client::read(response).await.unwrap().text, "version 1\n");
    let serving = until("their end", async || {
        let serving = serving(&site).await;
        (serving["in_flight"] == 0).then_some(serving)
    })
    .await;
    assert_eq!(serving["requests"], 4, "{serving}");
}
