//! Apps in worker processes: deploys, requests under way, and workers that wear out.

use std::collections::BTreeSet;

use replug_tests::{artifacts, client, host::Site, load::Load, until};
use serde_json::Value;

const APP: &str = "fixture-probe";

#[tokio::test]
async fn twenty_deploys_to_four_workers_fail_no_request_and_mix_no_versions() {
    const DEPLOYS: u64 = 20;
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let mut host = site.serve_library("probe", &["--processes", "4"]).await;
    let load = Load::start(&host, 12).await;
    for version in 2..=DEPLOYS + 1 {
        artifacts::probe(version).install(&path);
        host.serving(APP, version).await;
        load.more_answers(12).await;
    }
    let tally = load.end().await;
    assert_eq!(tally.failures, Vec::<String>::new());
    assert_eq!(tally.versions.last(), Some(&(DEPLOYS + 1)));
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
    assert_eq!(host.terminate().await.code(), Some(0));
    assert_eq!(host.log.other_lines(), Vec::<String>::new());
}

#[tokio::test]
async fn requests_are_shared_among_workers_that_know_who_they_are_and_who_asks() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--processes", "2"]).await;
    let mut workers = BTreeSet::new();
    let mut pids = BTreeSet::new();
    for _ in 0..8 {
        let mut connection = host.connect().await;
        let info = connection.json("/info?a=b").await;
        assert_eq!(info["mode"], "daemon");
        assert_eq!(info["group"], "default");
        assert_eq!(info["peer"], connection.local.unwrap().to_string());
        assert_eq!(info["generation"], 1);
        assert_eq!(info["original_uri"], "/info?a=b");
        workers.insert(info["worker"].as_u64().unwrap());
        pids.insert(info["pid"].as_u64().unwrap());
    }
    assert_eq!(workers, [0, 1].into());
    assert!(!pids.contains(&u64::from(host.pid())));
    let headers = host.connect().await.json("/headers").await;
    assert_eq!(headers.get("replug-forwarded"), None, "{headers}");
    // None of its code is in the host.
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", host.pid())).unwrap();
    assert!(!maps.contains("libprobe"), "{maps}");
    // The workers have it from one copy, and so share its pages.
    let mapped = pids.iter().map(|pid| {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let code = maps.lines().find(|line| {
            let is_code = line.contains(" r-xp ");
            is_code && line.contains("libprobe")
        });
        // Device, inode and path.
        let fields = code.expect("its code").split_whitespace().skip(3);
        fields.map(str::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(mapped.collect::<BTreeSet<_>>().len(), 1);
}

#[tokio::test]
async fn a_long_request_ends_on_its_version_and_delays_nobody() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let args = ["--processes", "2", "--reload", "on-request"];
    let host = site.serve_library("probe", &args).await;
    let mut connection = host.connect_http2().await;
    let slow = connection.begin("/sleep?ms=10000").await;
    artifacts::probe(2).install(&path);
    host.event("changed").await;
    // This one has the new set started, and does not wait for the long one.
    assert_eq!(host.get("/").await, "version 2\n");
    assert_eq!(host.log.all(|event| event.kind() == "retired"), []);
    assert_eq!(slow.answer().await.unwrap().text, "version 1\n");
    host.retired(APP, 1).await;
}

#[tokio::test]
async fn a_reader_that_has_stopped_does_not_keep_old_workers() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let args = ["--processes", "2", "--drain", "100ms"];
    let host = site.serve_library("probe", &args).await;
    let mut connection = host.connect().await;
    let mut endless = connection.open("/endless").await;
    client::next(&mut endless).await;
    artifacts::probe(2).install(&path);
    host.retired(APP, 1).await;
    host.nth_event(2, "worker-ended").await;
    assert_eq!(host.get("/").await, "version 2\n");
}

#[tokio::test]
async fn an_artifact_that_is_not_there_does_not_hold_up_those_that_are() {
    let site = Site::new();
    let good = site.install("probe", &artifacts::probe(1));
    let missing = site.library("missing");
    let sources = [&good, &missing].map(|path| path.to_str().unwrap());
    let host = site
        .serve(&[sources[0], sources[1], "--processes", "2"])
        .await;
    assert_eq!(host.get("/fixture-probe/").await, "version 1\n");
    let refused = host.event("refused").await;
    assert_eq!(refused.text("path"), missing.to_str().unwrap());
}

#[tokio::test]
async fn two_apps_of_one_name_are_not_in_one_group_and_the_first_serves() {
    let site = Site::new();
    let one = site.install("one", &artifacts::probe(1));
    let two = site.install("two", &artifacts::probe(2));
    let sources = [(&one, "/one"), (&two, "/two")];
    let sources = sources.map(|(path, mount)| format!("{}={mount}", path.display()));
    let host = site
        .serve(&[&sources[0], &sources[1], "--processes", "2"])
        .await;
    let refused = host.event("refused").await;
    assert_eq!(refused.text("path"), two.to_str().unwrap());
    assert!(refused.text("reason").contains(one.to_str().unwrap()));
    assert!(refused.text("remedy").contains("another name"), "{refused}");
    assert_eq!(host.get("/one/").await, "version 1\n");
    artifacts::probe(3).install(&one);
    host.serving(APP, 2).await;
    assert_eq!(host.get("/one/").await, "version 3\n");
}

