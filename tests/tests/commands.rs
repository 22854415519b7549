//! Commands to a running host.

use std::{fs, os::unix::fs::PermissionsExt as _};

use replug_tests::{
    artifacts,
    deploy::Artifact,
    host::{Finished, Host, Site, finish, replug},
};
use serde_json::Value;

async fn probe(site: &Site, args: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    site.serve_library("probe", args).await
}

async fn ask(site: &Site, args: &[&str]) -> Finished {
    site.ask(args).await
}

async fn status(site: &Site) -> Value {
    site.status().await
}

#[tokio::test]
async fn status_tells_what_serves_and_what_it_has_in_the_process() {
    let site = Site::new();
    let host = probe(&site, &["--memory-limit", "1G"]).await;
    host.connect().await.text("/spawn").await;
    let status = status(&site).await;
    let app = &status["apps"][0];
    assert_eq!(app["name"], "fixture-probe", "{status}");
    assert_eq!(app["mount"], "/", "{status}");
    let serving = &app["serving"];
    assert_eq!(serving["generation"], 1, "{status}");
    assert_eq!(serving["memory_limit"], 1 << 30, "{status}");
    assert!(serving["memory"].as_u64().unwrap() > 1_000, "{status}");
    let thread = &serving["threads"][0];
    let name = thread["name"].as_str().unwrap();
    assert!(name.starts_with("fixture-probe."), "{status}");
    let id = thread["id"].as_u64().unwrap();
    let task = format!("/proc/{}/task/{id}/comm", host.pid());
    assert_eq!(fs::read_to_string(task).unwrap().trim_end(), name);
    assert!(status["process"]["keys"].as_u64().unwrap() > 0, "{status}");
    assert_eq!(status["process"]["pid"], host.pid());
    assert_eq!(status["retiring"], Value::Array(Vec::new()));

    let text = ask(&site, &["status"]).await.stdout;
    for part in [
        "fixture-probe  at /  generation 1",
        "of 1.0 GiB",
        "libprobe.so",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[tokio::test]
async fn status_names_what_is_draining() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let mut connection = host.connect_http2().await;
    let hanging = connection.begin("/hang").await;
    // Both are on one connection, so the first is under way when the second is answered.
    connection.text("/").await;
    assert_eq!(ask(&site, &["reload", "fixture-probe"]).await.code, Some(0));
    let status = status(&site).await;
    let old = &status["retiring"][0];
    assert_eq!(old["generation"], 1, "{status}");
    assert_eq!(old["state"], "draining", "{status}");
    assert!(old["in_flight"].as_u64().unwrap() > 0, "{status}");
    drop(hanging);
    drop(connection);
    host.retired("fixture-probe", 1).await;
}

#[tokio::test]
async fn a_reload_that_is_asked_for_takes_the_same_file_again_and_waits_for_it() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let ended = ask(&site, &["reload", "fixture-probe"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "fixture-probe generation 2 serves\n");
    host.retired("fixture-probe", 1).await;
    let path = site.library("probe");
    let ended = ask(&site, &["reload", path.to_str().unwrap()]).await;
    assert_eq!(
        ended.stdout, "fixture-probe generation 3 serves\n",
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_reload_that_is_refused_says_why_and_status_does_too() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    Artifact::new("text").install(&site.library("probe"));
    host.event("refused").await;
    let ended = ask(&site, &["reload", "fixture-probe"]).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    for part in ["text file", "remedy:"] {
        assert!(ended.stderr.contains(part), "{part:?} in {ended:?}");
    }
    let status = status(&site).await;
    let refused = &status["apps"][0]["refused"];
    assert!(
        refused["reason"].as_str().unwrap().contains("text file"),
        "{status}"
    );
    assert_eq!(status["apps"][0]["serving"]["generation"], 1);
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn a_reload_that_does_not_come_to_an_end_is_not_waited_for_without_end() {
    let site = Site::new();
    let host = probe(&site, &["--set", "fixture-probe.setup-of={2=\"hang\"}"]).await;
    artifacts::probe(2).install(&site.library("probe"));
    let args = ["reload", "fixture-probe", "--timeout", "200ms"];
    let ended = ask(&site, &args).await;
    assert_eq!(ended.code, Some(124), "{ended:?}");
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn reloads_that_are_asked_for_at_once_are_all_answered() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let asked: Vec<_> = (0..6)
        .map(|_| {
            let mut command = replug(["reload", "fixture-probe", "--control"]);
            command.arg(site.control());
            tokio::spawn(finish(command))
        })
        .collect();
    for ended in asked {
        let ended = ended.await.unwrap();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn a_reload_of_a_file_that_goes_meanwhile_is_answered() {
    let site = Site::new();
    let host = probe(&site, &["--set", "fixture-probe.setup-of={2=\"hang\"}"]).await;
    artifacts::probe(2).install(&site.library("probe"));
    let mut command = replug(["reload", "fixture-probe", "--control"]);
    command.arg(site.control());
    let asked = tokio::spawn(finish(command));
    replug_tests::until("its load", async || {
        status(&site).await["apps"][0]["loading"]
            .as_bool()
            .filter(|loading| *loading)
    })
    .await;
    fs::remove_file(site.library("probe")).unwrap();
    host.event("unmounted").await;
    let ended = asked.await.unwrap();
    assert_eq!(ended.code, Some(4), "{ended:?}");
}

#[tokio::test]
async fn an_app_that_there_is_not_is_an_error_that_names_those_that_there_are() {
    let site = Site::new();
    let _host = probe(&site, &[]).await;
    let ended = ask(&site, &["reload", "shop"]).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    for part in ["`shop`", "fixture-probe"] {
        assert!(ended.stderr.contains(part), "{part:?} in {ended:?}");
    }
}

#[tokio::test]
async fn where_no_host_is_the_command_says_where_it_looked() {
    let site = Site::new();
    let ended = ask(&site, &["status"]).await;
    assert_eq!(ended.code, Some(6), "{ended:?}");
    let place = site.control().display().to_string();
    assert!(ended.stderr.contains(&place), "{ended:?}");
}

#[tokio::test]
async fn the_socket_is_its_users_alone_and_one_hosts_alone() {
    let site = Site::new();
    let mut host = probe(&site, &[]).await;
    let mode = fs::metadata(site.control()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut second = site.command("serve");
    second
        .args(["--listen", "127.0.0.1:0"])
        .arg(site.library("probe"));
    let ended = finish(second).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(
        ended.stderr.contains("another host takes commands"),
        "{ended:?}"
    );
    assert_eq!(status(&site).await["apps"][0]["name"], "fixture-probe");
    host.terminate().await;
    assert!(!site.control().exists());
}
