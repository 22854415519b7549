//! A changed configuration that is being taken while other things happen, and what it does not touch.

use std::fs;

use replug_tests::{
    artifacts,
    configured::write,
    host::{Finished, Host, Site},
    until,
};
use rustix::process::Signal;

const SERVER: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\n";
const ONE: &str = "[apps.one]\npath = \"apps/libone.so\"\n";
const TWO: &str = "[apps.two]\npath = \"apps/libtwo.so\"\n";

async fn two_apps(site: &Site, more: &str) -> Host {
    site.install("one", &artifacts::probe(1));
    site.install("two", &artifacts::probe(2));
    configure(site, &[ONE, more, TWO]);
    site.serve(&[]).await
}

fn configure(site: &Site, parts: &[&str]) {
    write(site, &(SERVER.to_owned() + &parts.concat()));
}

async fn apply(site: &Site, code: i32) -> Finished {
    let ended = site.ask(&["apply"]).await;
    assert_eq!(ended.code, Some(code), "{ended:?}");
    ended
}

/// Settings of the app `two` with which its setup waits for that file.
fn waits_for(gate: &std::path::Path) -> String {
    format!(
        "[apps.two.settings]\nsetup = \"until:{}\"\n",
        gate.display()
    )
}

/// Waits until the app `two` is being loaded.
async fn loading(site: &Site) {
    until("the load", async || {
        let status = site.status().await;
        status["apps"][1]["loading"]
            .as_bool()
            .unwrap()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn deploys_during_an_apply_are_taken_before_or_after_it() {
    let site = Site::new();
    let host = two_apps(&site, "").await;
    let gate = site.path().join("gate");
    configure(&site, &[ONE, TWO, &waits_for(&gate)]);
    host.signal(Signal::HUP);
    loading(&site).await;
    // One that it does not touch, at once; one that it does, when it has ended.
    artifacts::probe(3).install(&site.library("one"));
    host.serving("one", 2).await;
    artifacts::probe(4).install(&site.library("two"));
    assert_eq!(host.get("/two/").await, "version 2\n");
    fs::write(&gate, "").unwrap();
    host.event("applied").await;
    let mut connection = host.connect().await;
    host.until_text(&mut connection, "/two/", "version 4\n")
        .await;
    assert_eq!(host.get("/one/").await, "version 3\n");
}

#[tokio::test]
async fn the_host_ends_in_order_while_it_applies() {
    let site = Site::new();
    let mut host = two_apps(&site, "").await;
    let gate = site.path().join("gate");
    configure(
        &site,
        &[ONE, "[apps.one.settings]\na = 1\n", TWO, &waits_for(&gate)],
    );
    host.signal(Signal::HUP);
    loading(&site).await;
    host.signal(Signal::TERM);
    host.event("stopping").await;
    fs::write(&gate, "").unwrap();
    assert_eq!(host.exit().await.code(), Some(0));
    assert_eq!(host.log.all(|event| event.kind() == "applied"), []);
    assert_eq!(host.staged(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn of_two_applies_the_second_is_taken_after_the_first() {
    let site = Site::new();
    let host = two_apps(&site, "").await;
    let gate = site.path().join("gate");
    configure(&site, &[ONE, TWO, &waits_for(&gate)]);
    let first = apply(&site, 0);
    let second = async {
        loading(&site).await;
        configure(&site, &[ONE]);
        let second = apply(&site, 0);
        let open = async {
            fs::write(&gate, "").unwrap();
        };
        tokio::join!(second, open).0
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.stdout, "applied:\n  changed app two (settings)\n");
    assert_eq!(second.stdout, "applied:\n  removed app two\n");
    assert_eq!(host.connect().await.get("/two/").await.status, 404);
}

#[tokio::test]
async fn options_that_need_no_reload_are_in_force_without_one() {
    let site = Site::new();
    let host = two_apps(&site, "").await;
    let page = site.path().join("page");
    fs::write(&page, "1").unwrap();
    let options = "reload = \"manual\"\nguard = \"0s\"\nwait-timeout = \"1s\"\n";
    configure(&site, &[ONE, options, TWO, "track = [\"page\"]\n"]);
    let ended = apply(&site, 0).await;
    assert_eq!(
        ended.stdout,
        "applied:\n  set app one (reload, guard, wait-timeout)\n  set app two (track)\n"
    );
    let status = site.status().await;
    for app in 0..2 {
        assert_eq!(status["apps"][app]["serving"]["generation"], 1, "{status}");
    }
    fs::write(site.path().join("new"), "2").unwrap();
    fs::rename(site.path().join("new"), &page).unwrap();
    host.serving("two", 2).await;
    artifacts::probe(3).install(&site.library("one"));
    host.event("changed").await;
    assert_eq!(host.get("/one/").await, "version 1\n");
    // What waits is judged by the next policy.
    configure(&site, &[ONE, TWO]);
    apply(&site, 0).await;
    host.serving("one", 2).await;
    assert_eq!(host.get("/one/").await, "version 3\n");
    // Tracked no more.
    fs::write(&page, "3").unwrap();
    let ended = site.ask(&["reload", "two"]).await;
    assert_eq!(ended.stdout, "two generation 3 serves\n");
}

#[tokio::test]
async fn an_app_that_must_not_be_there_twice_is_had_back_if_another_fails() {
    let site = Site::new();
    let alone = "overlap = false\n";
    let host = two_apps(&site, alone).await;
    let one = "[apps.one.settings]\nsetup = \"error\"\n";
    let two = "[apps.two.settings]\na = 2\n";
    configure(&site, &[ONE, alone, one, TWO, two]);
    let refused = apply(&site, 4).await;
    assert!(refused.stderr.contains("one: "), "{refused:?}");
    let mut connection = host.connect().await;
    host.until_text(&mut connection, "/one/settings", "{}")
        .await;
    assert_eq!(
        connection.json("/two/settings").await,
        serde_json::json!({})
    );
    let one = "[apps.one.settings]\na = 1\n";
    configure(&site, &[ONE, alone, one, TWO, two]);
    apply(&site, 0).await;
    for (path, value) in [("/one/settings", 1), ("/two/settings", 2)] {
        let found = host.connect().await.json(path).await;
        assert_eq!(found, serde_json::json!({"a": value}));
    }
}

#[tokio::test]
async fn state_goes_on_through_an_apply_and_stays_where_one_fails() {
    let site = Site::new();
    let state = "[apps.one.settings]\nstate = {schema = 1}\n";
    let host = two_apps(&site, state).await;
    host.connect().await.post("/one/count", "").await;
    let number = "number = 1\n";
    configure(
        &site,
        &[
            ONE,
            state,
            number,
            TWO,
            "[apps.two.settings]\nsetup = \"error\"\n",
        ],
    );
    apply(&site, 4).await;
    let mut connection = host.connect().await;
    assert_eq!(connection.text("/one/count").await, "1\n");
    connection.post("/one/count", "").await;
    configure(&site, &[ONE, state, number, TWO]);
    apply(&site, 0).await;
    assert_eq!(connection.text("/one/count").await, "2\n");
}

#[tokio::test]
async fn folders_come_and_go_with_the_libraries_in_them() {
    let site = Site::new();
    site.install("one", &artifacts::probe(1));
    let more = site.path().join("more");
    fs::create_dir(&more).unwrap();
    artifacts::library("hello").install(&more.join("libhello.so"));
    configure(&site, &[ONE]);
    let host = site.serve(&[]).await;
    configure(&site, &["[plugins]\ndirs = [\"more\"]\n", ONE]);
    let ended = site.ask(&["apply", "--dry-run"]).await;
    assert!(ended.stdout.starts_with("would be applied:\n"), "{ended:?}");
    assert_eq!(host.connect().await.get("/hello/").await.status, 404);
    let ended = apply(&site, 0).await;
    assert!(ended.stdout.ends_with("added app hello\n"), "{ended:?}");
    assert_eq!(host.get("/hello/").await, "hello\n");
    // It is watched from then on.
    artifacts::library("hello")
        .numbered(1)
        .install(&more.join("libhello.so"));
    host.serving("hello", 2).await;
    configure(&site, &[ONE]);
    apply(&site, 0).await;
    host.retired("hello", 2).await;
    assert_eq!(host.connect().await.get("/hello/").await.status, 404);
    artifacts::library("hello")
        .numbered(2)
        .install(&more.join("libhello.so"));
    // By then it would have been seen.
    artifacts::probe(2).install(&site.library("one"));
    host.serving("one", 2).await;
    let status = site.status().await;
    assert_eq!(status["apps"].as_array().unwrap().len(), 1, "{status}");
}

#[tokio::test]
async fn a_restart_keeps_what_was_applied_and_status_says_when_that_was() {
    let site = Site::new();
    let host = two_apps(&site, "").await;
    let before = site.status().await;
    let path = site.path().join("replug.toml");
    assert_eq!(before["configuration"]["path"], path.to_str().unwrap());
    configure(&site, &[ONE, "[apps.one.settings]\na = 1\n"]);
    apply(&site, 0).await;
    let after = site.status().await;
    let when = |status: &serde_json::Value| status["configuration"]["since"].as_f64().unwrap();
    assert!(when(&after) > when(&before), "{before} {after}");
    let shown = site.ask(&["status"]).await.stdout;
    assert!(shown.contains("configured by "), "{shown}");
    let ended = site.ask(&["restart"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let settings = host.connect().await.json("/one/settings").await;
    assert_eq!(settings, serde_json::json!({"a": 1}));
    let ended = site.ask(&["apply"]).await;
    assert_eq!(ended.stdout, "nothing has changed\n");
    // The same signal in the middle of a restart ends nothing.
    for _ in 0..5 {
        host.signal(Signal::USR2);
        host.signal(Signal::HUP);
    }
    until("an answer", async || {
        let ended = site.ask(&["apply"]).await;
        (ended.code == Some(0)).then_some(())
    })
    .await;
}
