//! New generations that do worse than the one before, and the way back.

use replug_tests::{
    Connection, artifacts,
    deploy::touch,
    host::{Host, Site},
};

const APP: &str = "fixture-probe";

async fn probe(site: &Site, args: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    site.serve_library("probe", args).await
}

/// Asks until the generation is another.
async fn ask_until_it_is(connection: &mut Connection, version: u64) {
    let text = format!("version {version}\n");
    replug_tests::until("that version", async || {
        (connection.get("/fails-when-even").await.text == text).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_generation_that_fails_more_than_the_one_before_is_rolled_back() {
    let site = Site::new();
    let host = probe(&site, &["--guard", "30s"]).await;
    let mut connection = host.connect().await;
    for _ in 0..20 {
        assert_eq!(connection.get("/fails-when-even").await.status, 200);
    }
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    // Long before its window is over: it is sure.
    ask_until_it_is(&mut connection, 1).await;
    let rolled = host.event("rolling-back").await;
    assert!(
        rolled.text("reason").contains("requests failed"),
        "{rolled}"
    );
    host.serving(APP, 3).await;
    host.retired(APP, 2).await;
    let told = host.retired(APP, 2).await;
    assert_eq!(told.text("stop"), "rollback");
    // The same bytes are not tried again, touched or not.
    touch(&site.library("probe"));
    let refused = host.event("refused").await;
    assert!(
        refused.text("reason").contains("was rolled back"),
        "{refused}"
    );
    assert_eq!(connection.text("/").await, "version 1\n");
    // Others are.
    artifacts::probe(3).install(&site.library("probe"));
    host.until_text(&mut connection, "/", "version 3\n").await;
    let history = site.ask(&["history", APP]).await;
    assert!(history.stdout.contains("rolled back: "), "{history:?}");
    assert!(history.stdout.contains("refused: "), "{history:?}");
}

#[tokio::test]
async fn panics_roll_back_and_a_generation_that_fails_as_before_stays() {
    let site = Site::new();
    let host = probe(&site, &["--guard", "1s"]).await;
    let mut connection = host.connect().await;
    // All fail before, and all after: it is no worse.
    for _ in 0..10 {
        assert_eq!(connection.get("/panic").await.status, 500);
    }
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    for _ in 0..10 {
        assert_eq!(connection.get("/panic").await.status, 500);
    }
    host.event("guarded").await;
    assert_eq!(connection.text("/").await, "version 2\n");
}

#[tokio::test]
async fn a_guard_of_zero_watches_nothing() {
    let site = Site::new();
    let host = probe(&site, &["--guard", "0s"]).await;
    let mut connection = host.connect().await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    for _ in 0..20 {
        assert_eq!(connection.get("/fails-when-even").await.status, 500);
    }
    let status = site.status().await;
    let serving = &status["apps"][0]["serving"];
    assert_eq!(serving["guarded"], serde_json::Value::Null, "{status}");
    assert_eq!(serving["failures"], 20, "{status}");
    assert_eq!(connection.text("/").await, "version 2\n");
}

#[tokio::test]
async fn a_reload_that_is_rolled_back_ends_with_its_code() {
    let site = Site::new();
    let host = probe(&site, &["--guard", "30s", "--reload", "manual"]).await;
    let mut connection = host.connect().await;
    artifacts::probe(2).install(&site.library("probe"));
    host.event("changed").await;
    let asked = tokio::spawn({
        let control = site.control();
        async move {
            let mut command = replug_tests::host::replug(["reload", APP, "--control"]);
            command.arg(control);
            replug_tests::host::finish(command).await
        }
    });
    host.serving(APP, 2).await;
    ask_until_it_is(&mut connection, 1).await;
    let ended = asked.await.unwrap();
    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(
        ended.stderr.contains("rolled back, generation 3 serves"),
        "{ended:?}"
    );
    // Somebody asks for it again, and does not wait for the window.
    let ended = site.ask(&["reload", APP, "--no-guard"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout, format!("{APP} generation 4 serves\n"));
}

#[tokio::test]
async fn a_reload_that_does_well_is_told_of_when_its_window_is_over() {
    let site = Site::new();
    let host = probe(&site, &["--guard", "300ms", "--reload", "manual"]).await;
    artifacts::probe(2).install(&site.library("probe"));
    host.event("changed").await;
    let ended = site.ask(&["reload", APP]).await;
    assert_eq!(
        ended.stdout,
        format!("{APP} generation 2 serves\n"),
        "{ended:?}"
    );
    host.event("guarded").await;
}

#[tokio::test]
async fn the_last_three_artifacts_can_be_had_back() {
    let site = Site::new();
    let host = probe(&site, &["--guard", "0s"]).await;
    let mut connection = host.connect().await;
    for version in 2..=4 {
        artifacts::probe(version).install(&site.library("probe"));
        host.serving(APP, version).await;
    }
    let ended = site.ask(&["rollback", APP]).await;
    assert_eq!(
        ended.stdout,
        format!("{APP} generation 5 serves\n"),
        "{ended:?}"
    );
    assert_eq!(connection.text("/").await, "version 3\n");
    let json = site.ask(&["history", APP, "--json"]).await;
    let history: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(history["kept"].as_array().unwrap().len(), 3, "{history}");
    let newest = &history["attempts"][0];
    assert_eq!(newest["cause"], "rollback", "{history}");
    assert_eq!(newest["outcome"], "served", "{history}");
    assert!(newest["setup_ms"].as_f64().unwrap() > 0.0, "{history}");
    assert_eq!(
        history["attempts"][1]["outcome"], "rolled-back",
        "{history}"
    );
    // By its digest: that of version 2.
    let second = history["attempts"][3]["digest"].as_str().unwrap();
    let ended = site.ask(&["rollback", APP, &second[..12]]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(connection.text("/").await, "version 2\n");
    // The first is not kept any more.
    let first = history["attempts"][4]["digest"].as_str().unwrap();
    let ended = site.ask(&["rollback", APP, first]).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(
        ended.stderr.contains("one of those that are kept"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn where_nothing_is_kept_there_is_no_way_back() {
    let site = Site::new();
    let _host = probe(&site, &[]).await;
    let ended = site.ask(&["rollback", APP]).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("no earlier artifact"), "{ended:?}");
    let ended = site.ask(&["history", "shop"]).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains(APP), "{ended:?}");
}

#[tokio::test]
async fn what_is_pinned_stays_whatever_becomes_of_the_file() {
    let site = Site::new();
    let host = probe(&site, &["--guard", "0s"]).await;
    let mut connection = host.connect().await;
    let ended = site.ask(&["pin", APP]).await;
    assert!(ended.stdout.contains("is pinned to "), "{ended:?}");
    artifacts::probe(2).install(&site.library("probe"));
    host.event("changed").await;
    std::fs::remove_file(site.library("probe")).unwrap();
    host.nth_event(2, "changed").await;
    assert_eq!(connection.text("/").await, "version 1\n");
    // A reload makes a fresh generation of it.
    let ended = site.ask(&["reload", APP]).await;
    assert_eq!(
        ended.stdout,
        format!("{APP} generation 2 serves\n"),
        "{ended:?}"
    );
    assert_eq!(connection.text("/").await, "version 1\n");
    artifacts::probe(3).install(&site.library("probe"));
    host.nth_event(3, "changed").await;
    let status = site.status().await;
    assert_eq!(status["apps"][0]["changed"], true, "{status}");
    let ended = site.ask(&["unpin", APP]).await;
    assert!(ended.stdout.contains("has changed meanwhile"), "{ended:?}");
    host.until_text(&mut connection, "/", "version 3\n").await;
    // To one that served before.
    let status = site.status().await;
    assert_eq!(
        status["apps"][0]["pinned"],
        serde_json::Value::Null,
        "{status}"
    );
    let json = site.ask(&["history", APP, "--json"]).await;
    let history: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let first = history["kept"][1].as_str().unwrap();
    let ended = site.ask(&["pin", APP, first]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(connection.text("/").await, "version 1\n");
    touch(&site.library("probe"));
    host.nth_event(4, "changed").await;
    let ended = site.ask(&["rollback", APP]).await;
    assert!(ended.stderr.contains("it is pinned"), "{ended:?}");
}

#[tokio::test]
async fn a_new_file_in_the_window_is_measured_against_the_last_good_one() {
    let site = Site::new();
    let host = probe(&site, &["--guard", "60s"]).await;
    let mut connection = host.connect().await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    // Nobody has asked for version 2 yet when 4 comes, which fails, too.
    artifacts::probe(4).install(&site.library("probe"));
    host.serving(APP, 3).await;
    ask_until_it_is(&mut connection, 1).await;
    host.serving(APP, 4).await;
}
