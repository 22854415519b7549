//! Workers that die, and a supervisor that does.

use std::fs;

use replug_tests::{Connection, artifacts, host::Site, process, until};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const APP: &str = "fixture-probe";

async fn worker(connection: &mut Connection) -> Pid {
    let info = connection.json("/info").await;
    process::pid(info["pid"].as_u64().unwrap())
}

fn is_gone(pid: Pid) -> bool {
    // One that nobody has waited for yet is gone, too.
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

#[tokio::test]
async fn only_requests_of_the_worker_that_was_killed_fail_and_with_502() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--processes", "2"]).await;
    let mut connection = host.connect_http2().await;
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(connection.start("/sleep?ms=2000").await);
    }
    // All are at their workers.
    assert_eq!(connection.text("/").await, "version 1\n");
    let mut other = host.connect().await;
    let killed = worker(&mut other).await;
    kill_process(killed, Signal::KILL).unwrap();
    let died = host.event("worker-died").await;
    assert_eq!(
        died.number("pid"),
        Some(u64::from(killed.as_raw_nonzero().get().unsigned_abs()))
    );
    let held = died.number("held").unwrap();
    let mut bad = 0;
    for answer in answers {
        let answer = answer.answer().await.unwrap();
        match answer.status.as_u16() {
            200 => {}
            502 => {
                bad += 1;
                assert!(answer.text.contains("was ended by signal 9"), "{answer:?}");
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(bad, held, "{died}");
    assert!(bad > 0);
    host.event("worker-started").await;
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn a_deploy_comes_through_though_workers_die_meanwhile() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--processes", "2"]).await;
    for version in 2..=6 {
        let victim = worker(&mut host.connect().await).await;
        artifacts::probe(version).install(&path);
        kill_process(victim, Signal::KILL).unwrap();
        host.serving(APP, version).await;
        assert_eq!(host.get("/").await, format!("version {version}\n"));
    }
}

#[tokio::test]
async fn a_worker_that_gets_sigterm_finishes_its_requests_and_is_replaced() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let log = site.path().join("cleanup.log");
    let set = format!("fixture-probe.cleanup-log={}", log.display());
    let args = [
        "--processes",
        "1",
        "--set",
        &set,
        "--set",
        "fixture-probe.cleanup-reason=true",
    ];
    let host = site.serve_library("probe", &args).await;
    let mut connection = host.connect_http2().await;
    let slow = connection.begin("/sleep?ms=1000").await;
    let before = worker(&mut host.connect().await).await;
    kill_process(before, Signal::TERM).unwrap();
    host.event("worker-leaves").await;
    // The next one answers, and the one before finishes.
    assert_eq!(host.get("/").await, "version 1\n");
    assert_eq!(slow.answer().await.unwrap().text, "version 1\n");
    host.event("worker-ended").await;
    assert_ne!(worker(&mut host.connect().await).await, before);
    assert!(
        fs::read_to_string(log)
            .unwrap()
            .ends_with("cleaned up: signal\n")
    );
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
}

#[tokio::test]
async fn a_supervisor_that_is_killed_leaves_no_process_and_no_file() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let mut host = site.serve_library("probe", &["--processes", "3"]).await;
    let mut workers = Vec::new();
    for _ in 0..12 {
        workers.push(worker(&mut host.connect().await).await);
    }
    host.signal(Signal::KILL);
    assert!(!host.exit().await.success());
    until("the workers' end", async || {
        workers.iter().all(|pid| is_gone(*pid)).then_some(())
    })
    .await;
    let staging = site.path().join("staging");
    until("the copies' end", async || {
        let mut left = fs::read_dir(&staging).unwrap();
        left.next().is_none().then_some(())
    })
    .await;
    drop(host);
    let next = site.serve_library("probe", &["--processes", "1"]).await;
    assert_eq!(next.get("/").await, "version 1\n");
}

#[tokio::test]
async fn a_worker_that_ends_itself_is_a_crash_of_that_worker_only() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--processes", "2"]).await;
    for (nth, (way, death)) in [
        ("exit", "exited with code 3"),
        ("abort", "signal 6"),
        ("overflow", "signal 6"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = host.connect().await.get(&format!("/end?how={way}")).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        let died = host.nth_event(nth + 1, "worker-died").await;
        assert!(died.text("death").contains(death), "{died}");
        assert_eq!(host.get("/").await, "version 1\n");
    }
}

#[tokio::test]
async fn a_worker_whose_thread_is_blocked_is_killed_and_its_requests_are_named() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let mut args = vec!["--processes", "1"];
    for option in ["hang-timeout=5s", "threads=1"] {
        args.extend(["--group-option", option]);
    }
    let host = site.serve_library("probe", &args).await;
    let mut connection = host.connect_http2().await;
    let blocked = connection.start("/block?ms=3600000").await;
    // By name: on a machine that is busy enough, one may hang without it.
    let hangs = host.log.wait_for("a worker that hangs", |event| {
        event.kind() == "worker-hangs" && event.text("requests").contains("GET /block")
    });
    let hangs = hangs.await;
    let died = host.log.wait_for("its death", |event| {
        event.kind() == "worker-died" && event.number("pid") == hangs.number("pid")
    });
    assert_eq!(died.await.text("death"), "was ended by signal 9 (SIGKILL)");
    // No other worker gets what has killed one.
    assert_eq!(blocked.answer().await.unwrap().status, 502);
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn workers_that_die_at_their_start_are_given_up_until_another_artifact_comes() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let flag = site.path().join("die");
    let set = format!("fixture-probe.exit-if={}", flag.display());
    let args = ["--processes", "1", "--set", &set];
    let host = site.serve_library("probe", &args).await;
    fs::write(&flag, "").unwrap();
    kill_process(worker(&mut host.connect().await).await, Signal::KILL).unwrap();
    host.event("worker-given-up").await;
    let answer = host.connect().await.get("/").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let turned_away = host.event("turned-away").await;
    assert_eq!(turned_away.text("code"), "no-workers", "{turned_away}");
    fs::remove_file(&flag).unwrap();
    artifacts::probe(2).install(&path);
    host.serving(APP, 2).await;
    assert_eq!(host.get("/").await, "version 2\n");
}

#[tokio::test]
async fn a_host_that_ends_has_its_workers_finish_first() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let mut host = site.serve_library("probe", &["--processes", "2"]).await;
    let mut connection = host.connect_http2().await;
    let slow = connection.begin("/sleep?ms=1000").await;
    let pid = worker(&mut host.connect().await).await;
    let ended = host.terminate();
    let (answer, status) = tokio::join!(slow.answer(), ended);
    assert_eq!(answer.unwrap().text, "version 1\n");
    assert_eq!(status.code(), Some(0));
    assert!(test_kill_process(pid).is_err());
}
