//! A changed configuration of process groups, taken while the host serves.

use std::collections::BTreeSet;

use replug_tests::{
    artifacts,
    configured::write,
    host::{Host, Site},
    visitors::Visitors,
};
use rustix::process::Signal;
use serde_json::Value;

const SERVER: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\n";
const ONE: &str = "[apps.one]\npath = \"apps/libone.so\"\ngroup = \"blue\"\n";
const TWO: &str = "[apps.two]\npath = \"apps/libtwo.so\"\ngroup = \"green\"\n";
const BLUE: &str = "[groups.blue]\nprocesses = 2\nthreads = 1\n";
const GREEN: &str = "[groups.green]\nthreads = 1\n";

fn configure(site: &Site, parts: &[&str]) {
    write(site, &(SERVER.to_owned() + &parts.concat()));
}

/// A host of two groups: `blue` has version 1, `green` version 2.
async fn two_groups(site: &Site) -> Host {
    site.install("one", &artifacts::probe(1));
    site.install("two", &artifacts::probe(2));
    configure(site, &[ONE, TWO, BLUE, GREEN]);
    site.serve(&[]).await
}

async fn apply(site: &Site, code: i32) -> String {
    let ended = site.ask(&["apply"]).await;
    assert_eq!(ended.code, Some(code), "{ended:?}");
    ended.stdout + &ended.stderr
}

/// The processes that an app has, and its generation.
async fn workers(site: &Site, app: &str) -> (BTreeSet<u64>, u64) {
    let status = site.status().await;
    let mut apps = status["apps"].as_array().unwrap().iter();
    let found = apps.find(|it| it["name"] == app).expect("the app");
    let pids = found["workers"].as_array().unwrap().iter();
    let generation = found["serving"]["generation"].as_u64().unwrap();
    (
        pids.map(|it| it["pid"].as_u64().unwrap()).collect(),
        generation,
    )
}

#[tokio::test]
async fn a_group_that_does_not_change_keeps_its_processes_while_another_changes_under_load() {
    let site = Site::new();
    let host = two_groups(&site).await;
    let blue = Visitors::start(&host.address, "/one/", "version 1\n", 1);
    let green = Visitors::start(&host.address, "/two/", "version 2\n", 1);
    let stays = workers(&site, "two").await;
    let mut before = workers(&site, "one").await;
    assert_eq!((before.0.len(), before.1, stays.0.len()), (2, 1, 1));
    for processes in [3, 1, 2] {
        let changed = BLUE.replace('2', &processes.to_string());
        configure(&site, &[ONE, TWO, &changed, GREEN]);
        let told = apply(&site, 0).await;
        assert_eq!(told, "applied:\n  changed group blue (processes)\n");
        let after = workers(&site, "one").await;
        assert_eq!((after.0.len(), after.1), (processes, before.1 + 1));
        assert!(after.0.is_disjoint(&before.0), "{before:?} {after:?}");
        before = after;
        blue.more_answers(20).await;
    }
    // An option that needs no new workers.
    configure(&site, &[ONE, "guard = \"1s\"\n", TWO, BLUE, GREEN]);
    apply(&site, 0).await;
    assert_eq!(workers(&site, "one").await, before);
    assert_eq!(workers(&site, "two").await, stays);
    for visitors in [blue, green] {
        assert_eq!(visitors.end().await.failures, Vec::<String>::new());
    }
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
}

#[tokio::test]
async fn apps_move_between_groups_and_the_host_without_a_lost_request() {
    let site = Site::new();
    let host = two_groups(&site).await;
    let visitors = Visitors::start(&host.address, "/one/", "version 1\n", 1);
    let mode = async |app: &str| {
        let info = host.connect().await.json(&format!("/{app}/info")).await;
        (info["mode"].clone(), info["group"].clone())
    };
    let check = |found: (Value, Value), group: Option<&str>| match group {
        Some(group) => assert_eq!(found, ("daemon".into(), group.into())),
        None => assert_eq!(found.0, "embedded"),
    };
    // The first: a group that is new at the same time.
    let places = [
        ("red", "[groups.red]\nthreads = 1\n"),
        ("", ""),
        ("green", ""),
        ("blue", BLUE),
    ];
    for (group, more) in places {
        let moved = ONE.replace("blue", group);
        configure(&site, &[&moved, TWO, GREEN, more]);
        let told = apply(&site, 0).await;
        assert!(told.contains("changed app one (group)\n"), "{told}");
        check(mode("one").await, Some(group).filter(|it| !it.is_empty()));
        check(mode("two").await, Some("green"));
        visitors.more_answers(20).await;
    }
    assert_eq!(visitors.end().await.failures, Vec::<String>::new());
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
}

