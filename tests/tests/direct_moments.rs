//! Direct groups at moments that are easily got wrong: an upgraded connection at a deploy, a host
//! that is killed while it switches, many connections at once.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use futures_util::{StreamExt as _, stream};
use replug_tests::{
    Connection, artifacts,
    configured::write,
    direct::direct,
    host::Site,
    in_time,
    load::Load,
    socket::{End, Socket},
    until,
};
use rustix::process::Signal;

const APP: &str = "fixture-probe";

#[tokio::test]
async fn a_websocket_stays_with_its_worker_until_it_closes() {
    let site = Site::new();
    let host = direct(&site, "2", &[]).await;
    let mut old = Socket::open(&host, "/ws").await;
    assert_eq!(old.ask("a").await, "version 1: a");
    for version in 2..=3 {
        artifacts::probe(version).install(&site.library("probe"));
        host.serving(APP, version).await;
        let mut new = Socket::open(&host, "/ws").await;
        assert_eq!(new.ask("b").await, format!("version {version}: b"));
        assert_eq!(old.ask("c").await, "version 1: c");
    }
    assert_eq!(
        host.log.all(|event| event.is("retired", APP, 1)),
        [],
        "it is still there"
    );
    old.close().await;
    host.retired(APP, 1).await;
}

#[tokio::test]
async fn a_websocket_is_cut_when_the_time_of_its_worker_is_over() {
    let site = Site::new();
    let host = direct(&site, "2", &["--group-option=graceful-timeout=300ms"]).await;
    let mut socket = Socket::open(&host, "/ws").await;
    assert_eq!(socket.ask("a").await, "version 1: a");
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    assert!(matches!(socket.end().await, End::Cut));
    host.retired(APP, 1).await;
}

#[tokio::test]
async fn an_app_can_say_goodbye_to_those_who_came_to_its_worker() {
    let site = Site::new();
    let host = direct(&site, "2", &[]).await;
    let mut socket = Socket::open(&host, "/ws?polite=1").await;
    assert_eq!(socket.ask("a").await, "version 1: a");
    artifacts::probe(2).install(&site.library("probe"));
    assert_eq!(socket.hear().await, "bye");
    assert!(matches!(socket.end().await, End::Closed(_)));
    host.retired(APP, 1).await;
}

/// Processes that were started in that folder, and have not ended.
fn processes_in(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir("/proc").unwrap();
    let paths = all.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    paths
        .filter(|path| {
            let is_there = fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == folder);
            // Of one that has ended and was not waited for, it cannot be read.
            is_there && fs::read_link(path.join("exe")).is_ok()
        })
        .collect()
}

#[tokio::test]
async fn a_host_that_is_killed_while_it_switches_under_load_leaves_nothing() {
    let site = Site::new();
    artifacts::probe(1).install(&site.library("probe"));
    write(
        &site,
        "[plugins]\ndirs = [\"apps\"]\n[apps.fixture-probe]\ngroup = \"web\"\nmount = \"/\"\n\
         settings = { state = { schema = 1 } }\n\
         [groups.web]\nprocesses = 3\nlisten = [\"127.0.0.1:0\", \"unix:web.sock\"]\n",
    );
    let folder = site.path().canonicalize().unwrap();
    let mut version = 1;
    // What is waited for before the kill, and how many answers after it.
    let moments = [
        (None, 0),
        (None, 40),
        (Some("pausing"), 0),
        (Some("serving"), 0),
        (Some("serving"), 20),
        (Some("retired"), 0),
    ];
    for (event, answers) in moments {
        let mut host = site.serve(&[]).await;
        let addresses = host.log.all(|event| event.kind() == "listening");
        let own = addresses[1].text("address").to_owned();
        host.address.clone_from(&own);
        let load = Load::start(&host, 4).await;
        let newcomers = Load::start_new_each(&host, 4, &load);
        load.more_answers(20).await;
        let before = host.log.all(|it| Some(it.kind()) == event).len();
        version += 1;
        artifacts::probe(version).install(&site.library("probe"));
        if let Some(event) = event {
            host.nth_event(before + 1, event).await;
        }
        if answers > 0 {
            newcomers.more_answers(answers).await;
        }
        host.signal(Signal::KILL);
        assert!(!host.exit().await.success());
        until("the workers' end", async || {
            processes_in(&folder).is_empty().then_some(())
        })
        .await;
        let refused = in_time("a refusal", Connection::try_http1(&own)).await;
        assert!(refused.is_err(), "somebody listens");
        until("the copies' end", async || {
            let mut left = fs::read_dir(site.path().join("staging")).unwrap();
            left.next().is_none().then_some(())
        })
        .await;
        for load in [load, newcomers] {
            // What was under way has broken; none of it was mixed or old.
            let failures = load.end().await.failures;
            let bad = |why: &&String| why.contains("version") && !why.contains("broken");
            assert_eq!(failures.iter().find(bad), None);
        }
        drop(host);
        let host = site.serve(&[]).await;
        let unix = host.log.all(|event| event.kind() == "listening")[2].clone();
        let mut connection = Connection::http1(unix.text("address")).await;
        assert_eq!(connection.text("/").await, format!("version {version}\n"));
        drop(host);
        until("its workers' end", async || {
            processes_in(&folder).is_empty().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn connections_reach_all_workers_and_all_are_answered() {
    const CONNECTIONS: usize = 400;
    let site = Site::new();
    let host = direct(&site, "4", &[]).await;
    let pid = async |connection: &mut Connection| {
        let info = connection.json("/info").await;
        info["pid"].as_u64().unwrap()
    };
    let spread = |pids: &[u64]| {
        let mut of = BTreeMap::<u64, usize>::new();
        for pid in pids {
            *of.entry(*pid).or_default() += 1;
        }
        of.into_values().collect::<Vec<_>>()
    };
    // One after the other, and kept: sooner or later each worker has some.
    let mut kept = Vec::new();
    let mut pids = Vec::new();
    until("connections to all workers", async || {
        let mut connection = host.connect().await;
        pids.push(pid(&mut connection).await);
        kept.push(connection);
        (pids.len() >= CONNECTIONS && spread(&pids).len() == 4).then_some(())
    })
    .await;
    println!("one after the other, kept: {:?}", spread(&pids));
    drop(kept);
    // All at once.
    let all = stream::iter(0..CONNECTIONS).map(async |_| {
        let mut connection = host.connect().await;
        let pid = pid(&mut connection).await;
        (connection, pid)
    });
    let all: Vec<_> = in_time("all", all.buffer_unordered(CONNECTIONS).collect()).await;
    let pids: Vec<u64> = all.iter().map(|(_, pid)| *pid).collect();
    println!("at once, kept: {:?}", spread(&pids));
    drop(all);
    // As clients that connect anew for each request.
    let all = stream::iter(0..CONNECTIONS).map(async |_| pid(&mut host.connect().await).await);
    let pids: Vec<u64> = in_time("all", all.buffer_unordered(8).collect()).await;
    println!("anew for each request, 8 at a time: {:?}", spread(&pids));
}
