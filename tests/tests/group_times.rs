//! How long things of a group may take, each by itself; that they take as long as is said is
//! measured by `replug-bench groups`.

use std::fs;

use http::StatusCode;
use replug_tests::{
    artifacts, configured, host::Host, host::Site, load::Load, process::pid, until,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;

/// The probe in so many workers with those options of the group and more arguments.
async fn serve(site: &Site, options: &[&str], more: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    let options = options.iter().map(|it| format!("--group-option={it}"));
    let options: Vec<_> = options.collect();
    let args: Vec<_> = options
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    let args = [&["--processes=1"], &args[..]].concat();
    site.serve_library("probe", &args).await
}

async fn worker(host: &Host) -> Pid {
    let info = host.connect().await.json("/info").await;
    pid(info["pid"].as_u64().unwrap())
}

#[tokio::test]
async fn a_worker_whose_start_takes_too_long_is_no_worker_and_the_reason_is_told() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let config = format!(
        "[groups.shop]\nstartup-timeout = \"500ms\"\n[apps.fixture-probe]\npath = {path:?}\n\
         group = \"shop\"\nmount = \"/\"\nsettings = {{ setup-of = {{ 2 = \"hang\" }} }}\n",
    );
    configured::write(&site, &config);
    let host = site.serve(&[]).await;
    artifacts::probe(2).install(&path);
    let told = host.log.wait_for("the reason", |event| {
        event
            .text("reason")
            .contains("it was not ready within 500ms")
    });
    let told = told.await;
    assert!(told.text("remedy").contains("startup-timeout"), "{told}");
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn a_worker_whose_cleanup_takes_too_long_is_killed_and_the_next_ones_serve() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let mut host = serve(
        &site,
        // Without an end for requests, there is one for what comes after them.
        &["shutdown-timeout=300ms", "graceful-timeout=0s"],
        &["--set=fixture-probe.cleanup-hangs=true"],
    )
    .await;
    let old = worker(&host).await;
    artifacts::probe(2).install(&path);
    let killed = host.event("worker-killed").await;
    assert_eq!(killed.number("pid").map(pid), Some(old), "{killed}");
    assert_eq!(host.get("/").await, "version 2\n");
    assert_eq!(host.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn workers_are_replaced_again_and_again_and_nothing_fails() {
    let site = Site::new();
    let host = serve(&site, &["restart-interval=200ms"], &[]).await;
    let load = Load::start(&host, 4).await;
    host.nth_event(4, "worker-started").await;
    let tally = load.end().await;
    assert_eq!(tally.failures, Vec::<String>::new());
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
}

#[tokio::test]
async fn requests_that_wait_for_a_worker_in_vain_or_are_too_many_are_turned_away() {
    let site = Site::new();
    let may_start = site.path().join("may-start");
    fs::write(&may_start, "").unwrap();
    let setup = format!("--set=fixture-probe.setup=until:{}", may_start.display());
    let host = serve(&site, &["queue-timeout=1s", "queue=1"], &[&setup]).await;
    let dying = worker(&host).await;
    fs::remove_file(&may_start).unwrap();
    kill_process(dying, Signal::KILL).unwrap();
    host.event("worker-died").await;
    let mut asked = JoinSet::new();
    for _ in 0..3 {
        let mut connection = host.connect().await;
        asked.spawn(async move { connection.get("/").await.status });
    }
    let mut answers = asked.join_all().await;
    answers.sort();
    let full = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(answers, [full, full, StatusCode::GATEWAY_TIMEOUT]);
    let lost = host.event("not-answered").await;
    assert_eq!(lost.text("code"), "queue-timeout");
    let full = host.event("turned-away").await;
    assert_eq!(full.text("code"), "queue-full");
    fs::write(&may_start, "").unwrap();
    host.event("worker-started").await;
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn a_worker_that_takes_no_connection_is_not_waited_for_longer_than_is_said() {
    let site = Site::new();
    let host = serve(
        &site,
        &["backlog=1", "connect-timeout=200ms", "request-timeout=2s"],
        &[],
    )
    .await;
    let stopped = worker(&host).await;
    kill_process(stopped, Signal::STOP).unwrap();
    until("all of its threads to stop", async || {
        let threads = fs::read_dir(format!("/proc/{}/task", stopped.as_raw_pid())).unwrap();
        let mut states = threads.map(|it| fs::read_to_string(it.unwrap().path().join("status")));
        states
            .all(|state| state.is_ok_and(|state| state.contains("State:\tT")))
            .then_some(())
    })
    .await;
    // Two fit into the backlog.
    let mut asked = JoinSet::new();
    for _ in 0..4 {
        let mut connection = host.connect().await;
        asked.spawn(async move { connection.post("/echo", "a").await.status });
    }
    let answers = asked.join_all().await;
    assert_eq!(answers, [StatusCode::GATEWAY_TIMEOUT; 4]);
    host.nth_event(4, "not-answered").await;
    let lost = host.log.all(|event| event.kind() == "not-answered");
    let code = |code: &str| lost.iter().filter(|it| it.text("code") == code).count();
    assert_eq!((code("connect-timeout"), code("request-timeout")), (2, 2));
    kill_process(stopped, Signal::CONT).unwrap();
    assert_eq!(host.connect().await.post("/echo", "b").await.text, "b");
}

#[tokio::test]
async fn workers_are_called_as_the_group_says() {
    let site = Site::new();
    let host = serve(&site, &["display-name=shop"], &[]).await;
    let worker = worker(&host).await;
    let called = fs::read(format!("/proc/{}/cmdline", worker.as_raw_pid())).unwrap();
    let called = String::from_utf8_lossy(&called);
    assert!(called.starts_with("shop worker 0"), "{called:?}");
}