#[tokio::test]
async fn workers_that_do_not_become_ready_keep_all_else_from_changing() {
    let site = Site::new();
    let host = two_groups(&site).await;
    let before = (workers(&site, "one").await, workers(&site, "two").await);
    let settings = "[apps.one.settings]\na = 1\n";
    let fails = "[apps.two.settings]\nsetup = \"error\"\n";
    configure(&site, &[ONE, settings, TWO, fails, BLUE, GREEN]);
    let told = apply(&site, 4).await;
    assert!(told.contains("two: group `green`: "), "{told}");
    assert!(told.contains("the probe was told to fail"), "{told}");
    let after = (workers(&site, "one").await, workers(&site, "two").await);
    assert_eq!(before, after);
    // Its other new workers go, too.
    host.retired("one", 2).await;
    assert_eq!(
        host.connect().await.json("/one/settings").await,
        serde_json::json!({})
    );
    configure(&site, &[ONE, settings, TWO, BLUE, GREEN]);
    apply(&site, 0).await;
    assert_eq!(
        host.connect().await.json("/one/settings").await,
        serde_json::json!({"a": 1})
    );
    assert_eq!(workers(&site, "two").await, before.1);
}

#[tokio::test]
async fn a_group_that_loses_an_app_keeps_its_processes_and_one_that_gains_one_does_not() {
    let site = Site::new();
    let host = two_groups(&site).await;
    let three = "[apps.three]\npath = \"apps/libthree.so\"\ngroup = \"green\"\n";
    site.install("three", &artifacts::probe(3));
    let alone = workers(&site, "two").await;
    configure(&site, &[ONE, TWO, three, BLUE, GREEN]);
    apply(&site, 0).await;
    let together = workers(&site, "two").await;
    assert!(alone.0.is_disjoint(&together.0));
    assert_eq!(workers(&site, "three").await.0, together.0);
    assert_eq!(host.get("/three/").await, "version 3\n");
    let mut connection = host.connect_http2().await;
    let in_flight = connection.begin("/three/sleep?ms=500").await;
    configure(&site, &[ONE, TWO, BLUE, GREEN]);
    apply(&site, 0).await;
    assert_eq!(host.connect().await.get("/three/").await.status, 404);
    assert_eq!(in_flight.answer().await.unwrap().text, "version 3\n");
    assert_eq!(workers(&site, "two").await, together);
    // With the last app, and the group itself, its workers end.
    configure(&site, &[ONE, BLUE]);
    apply(&site, 0).await;
    host.retired("two", 2).await;
    assert_eq!(host.get("/one/").await, "version 1\n");
    for pid in together.0 {
        replug_tests::until("the worker's end", async || {
            (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_deploy_into_a_group_that_changes_is_taken_by_its_new_workers() {
    let site = Site::new();
    let host = two_groups(&site).await;
    let gate = site.path().join("gate");
    let waits = format!(
        "[apps.two.settings]\nsetup = \"until:{}\"\n",
        gate.display()
    );
    let changed = BLUE.replace('2', "1");
    configure(&site, &[ONE, TWO, &waits, &changed, GREEN]);
    host.signal(Signal::HUP);
    replug_tests::until("the load", async || {
        let status = site.status().await;
        status["apps"][1]["loading"]
            .as_bool()
            .unwrap()
            .then_some(())
    })
    .await;
    artifacts::probe(4).install(&site.library("one"));
    std::fs::write(&gate, "").unwrap();
    host.event("applied").await;
    let mut connection = host.connect().await;
    host.until_text(&mut connection, "/one/", "version 4\n")
        .await;
    let (pids, _) = workers(&site, "one").await;
    assert_eq!(pids.len(), 1);
    assert_eq!(host.get("/two/").await, "version 2\n");
}

#[tokio::test]
async fn state_goes_from_worker_to_worker_and_an_app_that_must_be_alone_is_had_back() {
    let site = Site::new();
    site.install("one", &artifacts::probe(1));
    site.install("two", &artifacts::probe(2));
    let state = "[apps.one.settings]\nstate = {schema = 1}\n";
    let blue = BLUE.replace('2', "1");
    let alone = format!("{TWO}overlap = false\n");
    configure(&site, &[ONE, state, &alone, &blue, GREEN]);
    let host = site.serve(&[]).await;
    host.connect().await.post("/one/count", "").await;
    let fails = "[apps.two.settings]\nsetup = \"error\"\n";
    configure(
        &site,
        &[ONE, state, &alone, fails, &blue, "nice = 1\n", GREEN],
    );
    apply(&site, 4).await;
    let mut connection = host.connect().await;
    host.until_text(&mut connection, "/two/", "version 2\n")
        .await;
    assert_eq!(connection.text("/one/count").await, "1\n");
    connection.post("/one/count", "").await;
    let settings = "[apps.two.settings]\na = 1\n";
    configure(
        &site,
        &[ONE, state, &alone, settings, &blue, "nice = 1\n", GREEN],
    );
    apply(&site, 0).await;
    assert_eq!(connection.text("/one/count").await, "2\n");
    host.until_text(&mut connection, "/two/settings", "{\"a\":1}")
        .await;
}