#[tokio::test]
async fn a_neighbour_in_the_group_loses_nothing() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let other = site.install("other", &artifacts::library("hello"));
    let host = site.serve_apps(&["--processes", "2"]).await;
    let mut connection = host.connect_http2().await;
    let slow = connection.begin("/fixture-probe/sleep?ms=8000").await;
    artifacts::library("hello").numbered(1).install(&other);
    host.serving("hello", 2).await;
    // It went into the same new set.
    host.serving(APP, 2).await;
    assert_eq!(host.get("/fixture-probe/").await, "version 1\n");
    assert_eq!(slow.answer().await.unwrap().text, "version 1\n");
    host.retired(APP, 1).await;
    artifacts::probe(2).install(&path);
    host.serving(APP, 3).await;
    assert_eq!(host.get("/hello/").await, "hello\n");
}

#[tokio::test]
async fn a_change_that_waits_for_a_request_is_not_forgotten_when_a_neighbour_is_deployed() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let other = site.install("other", &artifacts::library("hello"));
    let lazy = format!("{APP}.reload=on-request");
    let host = site
        .serve_apps(&["--processes", "1", "--option", &lazy])
        .await;
    artifacts::probe(2).install(&path);
    host.event("changed").await;
    artifacts::library("hello").numbered(1).install(&other);
    host.serving(APP, 2).await;
    assert_eq!(host.get("/fixture-probe/").await, "version 2\n");
}

#[tokio::test]
async fn what_fails_in_a_new_set_leaves_the_old_one_and_says_whose_fault_it_was() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let set = r#"fixture-probe.setup-of={"2"="error","3"="panic"}"#;
    let host = site
        .serve_library("probe", &["--processes", "2", "--set", set])
        .await;
    let before = pid(&host.connect().await.json("/info").await);
    for (version, reason) in [(2, "was told to fail"), (3, "was told to panic")] {
        artifacts::probe(version).install(&path);
        let told = host
            .log
            .wait_for("refused", |event| {
                let is_host = event.number("worker").is_none();
                is_host && event.kind() == "refused" && event.text("reason").contains(reason)
            })
            .await;
        assert!(told.text("reason").contains("group `default`"), "{told}");
        assert_eq!(host.get("/").await, "version 1\n");
    }
    assert!(std::path::Path::new(&format!("/proc/{before}")).exists());
    artifacts::probe(4).install(&path);
    until("version 4", async || {
        (host.get("/").await == "version 4\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_new_set_of_which_one_worker_fails_leaves_all_that_the_old_one_needs() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let mark = site.path().join("mark");
    let set = format!(
        "fixture-probe.setup-of={{\"2\"=\"error-once:{}\"}}",
        mark.display()
    );
    let args = ["--processes", "4", "--set", &set];
    let host = site.serve_library("probe", &args).await;
    let before = host.staged();
    artifacts::probe(2).install(&path);
    host.event("refused").await;
    // The others of the new set have gone, and have taken nothing with them.
    until("the end of the new set", async || {
        let staged = host.staged();
        let left = before.iter().all(|file| staged.contains(file));
        assert!(left, "{before:?} and now {staged:?}");
        (staged.len() == before.len()).then_some(())
    })
    .await;
    for _ in 0..4 {
        assert_eq!(host.get("/").await, "version 1\n");
    }
    artifacts::probe(3).install(&path);
    let mut connection = host.connect().await;
    host.until_text(&mut connection, "/", "version 3\n").await;
}

#[tokio::test]
async fn workers_are_replaced_after_so_many_requests_whatever_the_load() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let args = ["--processes", "1", "--group-option", "max-requests=5"];
    let host = site.serve_library("probe", &args).await;
    let load = Load::start(&host, 4).await;
    host.nth_event(3, "worker-started").await;
    let tally = load.end().await;
    assert_eq!(tally.failures, Vec::<String>::new());
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
}

#[tokio::test]
async fn workers_that_nobody_needs_end_and_come_with_the_next_request() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let args = [
        "--processes",
        "2",
        "--group-option",
        "inactivity-timeout=200ms",
    ];
    let host = site.serve_library("probe", &args).await;
    host.nth_event(2, "worker-sleeps").await;
    host.nth_event(2, "worker-ended").await;
    assert_eq!(host.get("/").await, "version 1\n");
    host.nth_event(3, "worker-sleeps").await;
    assert_eq!(host.get("/").await, "version 1\n");
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended_though_no_other_option_is_set() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let mut args = vec![
        "--processes",
        "1",
        "--group-option",
        "request-timeout=300ms",
    ];
    for none in [
        "hang-timeout=0s",
        "graceful-timeout=0s",
        "shutdown-timeout=0s",
    ] {
        args.extend(["--group-option", none]);
    }
    let host = site.serve_library("probe", &args).await;
    let mut connection = host.connect().await;
    let answer = connection.get("/hang").await;
    assert_eq!(answer.status, 504, "{answer:?}");
    assert_eq!(
        host.event("not-answered").await.text("code"),
        "request-timeout"
    );
    // The worker has been told, and goes on.
    let mut connection = host.connect().await;
    until("the request's end", async || {
        (connection.text("/drops").await == "1\n").then_some(())
    })
    .await;
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
}

fn pid(info: &Value) -> u64 {
    info["pid"].as_u64().unwrap()
}
