//! State that is handed over while workers take connections themselves: what a request has changed
//! is in it.

use std::collections::BTreeMap;

use replug_tests::{
    artifacts,
    configured::write,
    host::{Host, Site},
    process, until,
    visitors::Visitors,
};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const APP: &str = "fixture-probe";

/// A probe that keeps its count, in so many workers that take connections themselves.
async fn counting(site: &Site, processes: &str, args: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    let state = format!("{APP}.state={{schema=1}}");
    let mut all = vec!["--guard", "0s", "--set", &state];
    all.extend(["--processes", processes, "--direct"]);
    all.extend(args);
    site.serve_library("probe", &all).await
}

/// What each worker says of itself, by its number.
async fn workers(host: &Host, processes: usize) -> BTreeMap<u64, Value> {
    let mut found = BTreeMap::new();
    until("an answer of each worker", async || {
        let told = host.connect().await.json("/count/whose").await;
        found.insert(told["worker"].as_u64().unwrap(), told);
        (found.len() == processes).then_some(())
    })
    .await;
    found
}

async fn total(host: &Host, processes: usize) -> u64 {
    let workers = workers(host, processes).await;
    let counts = workers.values().map(|told| told["count"].as_u64().unwrap());
    counts.sum()
}

async fn post(host: &Host, times: u64) {
    let mut connection = host.connect().await;
    for _ in 0..times {
        assert_eq!(connection.post("/count", "").await.status, 200);
    }
}

