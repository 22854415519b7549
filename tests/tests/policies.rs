//! When an app is loaded, and who waits for it.

use std::fs;

use futures_util::stream;
use http_body_util::BodyExt as _;
use replug_tests::{
    artifacts,
    client::streamed,
    deploy::{Artifact, touch},
    host::Site,
    in_time,
};
use tokio::sync::mpsc;

const APP: &str = "fixture-probe";

#[tokio::test]
async fn on_request_the_first_request_after_a_change_is_answered_by_the_new_generation() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site
        .serve_library("probe", &["--reload", "on-request"])
        .await;
    let mut connection = host.connect().await;
    assert_eq!(connection.text("/").await, "version 1\n");
    artifacts::probe(2).install(&path);
    host.event("changed").await;
    let status = site.status().await;
    assert_eq!(status["apps"][0]["changed"], true, "{status}");
    assert_eq!(status["apps"][0]["serving"]["generation"], 1, "{status}");
    assert_eq!(connection.text("/").await, "version 2\n");
    host.retired(APP, 1).await;
    // A touch counts, too.
    touch(&path);
    host.nth_event(2, "changed").await;
    assert_eq!(connection.text("/").await, "version 2\n");
    host.serving(APP, 3).await;
}

#[tokio::test]
async fn on_request_a_post_of_three_megabytes_arrives_whole_and_once_at_the_new_generation() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let set = format!("{APP}.setup-of={{2=\"slow:300\"}}");
    let args = ["--reload", "on-request", "--set", &set];
    let host = site.serve_library("probe", &args).await;
    let mut connection = host.connect().await;
    connection.text("/").await;
    artifacts::probe(2).install(&path);
    host.event("changed").await;
    // The body comes in pieces while the new generation is loaded.
    let (sender, chunks) = mpsc::channel(4);
    let request = connection
        .request("POST", "/hash")
        .body(streamed(stream::unfold(chunks, async |mut chunks| {
            let chunk = chunks.recv().await?;
            Some((chunk, chunks))
        })))
        .unwrap();
    let pieces: Vec<Vec<u8>> = (0..48_u8).map(|piece| vec![piece; 64 << 10]).collect();
    let whole = pieces.concat();
    assert_eq!(whole.len(), 3 << 20);
    let sending = tokio::spawn(async move {
        for piece in pieces {
            sender.send(piece.into()).await.unwrap();
        }
    });
    let response = in_time("the answer", connection.try_send(request))
        .await
        .unwrap();
    sending.await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let answer = String::from_utf8_lossy(&body).into_owned();
    let mut second = host.connect().await;
    let same = second.post("/hash", whole).await.text;
    assert_eq!(answer, same);
    let status = site.status().await;
    let serving = &status["apps"][0]["serving"];
    assert_eq!(serving["generation"], 2, "{status}");
    // The post, and the comparison.
    assert_eq!(serving["requests"], 2, "{status}");
}

#[tokio::test]
async fn on_request_a_version_that_fails_is_not_seen_by_the_request_that_asked_for_it() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let set = format!("{APP}.setup-of={{2=\"error\"}}");
    let args = ["--reload", "on-request", "--set", &set];
    let host = site.serve_library("probe", &args).await;
    artifacts::probe(2).install(&path);
    host.event("changed").await;
    assert_eq!(host.get("/").await, "version 1\n");
    host.event("refused").await;
    assert_eq!(host.get("/").await, "version 1\n");
    artifacts::probe(3).install(&path);
    host.nth_event(2, "changed").await;
    assert_eq!(host.get("/").await, "version 3\n");
}

#[tokio::test]
async fn on_request_others_are_answered_by_the_old_generation_meanwhile() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let set = format!("{APP}.setup-of={{2=\"hang\"}}");
    let args = [
        "--reload",
        "on-request",
        "--setup-timeout",
        "1s",
        "--set",
        &set,
    ];
    let host = site.serve_library("probe", &args).await;
    artifacts::probe(2).install(&path);
    host.event("changed").await;
    let mut first = host.connect_http2().await;
    let waiting = first.begin("/").await;
    replug_tests::until("the load", async || {
        let status = site.status().await;
        (status["apps"][0]["loading"] == true).then_some(())
    })
    .await;
    assert_eq!(host.get("/").await, "version 1\n");
    assert_eq!(waiting.answer().await.unwrap().text, "version 1\n");
}

