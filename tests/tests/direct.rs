//! Workers that take connections themselves, on sockets of their group's own.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::stream;
use replug_tests::{
    Connection, artifacts, client,
    configured::{validate, write},
    direct::direct,
    host::Site,
    in_time,
    load::Load,
    process, until,
    visitors::Visitors,
};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};

const APP: &str = "fixture-probe";

#[tokio::test]
async fn twenty_deploys_lose_no_request_on_kept_or_new_connections_and_mix_no_versions() {
    const DEPLOYS: u64 = 20;
    let site = Site::new();
    let mut host = direct(&site, "4", &[]).await;
    let load = Load::start(&host, 12).await;
    let newcomers = Load::start_new_each(&host, 12, &load);
    for version in 2..=DEPLOYS + 1 {
        artifacts::probe(version).install(&site.library("probe"));
        host.serving(APP, version).await;
        load.more_answers(24).await;
        newcomers.more_answers(24).await;
    }
    for load in [load, newcomers] {
        let tally = load.end().await;
        println!("{tally:?}");
        assert_eq!(tally.failures, Vec::<String>::new());
        assert_eq!(tally.versions.last(), Some(&(DEPLOYS + 1)));
    }
    for kind in ["worker-died", "connections-cut", "thread-stuck"] {
        assert_eq!(host.log.all(|event| event.kind() == kind), []);
    }
    assert_eq!(host.terminate().await.code(), Some(0));
    assert_eq!(host.log.other_lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_kept_connection_goes_on_in_the_next_workers() {
    let site = Site::new();
    let host = direct(&site, "2", &[]).await;
    let mut kept = host.connect().await;
    let info = kept.json("/info?a=b").await;
    assert_eq!(info["mode"], "daemon");
    assert_eq!(info["group"], "default");
    assert_eq!(info["peer"], kept.local.unwrap().to_string());
    assert_eq!(info["original_uri"], "/info?a=b");
    // Nobody but the socket is believed.
    let headers = kept.json("/headers").await;
    assert_eq!(headers.get("replug-forwarded"), None, "{headers}");
    let mut unheard = host.connect().await;
    for version in 2..=4 {
        artifacts::probe(version).install(&site.library("probe"));
        host.serving(APP, version).await;
        let text = format!("version {version}\n");
        assert_eq!(kept.text("/").await, text);
        let body = "x".repeat(100_000);
        assert_eq!(kept.post("/echo", body.clone()).await.text, body);
    }
    assert_eq!(unheard.text("/").await, "version 4\n");
    let now = kept.json("/info").await;
    assert_ne!(now["pid"], info["pid"]);
    assert_eq!(now["peer"], info["peer"]);
}

#[tokio::test]
async fn a_response_ends_on_its_version_and_its_connection_goes_on() {
    let site = Site::new();
    let host = direct(&site, "2", &[]).await;
    let mut download = host.connect().await;
    // More than the sockets hold: it ends when it is read.
    let response = download.open("/source?bytes=30000000").await;
    let mut upload = host.connect().await;
    let (more, chunks) = mpsc::channel::<Bytes>(1);
    let chunks = stream::unfold(chunks, async |mut chunks| {
        Some((chunks.recv().await?, chunks))
    });
    let request = upload
        .request("POST", "/echo")
        .body(client::streamed(chunks));
    more.send("one ".into()).await.unwrap();
    let mut echo = upload.send(request.unwrap()).await;
    assert_eq!(client::next(&mut echo).await, "one ");
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    assert_eq!(host.get("/").await, "version 2\n");
    more.send("two".into()).await.unwrap();
    drop(more);
    assert_eq!(client::read(echo).await.unwrap().text, "two");
    let downloaded = client::read(response).await.unwrap();
    // Read to its end, or that were an error.
    assert_eq!(downloaded.headers["content-length"], "30000000");
    for connection in [&mut download, &mut upload] {
        assert_eq!(connection.text("/").await, "version 2\n");
    }
    host.retired(APP, 1).await;
}

#[tokio::test]
async fn what_is_left_of_a_body_is_no_request_for_the_next_workers() {
    let site = Site::new();
    let host = direct(&site, "2", &["--group-option=graceful-timeout=1s"]).await;
    let mut client = TcpStream::connect(&host.address).await.unwrap();
    let ask = |path| format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let rest = ask("/info");
    let length = "begun ".len() + rest.len();
    let head = format!("POST /reads-on HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(b"begun ").await.unwrap();
    let mut all = String::new();
    until("the response", async || {
        let mut some = [0; 1024];
        let read = client.read(&mut some).await.unwrap();
        all += std::str::from_utf8(&some[..read]).unwrap();
        all.ends_with("version 1\n").then_some(())
    })
    .await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    // It may be closed by now.
    let _ = client.write_all((rest + &ask("/")).as_bytes()).await;
    let _ = in_time("the end", client.read_to_string(&mut all)).await;
    assert!(
        !all.contains("daemon"),
        "a part of the body was answered: {all}"
    );
    assert!(all.matches("HTTP/1.1 ").count() <= 2, "{all}");
}

#[tokio::test]
async fn http2_is_told_to_connect_anew_and_finishes_what_it_has_begun() {
    let site = Site::new();
    let host = direct(&site, "2", &[]).await;
    let mut connection = host.connect_http2().await;
    let slow = connection.begin("/sleep?ms=2000").await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    assert_eq!(slow.answer().await.unwrap().text, "version 1\n");
    let mut anew = host.connect_http2().await;
    assert_eq!(anew.text("/").await, "version 2\n");
    host.retired(APP, 1).await;
}

#[tokio::test]
async fn the_death_of_a_worker_costs_its_own_connections_only() {
    let site = Site::new();
    let host = direct(&site, "2", &[]).await;
    let mut by_worker = BTreeMap::new();
    until("connections to both workers", async || {
        let mut connection = host.connect().await;
        let pid = connection.json("/info").await["pid"].as_u64().unwrap();
        by_worker.entry(pid).or_insert(connection);
        (by_worker.len() == 2).then_some(())
    })
    .await;
    let (victim, _) = by_worker.pop_first().unwrap();
    process::signal(victim, Signal::KILL);
    let (_, mut other) = by_worker.pop_first().unwrap();
    assert_eq!(other.text("/").await, "version 1\n");
    host.event("worker-died").await;
    host.event("worker-started").await;
    let mut pids = BTreeSet::new();
    until("answers of two workers", async || {
        let mut connection = host.connect().await;
        pids.insert(connection.json("/info").await["pid"].as_u64().unwrap());
        (pids.len() == 2).then_some(())
    })
    .await;
    assert!(!pids.contains(&victim));
}

#[tokio::test]
async fn a_worker_that_is_told_to_end_leaves_its_connections_to_the_others() {
    let site = Site::new();
    let host = direct(&site, "2", &[]).await;
    let mut connection = host.connect().await;
    let pid = connection.json("/info").await["pid"].as_u64().unwrap();
    process::signal(pid, Signal::TERM);
    host.event("worker-ended").await;
    let now = connection.json("/info").await["pid"].as_u64().unwrap();
    assert_ne!(now, pid);
}

#[tokio::test]
async fn a_restart_of_the_host_keeps_every_connection() {
    let site = Site::new();
    let mut host = direct(&site, "2", &[]).await;
    let mut kept = host.connect().await;
    assert_eq!(kept.text("/").await, "version 1\n");
    let visitors = Visitors::start(&host.address, "/", "version 1\n", 2);
    for restart in 1..=3 {
        visitors.more_answers(50).await;
        let ended = site.ask(&["restart"]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        host.nth_event(restart + 1, "ready").await;
        assert_eq!(kept.text("/").await, "version 1\n");
    }
    let visits = visitors.end().await;
    assert_eq!(visits.failures, Vec::<String>::new());
    assert!(host.terminate().await.success());
}

#[tokio::test]
async fn a_group_listens_beside_the_host_on_sockets_of_both_kinds() {
    let site = Site::new();
    artifacts::probe(1).install(&site.library("probe"));
    artifacts::library("hello").install(&site.library("hello"));
    write(
        &site,
        "[plugins]\ndirs = [\"apps\"]\n[apps.fixture-probe]\ngroup = \"web\"\n\
         [groups.web]\nprocesses = 2\nlisten = [\"127.0.0.1:0\", \"unix:web.sock\"]\n",
    );
    let mut host = site.serve(&[]).await;
    let addresses = host.log.all(|event| event.kind() == "listening");
    let own = addresses[1].text("address").to_owned();
    let unix = addresses[2].text("address");
    assert_eq!(
        unix,
        format!("unix:{}", site.path().join("web.sock").display())
    );
    // The host reaches all apps, the group its own.
    assert_eq!(host.get("/hello/").await, "hello\n");
    assert_eq!(host.get("/fixture-probe/").await, "version 1\n");
    let mut direct = Connection::http1(&own).await;
    assert_eq!(direct.text("/fixture-probe/").await, "version 1\n");
    assert_eq!(direct.get("/hello/").await.status, 404);
    let mut kept = Connection::http1(unix).await;
    assert_eq!(kept.text("/fixture-probe/").await, "version 1\n");
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    for connection in [&mut direct, &mut kept] {
        assert_eq!(connection.text("/fixture-probe/").await, "version 2\n");
    }
    assert!(host.terminate().await.success());
    assert!(!site.path().join("web.sock").exists());
}

#[tokio::test]
async fn a_set_that_is_not_taken_leaves_the_old_workers_accepting() {
    let site = Site::new();
    let set = r#"fixture-probe.setup-of={"2"="error"}"#;
    let host = direct(&site, "2", &["--set", set]).await;
    let mut kept = host.connect().await;
    assert_eq!(kept.text("/").await, "version 1\n");
    artifacts::probe(2).install(&site.library("probe"));
    host.event("refused").await;
    assert_eq!(kept.text("/").await, "version 1\n");
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn workers_are_replaced_after_so_many_requests_that_they_took_themselves() {
    let site = Site::new();
    let args = ["--group-option", "max-requests=20"];
    let host = direct(&site, "1", &args).await;
    let mut kept = host.connect().await;
    let first = kept.json("/info").await["pid"].clone();
    until("another worker", async || {
        let now = kept.json("/info").await["pid"].clone();
        (now != first).then_some(())
    })
    .await;
    host.event("worker-ended").await;
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
}

#[tokio::test]
async fn workers_that_sleep_are_started_again_by_who_connects() {
    let site = Site::new();
    let args = ["--group-option", "inactivity-timeout=500ms"];
    let host = direct(&site, "2", &args).await;
    for round in 1..=2 {
        host.nth_event(2 * round, "worker-sleeps").await;
        host.nth_event(2 * round, "worker-ended").await;
        assert_eq!(host.get("/").await, "version 1\n");
    }
    // A long request is none that is not there.
    assert_eq!(host.get("/sleep?ms=2000").await, "version 1\n");
}

#[tokio::test]
async fn nobody_listens_where_somebody_else_does_or_has_requests_wait_that_nobody_holds() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let check = async |text: &str, args: &[&str], reason: &str| {
        write(&site, text);
        let ended = validate(&site, args).await;
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.stderr.contains(reason), "{reason:?} in {ended:?}");
    };
    let web = |more: &str| {
        format!(
            "[plugins]\ndirs = [\"apps\"]\n[apps.fixture-probe]\ngroup = \"web\"\n{more}\n\
             [groups.web]\nlisten = [\"127.0.0.1:8000\"]\n"
        )
    };
    let twice = "`127.0.0.1:8000` is to be listened on by [server] and by group `web`";
    check(&web(""), &[], twice).await;
    let other = ["--listen", "127.0.0.1:8001"];
    let first = "app `fixture-probe` cannot be in group `web`";
    check(&web("reload = \"on-request\""), &other, first).await;
    check(&web("preload = false"), &other, first).await;
    let outside = "app `fixture-probe` is not in group `default`";
    check(&web(""), &["--processes=2", "--direct"], outside).await;
    let nowhere = "`listen` of [server] is empty, and no group listens";
    check(
        "[server]\nlisten = []\n[plugins]\ndirs = [\"apps\"]\n",
        &[],
        nowhere,
    )
    .await;
    let wrong = "a list of HOST:PORT and unix:PATH";
    check("[groups.web]\nlisten = [\"8000\"]\n", &[], wrong).await;
}
