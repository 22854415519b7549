//! Groups whose workers are replaced one by one, since an app in them must not be there twice.

use std::fs;

use replug_tests::{
    artifacts,
    host::{Host, Site},
    load::{Load, Tally},
    process, until,
};
use rustix::process::Signal;

const APP: &str = "fixture-probe";

/// A probe that fails where another has its lock, in a group of so many workers.
async fn rolling(site: &Site, processes: &str, more: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    let lock = format!("{APP}.lock={:?}", site.path().join("lock"));
    let mut args = vec!["--processes", processes, "--option", "overlap=false"];
    args.extend(["--guard", "0s", "--set", &lock]);
    args.extend(more);
    site.serve_library("probe", &args).await
}

fn assert_whole(tally: &Tally, versions: &[u64]) {
    assert_eq!(tally.failures, Vec::<String>::new());
    let seen: Vec<u64> = tally.versions.iter().copied().collect();
    assert_eq!(seen, versions);
}

fn count(host: &Host, kind: &str) -> usize {
    host.log.all(|event| event.kind() == kind).len()
}

/// Waits until so many workers serve, as `replug status` has it.
async fn workers(site: &Site, number: usize) {
    until("all workers", async || {
        let status = site.status().await;
        let workers = status["apps"][0]["workers"].as_array().cloned();
        (workers.unwrap_or_default().len() == number).then_some(())
    })
    .await;
}