#[tokio::test]
async fn manual_changes_are_noted_and_loaded_when_somebody_asks() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--reload", "manual"]).await;
    artifacts::probe(2).install(&path);
    host.event("changed").await;
    assert_eq!(host.get("/").await, "version 1\n");
    let ended = site.ask(&["reload", APP, "--no-guard"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(host.get("/").await, "version 2\n");
    let status = site.status().await;
    assert_eq!(status["apps"][0]["changed"], false, "{status}");
}

#[tokio::test]
async fn an_app_that_is_not_preloaded_is_loaded_by_its_first_request() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--no-preload"]).await;
    host.event("mounted").await;
    let status = site.status().await;
    assert_eq!(status["apps"][0]["name"], APP, "{status}");
    assert_eq!(
        status["apps"][0]["serving"],
        serde_json::Value::Null,
        "{status}"
    );
    // Changed before anybody asked: looked at, and not loaded.
    artifacts::probe(2).install(&path);
    host.nth_event(2, "mounted").await;
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let address = host.address.clone();
            tokio::spawn(async move {
                replug_tests::Connection::http1(&address)
                    .await
                    .text("/")
                    .await
            })
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "version 2\n");
    }
    host.serving(APP, 1).await;
    let status = site.status().await;
    assert_eq!(status["apps"][0]["serving"]["requests"], 8, "{status}");
    // From now on it is reloaded as any other.
    artifacts::probe(3).install(&path);
    host.serving(APP, 2).await;
}

#[tokio::test]
async fn who_waits_for_an_app_that_cannot_be_loaded_is_told_and_the_next_version_serves() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let set = format!("{APP}.setup-of={{1=\"slow:200\", 2=\"error\"}}");
    let host = site
        .serve_library("probe", &["--no-preload", "--set", &set])
        .await;
    artifacts::probe(2).install(&path);
    host.nth_event(2, "mounted").await;
    let mut connection = host.connect().await;
    let answer = connection.get("/").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.text.contains("cannot be loaded"), "{answer:?}");
    assert_eq!(connection.get("/").await.status, 503);
    artifacts::probe(3).install(&path);
    host.nth_event(3, "mounted").await;
    assert_eq!(connection.text("/").await, "version 3\n");
}

#[tokio::test]
async fn requests_wait_for_a_bounded_time_and_in_a_bounded_number() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let set = format!("{APP}.setup=hang");
    let args = [
        "--no-preload",
        "--set",
        &set,
        "--wait-timeout",
        "1s",
        "--option",
        "max-waiting=2",
        "--setup-timeout",
        "20s",
    ];
    let host = site.serve_library("probe", &args).await;
    let mut connection = host.connect_http2().await;
    let first = connection.start("/").await;
    let second = connection.start("/").await;
    replug_tests::until("two who wait", async || {
        let status = site.status().await;
        (status["apps"][0]["waiting"] == 2).then_some(())
    })
    .await;
    let third = connection.get("/").await;
    assert_eq!(third.status, 503);
    assert!(third.text.contains("too many wait"), "{third:?}");
    for waiting in [first, second] {
        let answer = waiting.answer().await.unwrap();
        assert_eq!(answer.status, 503);
        assert!(answer.text.contains("too long"), "{answer:?}");
    }
}

#[tokio::test]
async fn without_overlap_the_old_generation_has_stopped_before_the_new_one_starts() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let log = site.path().join("cleanup");
    let set = format!("{APP}.cleanup-log={}", log.display());
    let args = ["--option", "overlap=false", "--set", &set];
    let host = site.serve_library("probe", &args).await;
    let mut connection = host.connect_http2().await;
    // What is in flight ends on the old one; what comes meanwhile waits for the new one.
    let slow = connection.begin("/sleep?ms=400").await;
    connection.text("/").await;
    artifacts::probe(2).install(&path);
    host.event("pausing").await;
    let waiting = connection.start("/").await;
    assert_eq!(slow.answer().await.unwrap().text, "version 1\n");
    assert_eq!(waiting.answer().await.unwrap().text, "version 2\n");
    host.serving(APP, 2).await;
    assert_eq!(
        fs::read_to_string(&log).unwrap(),
        format!("{APP} generation 1 cleaned up\n")
    );
}