#[tokio::test]
async fn no_count_is_lost_and_no_request_fails_in_many_deploys_under_load() {
    const DEPLOYS: u64 = 10;
    let site = Site::new();
    let mut host = counting(&site, "2", &[]).await;
    let visitors = Visitors::start_posting(&host.address, "/count", 4);
    for version in 2..=DEPLOYS + 1 {
        visitors.more_answers(50).await;
        artifacts::probe(version).install(&site.library("probe"));
        host.serving(APP, version).await;
    }
    visitors.more_answers(50).await;
    let visits = visitors.end().await;
    println!("{visits:?}");
    assert_eq!(visits.failures, Vec::<String>::new());
    assert_eq!(total(&host, 2).await, visits.answers);
    for kind in ["worker-died", "connections-cut", "thread-stuck"] {
        assert_eq!(host.log.all(|event| event.kind() == kind), []);
    }
    assert_eq!(host.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_request_under_way_ends_before_the_state_goes_and_others_wait() {
    let site = Site::new();
    let host = counting(&site, "1", &[]).await;
    post(&host, 3).await;
    let mut slow = host.connect_http2().await;
    let slow = slow.begin("/sleep?ms=1500").await;
    artifacts::probe(2).install(&site.library("probe"));
    host.event("pausing").await;
    // This one waits for the next worker, which has the count by then.
    let mut waiting = host.connect().await;
    let waiting = tokio::spawn(async move { waiting.post("/count", "").await });
    assert_eq!(slow.answer().await.unwrap().text, "version 1\n");
    host.serving(APP, 2).await;
    assert_eq!(waiting.await.unwrap().text, "4\n");
    assert_eq!(host.get("/count").await, "4\n");
}

#[tokio::test]
async fn those_who_have_stood_aside_in_vain_take_connections_again() {
    let site = Site::new();
    let refuses = format!("{APP}.restore-of={{2=\"refuse\",4=\"refuse\"}}");
    let host = counting(&site, "2", &["--set", &refuses]).await;
    let visitors = Visitors::start_posting(&host.address, "/count", 2);
    for version in 2..=5 {
        visitors.more_answers(20).await;
        artifacts::probe(version).install(&site.library("probe"));
        if version % 2 == 0 {
            host.nth_event(usize::try_from(version / 2).unwrap(), "refused")
                .await;
        } else {
            until("that version", async || {
                (host.get("/").await == format!("version {version}\n")).then_some(())
            })
            .await;
        }
    }
    visitors.more_answers(20).await;
    let visits = visitors.end().await;
    assert_eq!(visits.failures, Vec::<String>::new());
    assert_eq!(total(&host, 2).await, visits.answers);
}

#[tokio::test]
async fn an_app_that_does_not_come_to_an_end_in_time_is_saved_as_it_is_then() {
    let site = Site::new();
    let host = counting(&site, "1", &["--drain", "300ms"]).await;
    post(&host, 2).await;
    let mut hanging = host.connect_http2().await;
    let hanging = hanging.begin("/hang").await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    assert_eq!(host.get("/count").await, "2\n");
    hanging.cancel();
    host.retired(APP, 1).await;
}

#[tokio::test]
async fn a_worker_that_is_replaced_alone_leaves_all_that_it_has_counted() {
    let site = Site::new();
    let args = ["--group-option", "max-requests=40"];
    let host = counting(&site, "2", &args).await;
    let visitors = Visitors::start_posting(&host.address, "/count", 2);
    host.nth_event(4, "worker-ended").await;
    // One that is told to end by somebody else, too.
    let told = &workers(&host, 2).await[&0]["pid"];
    // It may be about to end by itself.
    let _ = kill_process(process::pid(told.as_u64().unwrap()), Signal::TERM);
    host.nth_event(6, "worker-ended").await;
    let visits = visitors.end().await;
    assert_eq!(visits.failures, Vec::<String>::new());
    assert_eq!(total(&host, 2).await, visits.answers);
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
}

#[tokio::test]
async fn an_app_that_is_removed_and_put_back_has_all_that_was_counted() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    // The workers stay, for this one.
    site.install("other", &artifacts::library("hello"));
    let state = format!("{APP}.state={{schema=1}}");
    let host = site
        .serve_apps(&["--processes", "1", "--direct", "--set", &state])
        .await;
    let path = format!("/{APP}/count");
    let mut connection = host.connect().await;
    for _ in 0..3 {
        assert_eq!(connection.post(&path, "").await.status, 200);
    }
    std::fs::remove_file(site.library("probe")).unwrap();
    host.event("unmounted").await;
    until("its end in the worker", async || {
        (connection.get(&path).await.status == 404).then_some(())
    })
    .await;
    artifacts::probe(2).install(&site.library("probe"));
    until("the count", async || {
        (connection.get(&path).await.text == "3\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_changed_configuration_takes_the_state_along_and_one_that_fails_leaves_it() {
    let site = Site::new();
    for name in ["probe", "other"] {
        site.install(name, &artifacts::probe(1));
    }
    let config = |processes: u32, more: &str| {
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n\
             [apps.count]\npath = \"apps/libprobe.so\"\ngroup = \"web\"\nmount = \"/\"\n\
             settings = {{ state = {{ schema = 1 }} }}\n\
             [groups.web]\nprocesses = {processes}\nlisten = [\"127.0.0.1:0\"]\n{more}"
        );
        write(&site, &text);
    };
    config(2, "");
    let mut host = site.serve(&[]).await;
    let addresses = host.log.all(|event| event.kind() == "listening");
    addresses[1].text("address").clone_into(&mut host.address);
    let visitors = Visitors::start_posting(&host.address, "/count", 2);
    // New workers have the state, and then all of it fails for an app that is looked at with them,
    // or comes after them.
    let fails = "[apps.other]\npath = \"apps/libother.so\"\ngroup = \"web\"\n\
                 settings = { setup = \"error\" }\n";
    let is_taken = "[apps.other]\npath = \"apps/libother.so\"\nmount = \"/\"\n";
    for (processes, more, code) in [
        (3, "", 0),
        (2, fails, 4),
        (2, is_taken, 4),
        (4, "", 0),
        (4, fails, 4),
    ] {
        visitors.more_answers(20).await;
        config(processes, more);
        let ended = site.ask(&["apply"]).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
    }
    visitors.more_answers(20).await;
    let visits = visitors.end().await;
    assert_eq!(visits.failures, Vec::<String>::new());
    assert_eq!(total(&host, 4).await, visits.answers);
    assert_eq!(host.log.all(|event| event.kind() == "connections-cut"), []);
}

#[tokio::test]
async fn what_of_a_pipeline_is_answered_is_counted() {
    const EACH: usize = 40;
    let site = Site::new();
    let host = counting(&site, "2", &[]).await;
    let one = "POST /count HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    let mut client = TcpStream::connect(&host.address).await.unwrap();
    let mut answered = 0;
    for version in 2..=4 {
        client.write_all(one.repeat(EACH).as_bytes()).await.unwrap();
        artifacts::probe(version).install(&site.library("probe"));
        let mut text = String::new();
        until("all answers", async || {
            let mut some = [0; 4096];
            let read = client.read(&mut some).await.unwrap();
            assert!(read > 0, "closed after {text}");
            text += str::from_utf8(&some[..read]).unwrap();
            // The last one with its body.
            let whole = text.ends_with('\n') && text.matches("HTTP/1.1 ").count() == EACH;
            whole.then_some(())
        })
        .await;
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), EACH, "{text}");
        answered += EACH as u64;
        host.serving(APP, version).await;
    }
    assert_eq!(total(&host, 2).await, answered);
}
