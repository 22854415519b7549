//! What apps register with the host, and what the host does with it.

use std::{fs, path::Path};

use replug_tests::{
    artifacts,
    host::{Host, Site},
};
use serde_json::{Value, json};

const APP: &str = "fixture-probe";

async fn probe(site: &Site, settings: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    let mut args = vec!["--guard".to_owned(), "0s".to_owned()];
    for setting in settings {
        args.push("--set".to_owned());
        args.push(format!("{APP}.{setting}"));
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    site.serve_library("probe", &args).await
}

async fn registry(site: &Site) -> Vec<Value> {
    let ended = site.ask(&["registry", "--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_reload_doubles_nothing_and_what_is_left_out_goes_with_the_old_generation() {
    let site = Site::new();
    let entries = r#"register=[
        {kind="menu", key="Shop", value="/shop"},
        {kind="menu", key="Old", value=1, versions=[1, 2]},
        {kind="menu", key="Price", value=7},
    ]"#;
    let entries = entries.replace('\n', " ");
    let host = probe(&site, &[&entries]).await;
    let keys = async || -> Vec<String> {
        let all = registry(&site).await;
        all.iter()
            .map(|it| it["key"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(keys().await, ["Shop", "Old", "Price"]);
    artifacts::probe(2).install(&site.library("probe"));
    host.retired(APP, 1).await;
    assert_eq!(keys().await, ["Shop", "Old", "Price"]);
    // The old generation is still at a request: what it registered is still there.
    let mut connection = host.connect_http2().await;
    let hanging = connection.begin("/hang").await;
    artifacts::probe(3).install(&site.library("probe"));
    host.serving(APP, 3).await;
    assert_eq!(keys().await, ["Shop", "Old", "Price"]);
    hanging.cancel();
    host.retired(APP, 2).await;
    assert_eq!(keys().await, ["Shop", "Price"]);
    // As the app itself sees it.
    let seen = host.connect().await.json("/registrations?kind=menu").await;
    assert_eq!(
        seen,
        json!([
            {"key": "Shop", "value": "/shop", "owners": [APP]},
            {"key": "Price", "value": 7, "owners": [APP]},
        ])
    );
    fs::remove_file(site.library("probe")).unwrap();
    host.retired(APP, 3).await;
    assert!(keys().await.is_empty());
}

#[tokio::test]
async fn a_key_of_another_app_is_refused_by_its_name_and_the_old_generation_serves_on() {
    let site = Site::new();
    for name in ["one", "two"] {
        site.install(name, &artifacts::probe(1));
    }
    let (one, two) = (site.library("one"), site.library("two"));
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n\
         [apps.one]\npath = {one:?}\n[apps.one.settings]\n\
         register = [{{kind = \"k\", key = \"same\", value = 1}}, {{kind = \"k\", key = \"x\", value = 1}}]\n\
         [apps.two]\npath = {two:?}\n[apps.two.settings]\n\
         register = [{{kind = \"k\", key = \"same\", value = 1}}, \
                     {{kind = \"k\", key = \"x\", value = 2, versions = [2]}}]\n",
    );
    fs::write(site.path().join("replug.toml"), config).unwrap();
    let host = site.serve(&[]).await;
    let all = registry(&site).await;
    assert_eq!(all[0]["owners"].as_array().unwrap().len(), 2, "{all:?}");
    artifacts::probe(2).install(&two);
    let refused = host.event("refused").await;
    assert!(
        refused
            .text("reason")
            .contains("k `x` is registered by app `one`"),
        "{refused}"
    );
    assert_eq!(host.get("/two/").await, "version 1\n");
    fs::remove_file(&one).unwrap();
    host.retired("one", 1).await;
    let all = registry(&site).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["owners"], json!(["two"]), "{all:?}");
}

#[tokio::test]
async fn who_waits_for_a_change_is_told() {
    let site = Site::new();
    let entry = r#"register=[{kind="k", key="new", value=1, versions=[2]}]"#;
    let host = probe(&site, &[entry]).await;
    let mut connection = host.connect_http2().await;
    let waiting = connection.begin("/registry-changed").await;
    artifacts::probe(2).install(&site.library("probe"));
    assert_eq!(waiting.answer().await.unwrap().text, "changed\n");
    host.retired(APP, 1).await;
}

#[tokio::test]
async fn an_app_has_more_mounts_than_one() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    site.install("hello", &artifacts::library("hello"));
    let set = format!("{APP}.routes=[\"/extra/deep\", \"/hello/inner\"]");
    let host = site.serve_apps(&["--set", &set, "--guard", "0s"]).await;
    let check = async |path: &str, expected: &str| {
        assert_eq!(host.get(path).await, expected, "{path}");
    };
    let main = format!("/{APP}");
    check(
        &format!("{main}/mount?x=1"),
        &format!("{main} {main}/mount?x=1\n"),
    )
    .await;
    check(
        "/extra/deep/mount?x=1",
        "/extra/deep /extra/deep/mount?x=1\n",
    )
    .await;
    // Below another app's mount: the longer one wins.
    check("/hello/inner/mount", "/hello/inner /hello/inner/mount\n").await;
    assert_eq!(host.connect().await.get("/hello").await.status, 200);
    artifacts::probe(2).install(&site.library("probe"));
    host.retired(APP, 1).await;
    check("/extra/deep", "version 2\n").await;
    fs::remove_file(site.library("probe")).unwrap();
    host.event("unmounted").await;
    assert_eq!(host.connect().await.get("/extra/deep").await.status, 404);
}

#[tokio::test]
async fn a_mount_of_another_app_is_no_route() {
    let site = Site::new();
    site.install("hello", &artifacts::library("hello"));
    let set = format!("{APP}.routes=[\"/hello\"]");
    let host = site.serve_apps(&["--set", &set]).await;
    site.install("probe", &artifacts::probe(1));
    let refused = host.event("refused").await;
    assert!(
        refused.text("reason").contains("belongs to app `hello`"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_schedule_runs_once_a_time_whatever_is_reloaded_meanwhile() {
    let site = Site::new();
    let log = site.path().join("ticks");
    let schedule = format!("schedule=[{{name=\"tick\", every-ms=100, for-ms=30, log={log:?}}}]");
    let host = probe(&site, &[&schedule]).await;
    for version in 2..=12 {
        artifacts::probe(version).install(&site.library("probe"));
        host.serving(APP, version).await;
        let seen = lines(&log).len();
        replug_tests::until("another call", async || {
            (lines(&log).len() > seen).then_some(())
        })
        .await;
    }
    let lines = lines(&log);
    // Never two at the same time: each begin is followed by its own end.
    for pair in lines.chunks_exact(2) {
        assert!(
            pair[0].ends_with("begin") && pair[1].ends_with("end"),
            "{lines:#?}"
        );
        assert_eq!(
            pair[0].trim_end_matches("begin"),
            pair[1].trim_end_matches("end")
        );
    }
    let status = site.status().await;
    let told = &status["apps"][0]["schedules"][0];
    assert_eq!(told["name"], "tick", "{status}");
    assert!(told["done"].as_u64().unwrap() >= 5, "{status}");
    let entry = registry(&site).await;
    assert_eq!(entry[0]["key"], format!("{APP}/tick"), "{entry:?}");
    assert_eq!(entry.len(), 1, "{entry:?}");
}

#[tokio::test]
async fn a_call_that_is_under_way_holds_its_generation_and_the_next_waits_for_it() {
    let site = Site::new();
    let log = site.path().join("ticks");
    let schedule = format!("schedule=[{{name=\"slow\", every-ms=50, for-ms=600, log={log:?}}}]");
    let host = probe(&site, &[&schedule]).await;
    replug_tests::until("its begin", async || {
        (!lines(&log).is_empty()).then_some(())
    })
    .await;
    artifacts::probe(2).install(&site.library("probe"));
    host.retired(APP, 1).await;
    let after = lines(&log);
    assert_eq!(after[1], "slow generation 1 version 1 end", "{after:#?}");
    replug_tests::until("the next", async || (lines(&log).len() > 2).then_some(())).await;
    assert_eq!(lines(&log)[2], "slow generation 2 version 2 begin");
    let status = site.status().await;
    assert!(
        status["apps"][0]["schedules"][0]["skipped"]
            .as_u64()
            .unwrap()
            > 0,
        "{status}"
    );
}

#[tokio::test]
async fn a_call_that_panics_is_logged_and_counted_and_the_next_one_comes() {
    let site = Site::new();
    let log = site.path().join("ticks");
    let schedule = format!("schedule=[{{name=\"boom\", every-ms=50, panic=true, log={log:?}}}]");
    let host = probe(&site, &[&schedule]).await;
    let told = host.event("schedule-panicked").await;
    assert!(
        told.text("message")
            .contains("the probe panics by the clock"),
        "{told}"
    );
    assert!(told.text("location").contains("asks.rs"), "{told}");
    host.nth_event(2, "schedule-panicked").await;
    let status = site.status().await;
    assert!(
        status["apps"][0]["schedules"][0]["failed"]
            .as_u64()
            .unwrap()
            > 0,
        "{status}"
    );
    assert!(
        status["apps"][0]["serving"]["panics"].as_u64().unwrap() > 0,
        "{status}"
    );
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn a_call_of_a_file_that_was_removed_ends_before_the_next_of_one_put_in_its_place() {
    let site = Site::new();
    let log = site.path().join("calls");
    let schedule = format!(
        "{APP}.schedule=[{{name=\"tick\", every-ms=20, for-ms=700, log={}}}]",
        json!(log),
    );
    site.install("probe", &artifacts::probe(1));
    // In a folder, where nothing is known of an app without a file.
    let host = site.serve_apps(&["--set", &schedule]).await;
    let until_line = async |wanted: &str| {
        replug_tests::until(wanted, async || {
            lines(&log)
                .iter()
                .any(|line| line.contains(wanted))
                .then_some(())
        })
        .await;
    };
    until_line("version 1 begin").await;
    fs::remove_file(site.library("probe")).unwrap();
    host.event("unmounted").await;
    artifacts::probe(2).install(&site.library("probe"));
    until_line("version 2 begin").await;
    let calls = lines(&log);
    let alternate = calls
        .iter()
        .enumerate()
        .all(|(number, line)| line.ends_with(if number % 2 == 0 { "begin" } else { "end" }));
    assert!(alternate, "{calls:?}");
}
