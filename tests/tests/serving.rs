//! Apps are served as their authors and operators expect.

use http::{StatusCode, Version};
use replug_tests::{
    Connection, artifacts,
    client::{self, empty},
    host::Site,
};
use serde_json::json;

#[tokio::test]
async fn one_library_alone_answers_at_the_root() {
    let site = Site::new();
    site.install("hello", &artifacts::library("hello"));
    let host = site.serve_library("hello", &[]).await;
    let serving = host.serving("hello", 1).await;
    assert_eq!(serving.text("mount"), "/");
    assert_eq!(
        serving.text("path"),
        site.library("hello").to_str().unwrap()
    );
    assert_eq!(serving.text("digest").len(), 64, "{serving}");
    assert_eq!(host.get("/").await, "hello\n");
}

#[tokio::test]
async fn plugins_of_all_frameworks_are_served_side_by_side() {
    let site = Site::new();
    for package in [
        "hello",
        "counter",
        "fixture-axum07",
        "fixture-tower",
        "fixture-probe",
    ] {
        site.install(&package.replace('-', "_"), &artifacts::library(package));
    }
    site.install("plain", &artifacts::c_plugin());
    let host = site.serve_apps(&[]).await;
    let mut connection = host.connect().await;
    let mut check = async |path: &str, expected: &str| {
        assert_eq!(connection.text(path).await, expected, "{path}");
    };
    check("/hello", "hello\n").await;
    check("/counter/", "0\n").await;
    check("/fixture-axum07", "axum 0.7\n").await;
    check("/fixture-axum07/greet/Ann", "hello Ann\n").await;
    check("/fixture-tower", "fixture-tower by hand\n").await;
    check("/fixture-probe/", "version 1\n").await;
    check("/fixture-probe/spawn", "version 1\n").await;
    check("/plain-c/what/ever", "hello from C\n").await;
}

#[tokio::test]
async fn an_app_sees_its_path_without_the_mount_and_the_facts_about_itself() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(3));
    let source = format!("{}=/shop/cart", path.display());
    let host = site.serve(&[&source]).await;
    let mut connection = host.connect().await;
    let local = connection.local.unwrap();
    let info = connection.json("/shop/cart/info?a=1&b=%20").await;
    let request_id = info["request_id"].as_u64().unwrap();
    assert!(request_id > 0);
    let expected = json!({
        "version": 3,
        "name": "fixture-probe",
        "path": path,
        "mount": "/shop/cart",
        "generation": 1,
        "mode": "embedded",
        "group": null,
        "worker": null,
        "pid": host.pid(),
        "peer": local.to_string(),
        "request_id": request_id,
        "method": "GET",
        "uri": "/info?a=1&b=%20",
        "original_uri": "/shop/cart/info?a=1&b=%20",
        "http": "HTTP/1.1",
    });
    assert_eq!(info, expected);
    let next = connection.json("/shop/cart/info").await;
    assert_ne!(next["request_id"], info["request_id"]);
    for path in ["/shop/cart", "/shop/cart/"] {
        assert_eq!(connection.text(path).await, "version 3\n");
    }
    for path in ["/", "/shop", "/shop/cartoon"] {
        assert_eq!(
            connection.get(path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_longest_mount_wins() {
    let site = Site::new();
    let mut sources = Vec::new();
    for (number, mount) in ["/", "/a", "/a/b"].iter().enumerate() {
        let version = number as u64 + 1;
        let path = site.install(&format!("probe{version}"), &artifacts::probe(version));
        sources.push(format!("{}={mount}", path.display()));
    }
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let host = site.serve(&sources).await;
    let mut connection = host.connect().await;
    let mut check = async |path: &str, version: u64, uri: &str| {
        let info = connection.json(path).await;
        assert_eq!(info["version"], version, "{path}");
        assert_eq!(info["uri"], uri, "{path}");
    };
    check("/info", 1, "/info").await;
    check("/a/info", 2, "/info").await;
    check("/a/b/info", 3, "/info").await;
    check("/info?/a/b", 1, "/info?/a/b").await;
}

#[tokio::test]
async fn two_apps_that_want_one_mount_are_both_named_and_the_first_serves() {
    two_for_one_mount(&[]).await;
}

#[tokio::test]
async fn two_apps_of_a_group_that_want_one_mount_are_both_named_and_the_first_serves() {
    two_for_one_mount(&["--processes", "2"]).await;
}

async fn two_for_one_mount(args: &[&str]) {
    let site = Site::new();
    let one = site.install("one", &artifacts::probe(1));
    let two = site.install("two", &artifacts::probe(2));
    let sources = [&one, &two].map(|path| format!("{}=/x", path.display()));
    let mut all: Vec<&str> = sources.iter().map(String::as_str).collect();
    all.extend(args);
    let host = site.serve(&all).await;
    let refused = host.event("refused").await;
    assert_eq!(refused.text("path"), two.to_str().unwrap());
    assert!(
        refused.text("reason").contains(one.to_str().unwrap()),
        "{refused}"
    );
    assert!(refused.text("reason").contains("/x"), "{refused}");
    assert!(!refused.text("remedy").is_empty(), "{refused}");
    assert_eq!(host.get("/x/").await, "version 1\n");
    // The mount is free again when its owner goes.
    std::fs::remove_file(one).unwrap();
    host.log
        .wait_for("the second serving", |event| {
            event.kind() == "serving" && event.text("path") == two.to_str().unwrap()
        })
        .await;
    assert_eq!(host.get("/x/").await, "version 2\n");
}

#[tokio::test]
async fn requests_and_responses_come_through_as_they_are() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    let mut connection = host.connect().await;

    let request = connection
        .request("OPTIONS", "/headers")
        .header("x-a", "1")
        .header("x-a", "2");
    let request = request
        .header("x-bytes", &b"caf\xe9"[..])
        .body(empty())
        .unwrap();
    let answer = client::read(connection.send(request).await).await.unwrap();
    let headers: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(headers["x-a"], json!(["1", "2"]));
    assert_eq!(headers["x-bytes"], json!(["caf\u{fffd}"]));
    assert_eq!(headers["host"], json!(["test"]));

    for code in [204, 304, 404, 418, 503] {
        let answer = connection.get(&format!("/status?code={code}")).await;
        assert_eq!(answer.status, code);
    }
    let request = connection.request("HEAD", "/").body(empty()).unwrap();
    let answer = client::read(connection.send(request).await).await.unwrap();
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(answer.headers["content-length"], "10");
    let answer = connection.post("/echo", vec![b'x'; 1 << 20]).await;
    assert_eq!(answer.text.len(), 1 << 20);
}

#[tokio::test]
async fn an_app_learns_who_is_calling() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    for mut connection in [host.connect().await, host.connect_http2().await] {
        let local = connection.local.unwrap();
        assert_eq!(connection.text("/connect-info").await, format!("{local}\n"));
    }
}

#[tokio::test]
async fn settings_reach_the_app_they_are_for() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let settings = [
        "fixture-probe.greeting=hi there",
        "fixture-probe.count=3",
        "fixture-probe.on=true",
        "fixture-probe.list=[1, 2]",
        "another.greeting=no",
    ];
    let args: Vec<&str> = settings
        .iter()
        .flat_map(|setting| ["--set", setting])
        .collect();
    let host = site.serve_library("probe", &args).await;
    let settings = host.connect().await.json("/settings").await;
    let expected = json!({ "greeting": "hi there", "count": 3, "on": true, "list": [1, 2] });
    assert_eq!(settings, expected);
}

