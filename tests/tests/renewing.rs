//! Fresh generations of the same artifact, and why a generation goes.

use std::fs;

use replug_tests::{
    artifacts,
    host::{Host, Site},
};

const APP: &str = "fixture-probe";

async fn probe(site: &Site, args: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    let log = format!(
        "{APP}.cleanup-log={}",
        site.path().join("cleanup").display()
    );
    let reason = format!("{APP}.cleanup-reason=true");
    let mut all = vec!["--set", &log, "--set", &reason, "--guard", "0s"];
    all.extend(args);
    site.serve_library("probe", &all).await
}

/// What the generations have said at their end.
fn farewells(site: &Site) -> String {
    fs::read_to_string(site.path().join("cleanup")).unwrap()
}

#[tokio::test]
async fn after_so_many_requests_there_is_a_fresh_generation_whatever_the_load() {
    let site = Site::new();
    let host = probe(&site, &["--max-requests", "5"]).await;
    // Four clients whose requests overlap without a pause.
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let address = host.address.clone();
            tokio::spawn(async move {
                let mut connection = replug_tests::Connection::http1(&address).await;
                for _ in 0..50 {
                    assert_eq!(connection.text("/sleep?ms=1").await, "version 1\n");
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    host.serving(APP, 2).await;
    host.retired(APP, 1).await;
    assert!(farewells(&site).contains("generation 1 cleaned up: max requests"));
}

#[tokio::test]
async fn after_so_long_there_is_a_fresh_generation() {
    let site = Site::new();
    let host = probe(&site, &["--max-age", "300ms"]).await;
    host.serving(APP, 3).await;
    host.retired(APP, 2).await;
    assert!(farewells(&site).contains("generation 1 cleaned up: max age"));
}

#[tokio::test]
async fn a_fresh_generation_is_of_what_serves_and_not_of_the_file() {
    let site = Site::new();
    let host = probe(&site, &["--max-requests", "5", "--reload", "manual"]).await;
    artifacts::probe(2).install(&site.library("probe"));
    host.event("changed").await;
    let mut connection = host.connect().await;
    for _ in 0..5 {
        connection.text("/").await;
    }
    host.serving(APP, 2).await;
    assert_eq!(connection.text("/").await, "version 1\n");
    let status = site.status().await;
    assert_eq!(status["apps"][0]["changed"], true, "{status}");
}

#[tokio::test]
async fn an_app_asks_for_its_own_reload() {
    let site = Site::new();
    let host = probe(&site, &["--reload", "manual"]).await;
    artifacts::probe(2).install(&site.library("probe"));
    host.event("changed").await;
    assert_eq!(
        host.connect().await.post("/request-reload", "").await.text,
        "asked\n"
    );
    host.serving(APP, 2).await;
    assert_eq!(host.get("/").await, "version 2\n");
    host.retired(APP, 1).await;
    assert!(farewells(&site).contains("generation 1 cleaned up: reload"));
}

#[tokio::test]
async fn hooks_are_told_why_their_generation_goes() {
    let site = Site::new();
    let mut host = probe(&site, &[]).await;
    artifacts::probe(2).install(&site.library("probe"));
    host.retired(APP, 1).await;
    let ended = site.ask(&["rollback", APP]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    host.retired(APP, 2).await;
    fs::rename(site.library("probe"), site.path().join("aside")).unwrap();
    host.retired(APP, 3).await;
    fs::rename(site.path().join("aside"), site.library("probe")).unwrap();
    host.serving(APP, 4).await;
    assert!(host.terminate().await.success());
    let farewells = farewells(&site);
    let expected = [
        "1 cleaned up: reload",
        "2 cleaned up: rollback",
        "3 cleaned up: removal",
        "4 cleaned up: host shutdown",
    ];
    for (line, expected) in farewells.lines().zip(expected) {
        assert!(line.ends_with(expected), "{farewells}");
    }
    assert_eq!(farewells.lines().count(), 4, "{farewells}");
}