#[tokio::test]
async fn without_overlap_an_artifact_that_fails_has_the_one_before_started_again() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let set = format!("{APP}.setup-of={{2=\"error\"}}");
    let args = ["--option", "overlap=false", "--set", &set];
    let host = site.serve_library("probe", &args).await;
    let mut connection = host.connect().await;
    connection.text("/").await;
    artifacts::probe(2).install(&path);
    host.event("revival").await;
    assert_eq!(connection.text("/").await, "version 1\n");
    host.serving(APP, 2).await;
    // What is no plugin at all does not even stop it.
    Artifact::new("text").install(&path);
    host.nth_event(2, "refused").await;
    assert_eq!(site.status().await["apps"][0]["serving"]["generation"], 2);
    artifacts::probe(3).install(&path);
    host.until_text(&mut connection, "/", "version 3\n").await;
}

#[tokio::test]
async fn a_probe_decides_whether_a_new_generation_serves() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    // Versions that are odd are healthy.
    let args = [
        "--probe",
        "/healthy-when-odd",
        "--option",
        "probe-timeout=2s",
    ];
    let host = site.serve_library("probe", &args).await;
    artifacts::probe(2).install(&path);
    let refused = host.event("refused").await;
    assert!(
        refused
            .text("reason")
            .contains("/healthy-when-odd was answered with 503"),
        "{refused}"
    );
    assert_eq!(host.get("/").await, "version 1\n");
    host.log
        .wait_for("the new one's end", |event| event.is("retired", APP, 2))
        .await;
    artifacts::probe(3).install(&path);
    let mut connection = host.connect().await;
    host.until_text(&mut connection, "/", "version 3\n").await;
    let status = site.status().await;
    // The probe is no request.
    assert!(
        status["apps"][0]["serving"]["requests"].as_u64() < Some(1_000),
        "{status}"
    );
}

#[tokio::test]
async fn a_probe_that_is_not_answered_in_time_refuses_and_one_that_blocks_blocks_nobody() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let args = [
        "--option",
        "probe-timeout=300ms",
        "--probe",
        "/blocks-when-even?ms=2000",
    ];
    let host = site.serve_library("probe", &args).await;
    artifacts::probe(2).install(&path);
    let refused = host.event("refused").await;
    assert!(
        refused.text("reason").contains("not answered within 300ms"),
        "{refused}"
    );
    assert_eq!(host.get("/").await, "version 1\n");
    host.log
        .wait_for("its end", |event| event.is("retired", APP, 2))
        .await;
}

/// Nothing of the host's own is slow here: it only must not wait for what is.
#[tokio::test]
async fn eager_a_slow_setup_delays_no_request() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let set = format!("{APP}.setup-of={{2=\"slow:3000\"}}");
    let host = site.serve_library("probe", &["--set", &set]).await;
    let mut connection = host.connect().await;
    artifacts::probe(2).install(&path);
    replug_tests::until("the load", async || {
        (site.status().await["apps"][0]["loading"] == true).then_some(())
    })
    .await;
    // Many answers come while one setup is under way: none of them waits for it.
    let mut answers = 0;
    while connection.text("/").await == "version 1\n" {
        answers += 1;
    }
    assert!(answers > 100, "{answers}");
    host.serving(APP, 2).await;
}

#[tokio::test]
async fn without_overlap_what_changes_while_the_one_before_is_started_again_is_taken_after_it() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let set = format!("{APP}.setup-of={{1=\"slow:200\", 2=\"error\"}}");
    let args = ["--option", "overlap=false", "--guard", "0s", "--set", &set];
    let host = site.serve_library("probe", &args).await;
    artifacts::probe(2).install(&path);
    // While the first is started again, once more.
    host.event("revival").await;
    artifacts::probe(3).install(&path);
    let mut connection = host.connect().await;
    host.until_text(&mut connection, "/", "version 3\n").await;
    let ended = site.ask(&["reload", APP]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(connection.text("/").await, "version 3\n");
}
