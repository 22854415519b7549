//! What is told of what workers have, and of what they did.

use replug_tests::{artifacts, configured, host::Site, until};
use rustix::process::Signal;

const APP: &str = "fixture-probe";

#[tokio::test]
async fn status_has_the_memory_and_threads_of_each_worker_and_none_of_an_app_in_them() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let _host = site.serve_library("probe", &["--processes", "2"]).await;
    let status = site.status().await;
    let app = &status["apps"][0];
    for figure in ["memory", "threads"] {
        assert_eq!(app["serving"].get(figure), None, "{status}");
    }
    let workers = app["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 2, "{status}");
    for worker in workers {
        assert!(worker["memory"].as_u64().unwrap() > 1 << 20, "{status}");
        let tasks = format!("/proc/{}/task", worker["pid"]);
        assert!(std::fs::read_dir(tasks).unwrap().count() > 0);
        assert!(worker["threads"].as_u64().unwrap() > 0, "{status}");
    }
    let text = site.ask(&["status"]).await.stdout;
    let lines = |word: &str| text.lines().filter(|line| line.contains(word)).count();
    // The workers' and nobody else's.
    assert_eq!((lines(" MiB"), lines(" threads  for ")), (2, 2), "{text}");
}

#[tokio::test]
async fn the_end_of_a_generation_says_what_its_workers_did() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    site.install("hello", &artifacts::library("hello"));
    let setting = format!("{APP}.cleanup-log={}", site.path().join("log").display());
    let mut args = vec!["--processes", "3", "--set", &setting];
    let host = site.serve_library("probe", &args).await;
    artifacts::probe(2).install(&path);
    let retired = host.retired(APP, 1).await;
    for (figure, expected) in [("workers", 3), ("hooks_done", 3), ("hooks_failed", 0)] {
        let found = retired.number(figure);
        assert_eq!(found, Some(expected), "{figure}: {retired}");
    }
    drop(host);

    // With a neighbour, either of the two comes first.
    artifacts::probe(1).install(&path);
    let hello = site.library("hello");
    args.push(hello.to_str().unwrap());
    let host = site.serve_library("probe", &args).await;
    artifacts::probe(2).install(&path);
    let told = host
        .log
        .wait_for("what its workers did", |event| {
            ["retired", "stopped-in-workers"].contains(&event.kind())
                && event.text("app") == APP
                && event.number("workers").is_some()
        })
        .await;
    assert_eq!(told.number("workers"), Some(3), "{told}");
    assert_eq!(told.number("hooks_done"), Some(3), "{told}");
}

#[tokio::test]
async fn a_configuration_that_is_refused_leaves_a_group_s_size_to_signals() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let path = site.library("probe");
    let configure = |processes: u32, more: &str| {
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[groups.blue]\nprocesses = {processes}\n\
             threads = 1\n[apps.{APP}]\npath = {path:?}\ngroup = \"blue\"\nmount = \"/\"\n{more}",
        );
        configured::write(&site, &text);
    };
    let fails = format!("[apps.{APP}.settings]\nsetup = \"error\"\n");
    let are_there = async |number: usize| {
        until("that many workers", async || {
            let status = site.status().await;
            let workers = status["apps"][0]["workers"].as_array().unwrap().len();
            (workers == number).then_some(())
        })
        .await;
    };
    configure(2, "");
    let host = site.serve(&[]).await;
    configure(4, &fails);
    let refused = site.ask(&["apply"]).await;
    assert_eq!(refused.code, Some(4), "{refused:?}");
    host.signal(Signal::TTIN);
    let resized = host.event("resized").await;
    assert_eq!(resized.number("workers"), Some(3), "{resized}");
    assert_eq!(resized.number("configured"), Some(2), "{resized}");
    are_there(3).await;
    // One that is taken has the number that it says, and goes by signals from then on.
    configure(4, "");
    assert_eq!(site.ask(&["apply"]).await.code, Some(0));
    are_there(4).await;
    host.signal(Signal::TTOU);
    are_there(3).await;
    assert_eq!(host.get("/").await, "version 1\n");
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
}