#[tokio::test]
async fn one_listener_speaks_http1_and_cleartext_http2() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    let check = async |mut connection: Connection, version: Version| {
        assert_eq!(connection.open("/").await.version(), version);
        let info = connection.json("/info?x=1").await;
        assert_eq!(info["http"], format!("{version:?}"));
        assert!(
            info["uri"].as_str().unwrap().ends_with("/info?x=1"),
            "{info}"
        );
    };
    check(host.connect().await, Version::HTTP_11).await;
    check(host.connect_http2().await, Version::HTTP_2).await;
}

#[tokio::test]
async fn trailers_come_through() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(7));
    let host = site.serve_library("probe", &[]).await;
    let mut connection = host.connect_http2().await;
    for _ in 0..2 {
        let answer = connection.get("/trailers").await;
        assert_eq!(answer.text, "version 7\n");
        assert_eq!(answer.trailers.unwrap()["x-version"], "7");
    }
}

#[tokio::test]
async fn a_unix_socket_is_served_beside_a_port() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let socket = site.path().join("replug.sock");
    let unix = format!("unix:{}", socket.display());
    let listen = ["--listen", "127.0.0.1:0", "--listen", &unix];
    let mut host = site.serve_library("probe", &listen).await;
    let second = host.nth_event(2, "listening").await;
    assert_eq!(second.text("address"), unix);
    let mut connection = Connection::http1(&unix).await;
    let info = connection.json("/info").await;
    assert_eq!(info["peer"], "unix");
    assert_eq!(host.get("/").await, "version 1\n");
    host.terminate().await;
    assert!(!socket.exists(), "the socket's file goes with the host");
}

#[tokio::test]
async fn a_blocked_thread_leaves_the_others_serving() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--threads", "2"]).await;
    // Two connections, on two threads; the one that blocks is held before the other is used.
    let (mut blocked, mut free) = (host.connect().await, host.connect().await);
    blocked.text("/").await;
    free.text("/").await;
    let slow = tokio::spawn(async move { blocked.text("/block?ms=1000").await });
    assert_eq!(free.text("/spawn").await, "version 1\n");
    assert_eq!(slow.await.unwrap(), "version 1\n");
}
