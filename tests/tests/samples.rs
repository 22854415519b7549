//! The sample plugins do what their pages say.

use std::fs;

use http_body_util::BodyExt as _;
use replug_tests::{artifacts, client, deploy::touch, host::Site, in_time};
use serde_json::json;

#[tokio::test]
async fn the_counter_counts_and_its_cleanup_hook_has_the_last_word() {
    let site = Site::new();
    let path = site.install("counter", &artifacts::library("counter"));
    let host = site.serve_library("counter", &[]).await;
    let mut connection = host.connect().await;
    for count in 1..=3 {
        assert_eq!(connection.post("/", "").await.text, format!("{count}\n"));
    }
    touch(&path);
    host.serving("counter", 2).await;
    assert_eq!(connection.text("/").await, "0\n");
    let last = host
        .log
        .wait_for("the count", |e| e.text("message") == "final count")
        .await;
    assert_eq!(last.field("fields")["count"], "3", "{last}");
    assert_eq!(last.number("generation"), Some(1), "{last}");
    assert_eq!(
        host.retired("counter", 1).await.number("hooks_done"),
        Some(1)
    );
}

#[tokio::test]
async fn the_to_do_list_outlives_its_generations() {
    let site = Site::new();
    let path = site.install("todo", &artifacts::library("todo"));
    let database = site.path().join("todo.db");
    let setting = format!("todo.database={}", database.display());
    let host = site.serve_library("todo", &["--set", &setting]).await;
    let mut connection = host.connect().await;
    let request = connection
        .request("POST", "/")
        .header("content-type", "application/json");
    let request = request
        .body(client::full(json!({ "text": "milk" }).to_string()))
        .unwrap();
    assert_eq!(connection.send(request).await.status(), 201);
    for generation in 2..=4 {
        touch(&path);
        host.serving("todo", generation).await;
        assert_eq!(
            connection.json("/").await,
            json!([{ "id": 1, "text": "milk" }])
        );
        let retired = host.retired("todo", generation - 1).await;
        assert_eq!(retired.number("hooks_done"), Some(1), "{retired}");
    }
    // Its handle is closed with its generation.
    let descriptors = fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap();
    let handles = descriptors
        .filter(|file| fs::read_link(file.as_ref().unwrap().path()).is_ok_and(|to| to == database));
    assert_eq!(handles.count(), 1);
}

#[tokio::test]
async fn server_sent_events_end_when_draining_begins() {
    let site = Site::new();
    let path = site.install("streaming", &artifacts::library("streaming"));
    let host = site.serve_library("streaming", &[]).await;
    let mut connection = host.connect().await;
    let mut events = connection.open("/events").await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    assert!(
        client::next(&mut events)
            .await
            .starts_with(b"event: tick\n")
    );
    touch(&path);
    let rest = in_time("the end", events.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.contains("event: end\n"), "{rest}");
    host.retired("streaming", 1).await;
    let download = connection.text("/download?bytes=70000").await;
    assert!(download.starts_with("000000000000000\n") && download.len() == 70_000);
    assert_eq!(connection.post("/echo", "piece").await.text, "piece");
}
