//! What apps in worker processes register with the host, and what it calls by the clock.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use replug_tests::{
    artifacts,
    configured::write,
    host::{Host, Site},
    until,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const APP: &str = "fixture-probe";

async fn registry(site: &Site) -> Vec<Value> {
    let ended = site.ask(&["registry", "--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

fn keys(entries: &[Value]) -> Vec<&str> {
    let keys = entries.iter().map(|entry| entry["key"].as_str().unwrap());
    keys.collect()
}

/// Apps `one` of a group of four workers, `other` of another group, and `here` of the host itself.
async fn three_apps(site: &Site, one: &str, other: &str, here: &str) -> Host {
    let mut text = "[server]\nlisten = [\"127.0.0.1:0\"]\n[defaults]\nguard = \"0s\"\n".to_owned();
    for (name, group, settings) in [
        ("one", "four", one),
        ("other", "two", other),
        ("here", "", here),
    ] {
        let path = site.install(name, &artifacts::probe(1));
        text += &format!(
            "[apps.{name}]\npath = {path:?}\ngroup = \"{group}\"\n[apps.{name}.settings]\n{settings}\n",
        );
    }
    text += "[groups.four]\nprocesses = 4\n[groups.two]\nprocesses = 2\n";
    write(site, &text);
    site.serve(&[]).await
}

#[tokio::test]
async fn what_four_workers_register_stands_once_and_apps_anywhere_read_it() {
    let site = Site::new();
    let one = "register = [{kind = \"menu\", key = \"Shop\", value = \"/shop\"}, \
               {kind = \"menu\", key = \"Old\", value = 1, versions = [1]}, \
               {kind = \"menu\", key = \"New\", value = 2, versions = [2]}]\n\
               routes = [\"/extra/deep\"]";
    let host = three_apps(&site, one, "", "").await;
    let all = registry(&site).await;
    assert_eq!(keys(&all), ["/extra/deep", "Shop", "Old"], "{all:?}");
    assert!(
        all.iter().all(|entry| entry["owners"] == json!(["one"])),
        "{all:?}"
    );
    let seen_by_all = async |expected: Value| {
        for app in ["one", "other", "here"] {
            // On a connection of its own each time: another worker may answer.
            until("the entries", async || {
                let mut connection = host.connect().await;
                let path = format!("/{app}/registrations?kind=menu");
                (connection.json(&path).await == expected).then_some(())
            })
            .await;
        }
    };
    let entry = |key: &str, value: Value| json!({"key": key, "value": value, "owners": ["one"]});
    let shop = entry("Shop", json!("/shop"));
    seen_by_all(json!([shop, entry("Old", json!(1))])).await;
    let mount = host.get("/extra/deep/mount?x=1").await;
    assert_eq!(mount, "/extra/deep /extra/deep/mount?x=1\n");
    artifacts::probe(2).install(&site.library("one"));
    host.retired("one", 1).await;
    let all = registry(&site).await;
    assert_eq!(keys(&all), ["/extra/deep", "Shop", "New"], "{all:?}");
    seen_by_all(json!([shop, entry("New", json!(2))])).await;
    assert_eq!(host.get("/extra/deep").await, "version 2\n");
    fs::remove_file(site.library("one")).unwrap();
    host.retired("one", 2).await;
    assert_eq!(registry(&site).await, Vec::<Value>::new());
    seen_by_others_is_empty(&host).await;
}

async fn seen_by_others_is_empty(host: &Host) {
    for app in ["other", "here"] {
        until("no entries", async || {
            let path = format!("/{app}/registrations?kind=menu");
            (host.connect().await.json(&path).await == json!([])).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_key_of_an_app_elsewhere_is_refused_by_its_name_and_the_old_workers_serve_on() {
    let site = Site::new();
    let one = "register = [{kind = \"k\", key = \"x\", value = 1}]";
    let second = "register = [{kind = \"k\", key = \"x\", value = 2, versions = [2]}]";
    let host = three_apps(&site, one, second, second).await;
    for app in ["other", "here"] {
        artifacts::probe(2).install(&site.library(app));
        let refused = host
            .log
            .wait_for("refused", |event| {
                let of_app = event.text("path").contains(&format!("lib{app}"));
                event.kind() == "refused" && event.number("worker").is_none() && of_app
            })
            .await;
        let reason = refused.text("reason").to_owned();
        assert!(
            reason.contains("k `x` is registered by app `one`"),
            "{refused}"
        );
        assert_eq!(host.get(&format!("/{app}/")).await, "version 1\n");
    }
    let all = registry(&site).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["owners"], json!(["one"]), "{all:?}");
}

/// A line of a scheduled call.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    version: u64,
    what: String,
    pid: i32,
}

fn lines(path: &Path) -> Vec<Line> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, _, _, _, version, what, _, pid] = words[..] else {
            panic!("{line:?}");
        };
        Line {
            version: version.parse().unwrap(),
            what: what.to_owned(),
            pid: pid.parse().unwrap(),
        }
    };
    // The last may be written just now.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(line).collect()
}

async fn until_lines(path: &Path, what: &str, enough: impl Fn(&[Line]) -> bool) -> Vec<Line> {
    until(what, async || {
        let lines = lines(path);
        enough(&lines).then_some(lines)
    })
    .await
}

async fn scheduling(site: &Site, processes: &str, schedule: &str, args: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    let log: PathBuf = ticks(site);
    let set = format!("{APP}.schedule=[{{name=\"tick\", pid=true, log={log:?}, {schedule}}}]");
    let mut all = vec!["--processes", processes, "--guard", "0s", "--set", &set];
    all.extend(args);
    site.serve_library("probe", &all).await
}

fn ticks(site: &Site) -> PathBuf {
    site.path().join("ticks")
}

/// The counts of the schedule: done and failed.
async fn counts(site: &Site) -> (u64, u64) {
    let status = site.status().await;
    let schedule = &status["apps"][0]["schedules"][0];
    let number = |name: &str| schedule[name].as_u64().unwrap();
    (number("done"), number("failed"))
}

#[tokio::test]
async fn one_of_four_workers_makes_each_call_and_a_deploy_doubles_none() {
    let site = Site::new();
    let host = scheduling(&site, "4", "every-ms=50, for-ms=10", &[]).await;
    let log = ticks(&site);
    for version in 2..=5 {
        let seen = lines(&log).len();
        until_lines(&log, "more calls", |lines| lines.len() > seen + 4).await;
        artifacts::probe(version).install(&site.library("probe"));
        host.serving(APP, version).await;
    }
    let all = until_lines(&log, "calls of the last version", |lines| {
        lines.iter().filter(|line| line.version == 5).count() >= 6
    })
    .await;
    // Never two at the same time, in whichever processes: each begin is followed by its own end.
    for pair in all.chunks_exact(2) {
        let [begin, end] = pair else { unreachable!() };
        assert_eq!((&*begin.what, &*end.what), ("begin", "end"), "{all:#?}");
        assert_eq!((begin.version, begin.pid), (end.version, end.pid));
    }
    // As many as the host counts.
    let (before, _) = counts(&site).await;
    let all = lines(&log);
    let (after, failed) = counts(&site).await;
    let begun = all.iter().filter(|line| line.what == "begin").count() as u64;
    assert!(begun >= before && begun <= after + 1, "{begun} calls begun");
    assert_eq!(failed, 0);
}

#[tokio::test]
async fn another_worker_takes_the_calls_over_when_the_one_that_made_them_is_killed() {
    let site = Site::new();
    let gate = site.path().join("gate");
    fs::write(&gate, "").unwrap();
    let host = scheduling(&site, "2", &format!("every-ms=50, while={gate:?}"), &[]).await;
    let log = ticks(&site);
    let first = until_lines(&log, "the first call", |lines| !lines.is_empty()).await;
    // In the middle of a call, which fails with it and is not made again.
    kill_process(Pid::from_raw(first[0].pid).unwrap(), Signal::KILL).unwrap();
    host.event("worker-died").await;
    fs::remove_file(&gate).unwrap();
    let all = until_lines(&log, "calls elsewhere", |lines| lines.len() >= 5).await;
    let pids: BTreeSet<i32> = all[1..].iter().map(|line| line.pid).collect();
    assert!(!pids.contains(&first[0].pid), "{all:#?}");
    assert_eq!(all[1].what, "begin");
    let failed = host.event("schedule-failed").await;
    assert!(
        failed.text("message").contains("was ended by signal 9"),
        "{failed}"
    );
    assert_eq!(counts(&site).await.1, 1);
}

#[tokio::test]
async fn a_call_waits_for_a_worker_where_none_is_and_wakes_one_that_sleeps() {
    let site = Site::new();
    let args = ["--group-option", "inactivity-timeout=100ms"];
    let host = scheduling(&site, "1", "every-ms=700, for-ms=300", &args).await;
    let log = ticks(&site);
    // It ends between two calls, and in none.
    host.nth_event(3, "worker-sleeps").await;
    let all = until_lines(&log, "calls", |lines| lines.len() >= 6).await;
    for pair in all.chunks_exact(2) {
        assert_eq!(pair[0].pid, pair[1].pid, "{all:#?}");
        assert_eq!(pair[1].what, "end", "{all:#?}");
    }
    let pids: BTreeSet<i32> = all.iter().map(|line| line.pid).collect();
    assert!(pids.len() >= 2, "{all:#?}");
    assert_eq!(counts(&site).await.1, 0);
}
