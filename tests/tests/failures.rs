//! An app's failures are its own, and the log tells them.

use http::StatusCode;
use http_body_util::BodyExt as _;
use replug_tests::{Host, artifacts, host::Site, in_time, log::Event};
use serde_json::json;

async fn probe(site: &Site) -> Host {
    site.install("probe", &artifacts::probe(1));
    site.serve_library("probe", &[]).await
}

async fn panicked(host: &Host, message: &str, place: &str) -> Event {
    let event = host.event("handler-panicked").await;
    assert!(event.is("handler-panicked", "fixture-probe", 1), "{event}");
    assert!(event.text("message").contains(message), "{event}");
    assert!(event.text("location").contains(place), "{event}");
    event
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_500_for_that_request_alone() {
    let site = Site::new();
    let host = probe(&site).await;
    let mut multiplexed = host.connect_http2().await;
    let sleeping = multiplexed.begin("/sleep?ms=100").await;
    let answer = multiplexed.get("/panic").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    let event = panicked(&host, "the probe panics", "failures.rs:").await;
    let request = event.number("request").unwrap();
    assert!(
        answer.text.contains(&request.to_string()),
        "{answer:?} names request {request}"
    );
    assert!(
        !answer.text.contains("the probe"),
        "{answer:?} tells what is the log's"
    );
    assert_eq!(sleeping.answer().await.unwrap().text, "version 1\n");

    let mut connection = host.connect().await;
    assert_eq!(
        connection.get("/panic").await.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(connection.text("/").await, "version 1\n");
}

#[tokio::test]
async fn a_panics_stack_is_logged_with_names() {
    let site = Site::new();
    let host = probe(&site).await;
    host.connect().await.get("/panic").await;
    let request = panicked(&host, "the probe panics", "failures.rs:")
        .await
        .number("request");
    let event = host.event("backtrace").await;
    assert!(event.is("backtrace", "fixture-probe", 1), "{event}");
    assert_eq!(event.number("request"), request);
    let lines: Vec<&str> = event.text("backtrace").lines().collect();
    assert!(lines[0].contains("failures::panics"), "{event}");
    // Neither how a panic is made, nor who called the plugin.
    let outside = ["core::panicking", "rust_begin_unwind", "catch", "replug::"];
    let strange = lines
        .iter()
        .find(|line| outside.iter().any(|part| line.contains(part)));
    assert_eq!(strange, None, "{event}");
    assert_eq!(host.get("/").await, "version 1\n");
}

/// A response whose body fails at once, and one whose body fails after a line: each is cut, and what
/// came before is there.
async fn cut(host: &Host) {
    let ways = [
        ("/panic-in-body", "version 1\n"),
        ("/error-in-body", "version 1\n"),
        ("/error-in-body?lines=0", ""),
    ];
    for (path, before) in ways {
        for mut connection in [host.connect().await, host.connect_http2().await] {
            let mut response = connection.open(path).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            let mut text = Vec::new();
            let broke = loop {
                match in_time("a frame", response.frame()).await {
                    Some(Ok(frame)) => text.extend(frame.into_data().unwrap()),
                    end => break end,
                }
            };
            assert!(matches!(broke, Some(Err(_))), "{path}: {broke:?}");
            assert_eq!(String::from_utf8_lossy(&text), before, "{path}");
        }
    }
}

#[tokio::test]
async fn a_body_that_fails_breaks_the_response_off_so_that_it_does_not_look_whole() {
    let site = Site::new();
    let host = probe(&site).await;
    cut(&host).await;
    panicked(&host, "the probe panics in a body", "failures.rs:").await;
    let failed = host.event("body-failed").await;
    assert!(
        failed.text("message").contains("the probe fails in a body"),
        "{failed}"
    );
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn a_worker_s_body_that_fails_is_cut_in_the_same_way_and_the_worker_goes_on() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--processes", "1"]).await;
    cut(&host).await;
    // The worker itself has logged why.
    for nth in 1..=6 {
        let broken = host.nth_event(nth, "body-broken").await;
        assert_eq!(broken.text("code"), "worker-broke", "{broken}");
    }
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn a_panic_in_a_task_is_that_tasks_and_is_logged() {
    let site = Site::new();
    let host = probe(&site).await;
    let mut connection = host.connect().await;
    assert_eq!(connection.text("/panic-in-task").await, "panicked: true\n");
    let logged = host.log.wait_for("the panic's record", |event| {
        event.to_string().contains("the probe panics in a task")
    });
    let logged = logged.await;
    assert_eq!(logged.text("app"), "fixture-probe", "{logged}");
    assert_eq!(logged.number("generation"), Some(1), "{logged}");
    assert_eq!(connection.text("/").await, "version 1\n");
}

#[tokio::test]
async fn a_panic_in_a_destructor_does_not_end_the_host() {
    let site = Site::new();
    let host = probe(&site).await;
    let mut multiplexed = host.connect_http2().await;
    multiplexed.begin("/panic-in-drop").await.cancel();
    host.log
        .wait_for("the panic's record", |event| {
            event
                .to_string()
                .contains("the probe panics in a destructor")
        })
        .await;
    assert_eq!(multiplexed.text("/").await, "version 1\n");
}

#[tokio::test]
async fn an_apps_log_reaches_the_hosts_with_app_generation_and_request() {
    let site = Site::new();
    let host = probe(&site).await;
    let mut connection = host.connect().await;
    connection.text("/").await;
    connection.text("/log").await;
    let request = connection.json("/info").await["request_id"]
        .as_u64()
        .unwrap()
        - 1;
    let check = async |message: &str, level: &str, answer: Option<&str>| {
        let event = host
            .log
            .wait_for(message, |event| event.text("message") == message)
            .await;
        assert_eq!(event.text("level"), level, "{event}");
        assert_eq!(event.text("target"), "fixture_probe::facts", "{event}");
        assert_eq!(event.text("app"), "fixture-probe", "{event}");
        assert_eq!(event.number("generation"), Some(1), "{event}");
        assert_eq!(event.number("request"), Some(request), "{event}");
        let answer = answer.map_or(json!(null), |answer| json!(answer));
        assert_eq!(event.field("fields")["answer"], answer, "{event}");
        event
    };
    for (message, level, answer) in [
        ("an event before the wait", "INFO", "42"),
        ("an event after the wait", "WARN", "43"),
    ] {
        let event = check(message, level, Some(answer)).await;
        assert_eq!(event.text("spans"), "probe{version=1}", "{event}");
    }
    check("a record", "INFO", None).await;
}

#[tokio::test]
async fn a_level_that_is_not_wanted_is_not_logged() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let host = site
        .spawn(&[
            site.library("probe").to_str().unwrap(),
            "--log-level",
            "info",
        ])
        .await;
    host.get("/log").await;
    host.log
        .wait_for("the last record", |event| {
            event.text("message") == "a record"
        })
        .await;
    assert_eq!(
        host.log
            .all(|event| ["DEBUG", "TRACE"].contains(&event.text("level"))),
        []
    );
}

#[tokio::test]
async fn a_panic_while_setting_up_again_leaves_the_old_generation_serving() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let setting = r#"fixture-probe.setup-of={ "2" = "panic" }"#;
    let host = site.serve_library("probe", &["--set", setting]).await;
    let mut connection = host.connect().await;
    artifacts::probe(2).install(&path);
    let refused = host.event("refused").await;
    assert!(
        refused
            .text("reason")
            .contains("the probe was told to panic"),
        "{refused}"
    );
    assert!(
        refused.text("reason").contains("lib.rs:"),
        "{refused} has no location"
    );
    assert_eq!(connection.text("/").await, "version 1\n");
    artifacts::probe(3).install(&path);
    host.until_text(&mut connection, "/", "version 3\n").await;
    host.retired("fixture-probe", 1).await;
    assert_eq!(host.staged().len(), 1, "{:?}", host.staged());
}
