//! A changed configuration, taken while the host serves: all of it, or nothing.

use std::fs;

use replug_tests::{
    artifacts,
    configured::write,
    host::{Host, Site},
    visitors::Visitors,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const SERVER: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\n";
const ONE: &str = "[apps.one]\npath = \"apps/libone.so\"\n";
const TWO: &str = "[apps.two]\npath = \"apps/libtwo.so\"\n";

/// A host of two apps, `one` and `two`, of versions 1 and 2.
async fn two_apps(site: &Site) -> Host {
    site.install("one", &artifacts::probe(1));
    site.install("two", &artifacts::probe(2));
    configure(site, &[ONE, TWO]);
    site.serve(&[]).await
}

fn configure(site: &Site, parts: &[&str]) {
    write(site, &(SERVER.to_owned() + &parts.concat()));
}

/// What `replug apply` says, which must have that outcome.
async fn apply(site: &Site, outcome: &str) -> Value {
    let ended = site.ask(&["apply", "--json"]).await;
    let applied: Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    assert_eq!(applied["outcome"], outcome, "{applied}");
    assert_eq!(ended.code, Some(if outcome == "refused" { 4 } else { 0 }));
    applied
}

/// The generation of each app that serves, by name.
async fn generations(site: &Site) -> Value {
    let status = site.status().await;
    let apps = status["apps"].as_array().unwrap().iter();
    apps.map(|app| {
        (
            app["name"].as_str().unwrap().to_owned(),
            app["serving"]["generation"].clone(),
        )
    })
    .collect()
}

#[tokio::test]
async fn what_has_not_changed_is_not_touched() {
    let site = Site::new();
    let host = two_apps(&site).await;
    apply(&site, "unchanged").await;
    let ended = site.ask(&["apply"]).await;
    assert_eq!(ended.stdout, "nothing has changed\n");
    // It is what it says that counts, and not its bytes.
    configure(&site, &["\n# the same\n", TWO, ONE]);
    host.signal(Signal::HUP);
    host.nth_event(3, "applied").await;
    assert_eq!(generations(&site).await, json!({"one": 1, "two": 1}));
}

#[tokio::test]
async fn a_hang_up_signal_adds_changes_and_removes_apps_under_load() {
    let site = Site::new();
    let host = two_apps(&site).await;
    let stays = Visitors::start(&host.address, "/one/", "version 1\n", 1);
    let changes = Visitors::start(&host.address, "/two/", "version 2\n", 1);
    site.install("three", &artifacts::probe(3));
    let three = "[apps.three]\npath = \"apps/libthree.so\"\nmount = \"/deep/three\"\n";
    for generation in 2..=11 {
        let settings = format!("[apps.two.settings]\nnumber = {generation}\n");
        let added = if generation % 2 == 0 { three } else { "" };
        configure(&site, &[ONE, TWO, &settings, added]);
        host.signal(Signal::HUP);
        host.serving("two", generation).await;
        let applied = host
            .nth_event(usize::try_from(generation).unwrap() - 1, "applied")
            .await;
        assert_eq!(applied.number("changed"), Some(1), "{applied}");
        let number = host.connect().await.json("/two/settings").await;
        assert_eq!(number, json!({"number": generation}));
        let third = host.connect().await.get("/deep/three/").await;
        assert_eq!(third.status, if generation % 2 == 0 { 200 } else { 404 });
        stays.more_answers(20).await;
        changes.more_answers(20).await;
    }
    for visitors in [stays, changes] {
        assert_eq!(visitors.end().await.failures, Vec::<String>::new());
    }
    assert_eq!(generations(&site).await, json!({"one": 1, "two": 11}));
}

#[tokio::test]
async fn one_app_that_fails_keeps_all_others_from_changing() {
    let site = Site::new();
    let host = two_apps(&site).await;
    site.install("three", &artifacts::probe(3));
    let one = "[apps.one.settings]\na = 1\n";
    let two = "[apps.two.settings]\nsetup = \"error\"\n";
    let three = "[apps.three]\npath = \"apps/libthree.so\"\n";
    configure(&site, &[ONE, one, TWO, two, three]);
    let refused = apply(&site, "refused").await;
    assert_eq!(refused["app"], "two");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("the probe was told to fail"), "{refused}");
    let told = host.event("apply-refused").await;
    assert_eq!(told.text("app"), "two");
    assert_eq!(generations(&site).await, json!({"one": 1, "two": 1}));
    assert_eq!(host.connect().await.json("/one/settings").await, json!({}));
    assert_eq!(host.connect().await.get("/three/").await.status, 404);
    // What was started for it goes again.
    host.retired("three", 1).await;
    host.retired("one", 2).await;
    configure(&site, &[ONE, one, TWO, three]);
    apply(&site, "applied").await;
    assert_eq!(
        generations(&site).await,
        json!({"one": 2, "two": 1, "three": 1})
    );
}