#[tokio::test]
async fn workers_are_replaced_one_by_one_and_no_request_fails_or_sees_a_mixture() {
    const DEPLOYS: u64 = 5;
    let site = Site::new();
    let host = rolling(&site, "3", &[]).await;
    let load = Load::start(&host, 8).await;
    load.more_answers(20).await;
    for version in 2..=DEPLOYS + 1 {
        artifacts::probe(version).install(&site.library("probe"));
        host.serving(APP, version).await;
        load.more_answers(20).await;
        // The last of them comes when the last old one is gone.
        let started = usize::try_from(version - 1).unwrap();
        host.nth_event(started, "worker-started").await;
        workers(&site, 3).await;
    }
    let tally = load.end().await;
    assert_whole(&tally, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(count(&host, "worker-makes-room"), 2 * 5);
    assert_eq!(count(&host, "worker-died") + count(&host, "refused"), 0);
}

#[tokio::test]
async fn requests_wait_while_the_only_worker_is_replaced() {
    let site = Site::new();
    let host = rolling(&site, "1", &[]).await;
    let load = Load::start(&host, 6).await;
    load.more_answers(20).await;
    for version in 2..=6 {
        artifacts::probe(version).install(&site.library("probe"));
        host.serving(APP, version).await;
        load.more_answers(20).await;
    }
    assert_whole(&load.end().await, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(count(&host, "worker-died") + count(&host, "refused"), 0);
}

#[tokio::test]
async fn those_who_made_room_come_back_when_a_new_one_fails() {
    // All fail; the last of those that come before the switch does.
    for (processes, how) in [("3", "error"), ("3", "error-in:1"), ("1", "error")] {
        let site = Site::new();
        let set = format!("{APP}.setup-of={{2=\"{how}\"}}");
        let host = rolling(&site, processes, &["--set", &set]).await;
        let load = Load::start(&host, 6).await;
        artifacts::probe(2).install(&site.library("probe"));
        let refused = host
            .log
            .wait_for("refused", |event| {
                event.kind() == "refused" && event.number("worker").is_none()
            })
            .await;
        assert!(refused.text("reason").contains("was told to"), "{refused}");
        let left = count(&host, "worker-makes-room");
        host.nth_event(left, "worker-started").await;
        workers(&site, processes.parse().unwrap()).await;
        load.more_answers(20).await;
        assert_whole(&load.end().await, &[1]);
        artifacts::probe(3).install(&site.library("probe"));
        until("version 3", async || {
            (host.get("/").await == "version 3\n").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_crew_that_cannot_be_taken_whole_is_not_taken_and_the_old_workers_come_back() {
    let site = Site::new();
    artifacts::library("hello").install(&site.library("hello"));
    site.install("probe", &artifacts::probe(1));
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[groups.g]\nprocesses = 2\n\
         [apps.hello]\npath = {:?}\n[apps.probe]\npath = {:?}\nmount = \"/\"\ngroup = \"g\"\n\
         overlap = false\n[apps.probe.settings]\nlock = {:?}\n\
         register = [{{kind = \"route\", key = \"/hello\", versions = [2]}}]\n",
        site.library("hello"),
        site.library("probe"),
        site.path().join("lock"),
    );
    replug_tests::configured::write(&site, &config);
    let host = site.serve(&[]).await;
    let load = Load::start(&host, 4).await;
    artifacts::probe(2).install(&site.library("probe"));
    let refused = host.event("refused").await;
    assert!(
        refused.text("reason").contains("belongs to app `hello`"),
        "{refused}"
    );
    host.event("worker-started").await;
    load.more_answers(20).await;
    artifacts::probe(3).install(&site.library("probe"));
    until("version 3", async || {
        (host.get("/").await == "version 3\n").then_some(())
    })
    .await;
    load.more_answers(4).await;
    assert_whole(&load.end().await, &[1, 3]);
}

#[tokio::test]
async fn a_worn_worker_is_gone_before_the_next_one_starts() {
    for processes in ["1", "2"] {
        let site = Site::new();
        let limit = ["--group-option", "max-requests=20"];
        let host = rolling(&site, processes, &limit).await;
        let load = Load::start(&host, 4).await;
        host.nth_event(4, "worker-started").await;
        assert_whole(&load.end().await, &[1]);
        assert_eq!(
            count(&host, "worker-failed") + count(&host, "worker-died"),
            0
        );
    }
}

#[tokio::test]
async fn a_worker_that_somebody_ends_is_gone_before_the_next_one_starts() {
    let site = Site::new();
    let host = rolling(&site, "1", &[]).await;
    let info = host.connect().await.json("/info").await;
    let mut connection = host.connect_http2().await;
    let slow = connection.begin("/sleep?ms=300").await;
    process::signal(info["pid"].as_u64().unwrap(), Signal::TERM);
    host.event("worker-leaves").await;
    assert_eq!(host.get("/").await, "version 1\n");
    assert_eq!(slow.answer().await.unwrap().text, "version 1\n");
    assert_eq!(
        count(&host, "worker-failed") + count(&host, "worker-died"),
        0
    );
}

#[tokio::test]
async fn a_request_that_waits_for_an_old_worker_is_answered_by_a_new_one() {
    let site = Site::new();
    let gate = site.path().join("gate");
    fs::write(&gate, "").unwrap();
    site.install("probe", &artifacts::probe(1));
    let set = format!("{APP}.setup-of={{1=\"until:{}\"}}", gate.display());
    let args = ["--processes", "1", "--guard", "0s", "--set", &set];
    let host = site.serve_library("probe", &args).await;
    let info = host.connect().await.json("/info").await;
    fs::remove_file(&gate).unwrap();
    process::signal(info["pid"].as_u64().unwrap(), Signal::KILL);
    host.event("worker-died").await;
    // No worker of the first version is to come.
    let mut connection = host.connect_http2().await;
    let waiting = connection.start("/?waits").await;
    artifacts::probe(2).install(&site.library("probe"));
    assert_eq!(waiting.answer().await.unwrap().text, "version 2\n");
    host.retired(APP, 1).await;
}

#[tokio::test]
async fn workers_of_a_set_of_which_one_fails_leave_the_hosts_own_files() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let set = format!("{APP}.setup-of={{2=\"error-in:0\"}}");
    let args = ["--processes", "3", "--guard", "0s", "--set", &set];
    let host = site.serve_library("probe", &args).await;
    for nth in 1..=5 {
        artifacts::probe(2)
            .numbered(nth)
            .install(&site.library("probe"));
        host.log
            .wait_for_nth("refused", nth.try_into().unwrap(), |event| {
                event.kind() == "refused" && event.number("worker").is_none()
            })
            .await;
    }
    artifacts::probe(3).install(&site.library("probe"));
    host.serving(APP, 7).await;
    assert_eq!(host.get("/").await, "version 3\n");
    assert_eq!(count(&host, "no-supervisor"), 0);
}
