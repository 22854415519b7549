//! A changed configuration of groups that listen themselves, taken while they serve.

use std::collections::BTreeSet;

use replug_tests::{
    Connection, artifacts,
    configured::write,
    host::{Host, Site},
    visitors::Visitors,
};

const REST: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\n\
    [apps.one]\npath = \"apps/libone.so\"\ngroup = \"web\"\n";
const GROUP: &str = "[groups.web]\nthreads = 1\nlisten = [\"127.0.0.1:0\", \"unix:web.sock\"]\n";

/// A host of one app in a group that listens itself, and the group's own address.
async fn listening(site: &Site) -> (Host, String) {
    site.install("one", &artifacts::probe(1));
    write(site, &[REST, GROUP, "processes = 2\n"].concat());
    let host = site.serve(&[]).await;
    let addresses = host.log.all(|event| event.kind() == "listening");
    let own = addresses[1].text("address").to_owned();
    (host, own)
}

async fn apply(site: &Site, parts: &[&str]) -> (Option<i32>, String) {
    write(site, &parts.concat());
    let ended = site.ask(&["apply"]).await;
    (ended.code, ended.stdout + &ended.stderr)
}

async fn workers(site: &Site) -> BTreeSet<u64> {
    let status = site.status().await;
    let workers = status["apps"][0]["workers"].as_array().unwrap().clone();
    workers
        .iter()
        .map(|it| it["pid"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn new_workers_take_over_the_sockets_and_no_connection_is_lost() {
    let site = Site::new();
    let (mut host, own) = listening(&site).await;
    let visitors = Visitors::start(&own, "/one/", "version 1\n", 2);
    let mut kept = Connection::http1(&own).await;
    let mut unix = Connection::http1(&format!("unix:{}/web.sock", site.path().display())).await;
    let mut before = workers(&site).await;
    for processes in [3, 1, 4, 2] {
        assert_eq!(kept.text("/one/").await, "version 1\n");
        let changed = format!("processes = {processes}\n");
        let told = apply(&site, &[REST, GROUP, &changed]).await;
        let done = "applied:\n  changed group web (processes)\n".to_owned();
        assert_eq!(told, (Some(0), done));
        let after = workers(&site).await;
        assert_eq!(after.len(), processes);
        assert!(after.is_disjoint(&before), "{before:?} {after:?}");
        for connection in [&mut kept, &mut unix] {
            let pid = connection.json("/one/info").await["pid"].as_u64();
            assert!(after.contains(&pid.unwrap()), "{pid:?} {after:?}");
        }
        visitors.more_answers(40).await;
        before = after;
    }
    let visits = visitors.end().await;
    assert_eq!(visits.failures, Vec::<String>::new());
    for kind in ["worker-died", "connections-cut"] {
        assert_eq!(host.log.all(|event| event.kind() == kind), []);
    }
    assert!(host.terminate().await.success());
    assert!(!site.path().join("web.sock").exists());
}

#[tokio::test]
async fn what_fails_leaves_the_old_workers_accepting() {
    let site = Site::new();
    let (host, own) = listening(&site).await;
    let visitors = Visitors::start(&own, "/one/", "version 1\n", 1);
    let before = workers(&site).await;
    // Its workers are ready, and all is refused for another app that comes after them.
    let other = "[apps.two]\npath = \"apps/libtwo.so\"\nmount = \"/one\"\n";
    site.install("two", &artifacts::probe(2));
    let broken = "[apps.one.settings]\nsetup = \"error\"\n";
    for more in [other, broken] {
        let (code, told) = apply(&site, &[REST, GROUP, "processes = 3\n", more]).await;
        assert_eq!(code, Some(4), "{told}");
        assert_eq!(workers(&site).await, before);
        visitors.more_answers(40).await;
    }
    assert_eq!(visitors.end().await.failures, Vec::<String>::new());
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
}

#[tokio::test]
async fn other_addresses_of_a_group_are_refused_with_what_takes_them() {
    let site = Site::new();
    let (_host, own) = listening(&site).await;
    let before = workers(&site).await;
    let elsewhere = GROUP.replace("127.0.0.1:0", "127.0.0.1:9");
    let nowhere = "[groups.web]\nthreads = 1\n";
    let new = "[groups.more]\nlisten = [\"unix:more.sock\"]\n";
    for (group, more, name) in [
        (&elsewhere[..], "", "web"),
        (nowhere, "", "web"),
        (GROUP, new, "more"),
    ] {
        let (code, told) = apply(&site, &[REST, group, "processes = 2\n", more]).await;
        assert_eq!(code, Some(4), "{told}");
        let wanted = format!("only a restart takes another `groups.{name}.listen`");
        assert!(told.contains(&wanted), "{told}");
        assert!(told.contains("replug restart"), "{told}");
        assert_eq!(workers(&site).await, before);
    }
    assert!(!site.path().join("more.sock").exists());
    let mut connection = Connection::http1(&own).await;
    assert_eq!(connection.text("/one/").await, "version 1\n");
}
