//! Each generation has a heap of its own, and may have a limit.

use http::{StatusCode, header::RETRY_AFTER};
use replug_tests::{artifacts, host::Site};

#[tokio::test]
async fn an_app_beyond_its_memory_limit_gets_a_fresh_generation_and_fails_no_request() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let args = ["--memory-limit", "fixture-probe=32M", "--threads", "2"];
    let host = site.serve_library("probe", &args).await;
    let mut connection = host.connect().await;
    assert_eq!(connection.text("/keep?mib=16").await, "version 1\n");
    assert_eq!(host.log.all(|event| event.kind() == "memory-limit"), []);
    // The allocation beyond the limit succeeds, and so does its request.
    assert_eq!(connection.text("/keep?mib=48").await, "version 1\n");
    let event = host.event("memory-limit").await;
    assert!(event.is("memory-limit", "fixture-probe", 1), "{event}");
    host.serving("fixture-probe", 2).await;
    let retired = host.retired("fixture-probe", 1).await;
    assert_eq!(
        (retired.text("stop"), retired.text("outcome")),
        ("memory-limit", "unloaded")
    );
    assert_eq!(connection.text("/").await, "version 1\n");
}

#[tokio::test]
async fn an_app_that_sets_itself_up_beyond_its_memory_limit_is_found_out() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let args = [
        "--memory-limit",
        "32M",
        "--set",
        "fixture-probe.keep-mib=48",
    ];
    let host = site.serve_library("probe", &args).await;
    let first = host.event("memory-limit").await;
    assert!(first.is("memory-limit", "fixture-probe", 1), "{first}");
    host.serving("fixture-probe", 2).await;
    // The next is no better, and is not made at once.
    let second = host.nth_event(2, "memory-limit").await;
    assert!(second.is("memory-limit", "fixture-probe", 2), "{second}");
    let refused = host.connect().await.get("/").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn an_app_that_is_beyond_its_memory_limit_again_at_once_turns_requests_away() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let host = site
        .serve_library("probe", &["--memory-limit", "32M"])
        .await;
    let mut connection = host.connect().await;
    connection.text("/keep?mib=48").await;
    host.serving("fixture-probe", 2).await;
    connection.text("/keep?mib=48").await;
    host.nth_event(2, "memory-limit").await;
    let refused = connection.get("/").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers.contains_key(RETRY_AFTER), "{refused:?}");
    // The next one is due some seconds later.
    host.serving("fixture-probe", 3).await;
    host.until_text(&mut connection, "/", "version 1\n").await;
}
