//! Signals to a host whose apps are in worker processes.

use std::{collections::BTreeSet, fs};

use replug_tests::{
    artifacts,
    host::{Host, Site},
    until,
};
use rustix::process::Signal;

/// The workers' processes, as the host says them.
async fn workers(site: &Site) -> BTreeSet<u64> {
    let status = site.status().await;
    let workers = status["apps"][0]["workers"].as_array().unwrap();
    let pids = workers.iter().map(|worker| worker["pid"].as_u64().unwrap());
    pids.collect()
}

async fn until_there_are(site: &Site, number: usize) {
    until("that many workers", async || {
        (workers(site).await.len() == number).then_some(())
    })
    .await;
}

fn is_gone(pid: u64) -> bool {
    // One that nobody has waited for yet is gone, too.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

async fn none_is_left(pids: &BTreeSet<u64>) {
    until("the workers' end", async || {
        pids.iter().all(|pid| is_gone(*pid)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sigttin_and_sigttou_are_a_worker_more_and_one_less_also_after_a_deploy() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--processes", "2"]).await;
    let mut connection = host.connect_http2().await;
    let slow = connection.begin("/sleep?ms=1000").await;
    host.signal(Signal::TTIN);
    let resized = host.event("resized").await;
    assert_eq!(resized.number("workers"), Some(3), "{resized}");
    until_there_are(&site, 3).await;

    artifacts::probe(2).install(&path);
    host.serving("fixture-probe", 2).await;
    until_there_are(&site, 3).await;

    for (nth, left) in [(2, 2), (3, 1), (4, 1)] {
        host.signal(Signal::TTOU);
        let resized = host.nth_event(nth, "resized").await;
        assert_eq!(resized.number("workers"), Some(left), "{resized}");
    }
    until_there_are(&site, 1).await;
    host.signal(Signal::TTIN);
    until_there_are(&site, 2).await;
    assert_eq!(host.get("/").await, "version 2\n");
    // Nobody has lost anything by it.
    assert_eq!(slow.answer().await.unwrap().text, "version 1\n");
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
    assert_eq!(host.log.all(|event| event.kind() == "worker-failed"), []);
}

#[tokio::test]
async fn workers_come_and_go_at_random_under_load_and_nothing_is_lost() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--processes", "2"]).await;
    let load = replug_tests::load::Load::start(&host, 6).await;
    for round in 0..20 {
        let signal = if round % 3 == 0 {
            Signal::TTOU
        } else {
            Signal::TTIN
        };
        host.signal(signal);
        host.nth_event(round + 1, "resized").await;
        let other = if round % 2 == 0 { Signal::TTOU } else { signal };
        host.signal(other);
        load.more_answers(5).await;
        host.signal(Signal::TTOU);
    }
    let tally = load.end().await;
    assert_eq!(tally.failures, Vec::<String>::new());
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
}

/// A host with a request that does not end by itself, and its workers.
async fn busy(site: &Site) -> (Host, replug_tests::client::InFlight, BTreeSet<u64>) {
    site.install("probe", &artifacts::probe(1));
    let args = ["--processes", "2", "--drain", "1h"];
    let mut args = args.to_vec();
    args.extend(["--group-option", "graceful-timeout=1h"]);
    let host = site.serve_library("probe", &args).await;
    let mut connection = host.connect_http2().await;
    let hanging = connection.begin("/hang").await;
    let workers = workers(site).await;
    assert_eq!(workers.len(), 2);
    (host, hanging, workers)
}

#[tokio::test]
async fn a_second_sigint_ends_workers_at_once() {
    let site = Site::new();
    let (mut host, hanging, workers) = busy(&site).await;
    host.signal(Signal::INT);
    host.event("stopping").await;
    assert!(!workers.iter().any(|pid| is_gone(*pid)));
    host.signal(Signal::INT);
    host.exit().await;
    assert!(hanging.answer().await.is_err());
    none_is_left(&workers).await;
    assert_eq!(host.staged(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn sigquit_ends_workers_at_once() {
    let site = Site::new();
    let (mut host, hanging, workers) = busy(&site).await;
    host.signal(Signal::QUIT);
    host.exit().await;
    assert_eq!(host.log.all(|event| event.kind() == "stopping"), []);
    assert!(hanging.answer().await.is_err());
    none_is_left(&workers).await;
    assert_eq!(host.staged(), Vec::<std::path::PathBuf>::new());
}