#[tokio::test]
async fn a_file_that_is_wrong_is_refused_with_its_line() {
    let site = Site::new();
    let host = two_apps(&site).await;
    for (parts, text) in [
        (&[ONE, "mont = \"/x\"\n"][..], "replug.toml:5:1: "),
        (&[ONE, "drain = \"soon\"\n"], "replug.toml:5:9: "),
        (&["[apps.one"], "replug.toml:3:"),
        (&[ONE, "group = \"nowhere\"\n"], "nowhere"),
        (
            &["threads = 7\n", ONE, TWO],
            "only a restart takes another `threads`",
        ),
        (&[], "there is nothing to serve"),
    ] {
        configure(&site, parts);
        let refused = apply(&site, "refused").await;
        let reason = refused["reason"].as_str().unwrap();
        assert!(reason.contains(text), "{text:?} in {refused}");
    }
    fs::remove_file(site.path().join("replug.toml")).unwrap();
    apply(&site, "refused").await;
    assert_eq!(generations(&site).await, json!({"one": 1, "two": 1}));
    assert_eq!(host.get("/two/").await, "version 2\n");
}

#[tokio::test]
async fn two_apps_exchange_their_mounts_in_one_step() {
    let site = Site::new();
    let host = two_apps(&site).await;
    let visitors = Visitors::start(&host.address, "/one/settings", "{}", 1);
    configure(
        &site,
        &[ONE, "mount = \"/two\"\n", TWO, "mount = \"/one\"\n"],
    );
    let ended = site.ask(&["apply"]).await;
    assert_eq!(
        ended.stdout,
        "applied:\n  changed app one (mount)\n  changed app two (mount)\n"
    );
    assert_eq!(host.get("/one/").await, "version 2\n");
    assert_eq!(host.get("/two/").await, "version 1\n");
    visitors.more_answers(20).await;
    assert_eq!(visitors.end().await.failures, Vec::<String>::new());
    // What one wants besides its mount is none for another.
    let routes = "[apps.one.settings]\nroutes = [\"/x\"]\n";
    configure(&site, &[ONE, routes, TWO, "mount = \"/x\"\n"]);
    let refused = apply(&site, "refused").await;
    let reason = refused["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("mount `/x` belongs to app "),
        "{refused}"
    );
    assert_eq!(host.get("/one/").await, "version 2\n");
}

#[tokio::test]
async fn an_app_of_another_path_takes_the_place_of_one_that_goes() {
    let site = Site::new();
    let host = two_apps(&site).await;
    let entry = |value| {
        format!("[[apps.one.settings.register]]\nkind = \"k\"\nkey = \"x\"\nvalue = {value}\n")
    };
    configure(&site, &[ONE, &entry(1)]);
    apply(&site, "applied").await;
    let mut slow = host.connect_http2().await;
    let in_flight = slow.begin("/one/sleep?ms=500").await;
    // Mount, route and key are those of the one that goes, which has a request still.
    let other = "[apps.other]\npath = \"apps/libtwo.so\"\nmount = \"/one\"\n";
    let entry = entry(2).replace("apps.one", "apps.other");
    configure(&site, &[other, &entry]);
    apply(&site, "applied").await;
    assert_eq!(host.get("/one/").await, "version 2\n");
    let registry = site.ask(&["registry", "--json"]).await.stdout;
    let registry: Value = serde_json::from_str(&registry).unwrap();
    assert_eq!(
        registry,
        json!([{"kind": "k", "key": "x", "value": 2, "owners": ["other"]}])
    );
    assert_eq!(in_flight.answer().await.unwrap().text, "version 1\n");
    host.retired("one", 2).await;
    assert_eq!(site.ask(&["registry", "--json"]).await.code, Some(0));
}
