//! A new version takes over, and nothing is lost or mixed.

use std::{fs, path::Path};

use replug_tests::{
    artifacts,
    client::{self, next, streamed},
    host::Site,
    load::Load,
    until,
};

#[tokio::test]
async fn a_new_version_answers_on_the_same_connection_and_from_the_same_process() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    for mut connection in [host.connect().await, host.connect_http2().await] {
        let before = connection.json("/info").await;
        let generation = before["generation"].as_u64().unwrap();
        let version = before["version"].as_u64().unwrap() + 1;
        artifacts::probe(version).install(&path);
        host.serving("fixture-probe", generation + 1).await;
        let after = connection.json("/info").await;
        assert_eq!(after["version"], version);
        assert_eq!(after["generation"], generation + 1);
        assert_eq!(after["pid"], before["pid"]);
        assert_eq!(after["peer"], connection.local.unwrap().to_string());
    }
}

#[tokio::test]
async fn two_hundred_reloads_under_load_fail_no_request_and_mix_no_versions() {
    const RELOADS: u64 = 200;
    let site = Site::new();
    let log = site.path().join("cleanup.log");
    let path = site.install("probe", &artifacts::probe(1));
    let setting = format!("fixture-probe.cleanup-log={}", log.display());
    let mut host = site.serve_library("probe", &["--set", &setting]).await;
    let load = Load::start(&host, 16).await;
    for version in 2..=RELOADS + 1 {
        artifacts::probe(version).install(&path);
        host.serving("fixture-probe", version).await;
        load.more_answers(16).await;
    }
    let tally = load.end().await;
    assert_eq!(tally.failures, Vec::<String>::new());
    assert_eq!(tally.versions.last(), Some(&(RELOADS + 1)));
    assert!(
        tally.versions.len() as u64 >= RELOADS,
        "{:?}",
        tally.versions
    );
    assert_eq!(host.get("/").await, format!("version {}\n", RELOADS + 1));

    for generation in 1..=RELOADS {
        let retired = host.retired("fixture-probe", generation).await;
        assert_eq!(retired.number("hooks_done"), Some(1), "{retired}");
        assert_eq!(retired.number("hooks_failed"), Some(0), "{retired}");
        assert_eq!(retired.text("outcome"), "unloaded", "{retired}");
    }
    assert_eq!(cleaned_up(&log), (1..=RELOADS).collect::<Vec<_>>());
    assert_eq!(host.staged().len(), 1, "{:?}", host.staged());
    assert_eq!(host.log.all(|event| event.kind() == "cut"), []);
    assert_eq!(host.log.other_lines(), Vec::<String>::new());
    // HTTP threads that have run 201 generations end cleanly.
    assert_eq!(host.terminate().await.code(), Some(0));
}

/// The generations that have run their cleanup hook, sorted; one that ran it twice is there twice.
fn cleaned_up(log: &Path) -> Vec<u64> {
    let text = fs::read_to_string(log).unwrap();
    let generation = |line: &str| {
        let line = line.strip_prefix("fixture-probe generation ")?;
        line.strip_suffix(" cleaned up")?.parse().ok()
    };
    let mut generations: Vec<u64> = text.lines().map(|line| generation(line).unwrap()).collect();
    generations.sort_unstable();
    generations
}

#[tokio::test]
async fn a_request_of_three_seconds_ends_on_its_version_while_the_new_one_answers_others() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    let mut connection = host.connect_http2().await;
    let slow = connection.begin("/sleep?ms=3000").await;
    artifacts::probe(2).install(&path);
    host.serving("fixture-probe", 2).await;
    assert_eq!(connection.text("/").await, "version 2\n");
    assert_eq!(host.get("/").await, "version 2\n");
    let draining = host.event("draining").await;
    assert!(draining.is("draining", "fixture-probe", 1), "{draining}");
    assert_eq!(draining.number("in_flight"), Some(1), "{draining}");
    assert_eq!(host.log.all(|event| event.kind() == "retired"), []);
    assert_eq!(slow.answer().await.unwrap().text, "version 1\n");
    host.retired("fixture-probe", 1).await;
}

#[tokio::test]
async fn a_body_under_way_ends_on_the_version_that_began_it() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    let mut connection = host.connect().await;
    let (pieces, body) = pieces_and_body();
    let request = connection.request("POST", "/echo").body(body).unwrap();
    let mut response = connection.send(request).await;
    pieces.send("one").unwrap();
    assert_eq!(next(&mut response).await, "one");
    artifacts::probe(2).install(&path);
    host.serving("fixture-probe", 2).await;
    pieces.send("two").unwrap();
    assert_eq!(next(&mut response).await, "two");
    assert_eq!(host.log.all(|event| event.kind() == "retired"), []);
    drop(pieces);
    assert_eq!(client::read(response).await.unwrap().text, "");
    host.retired("fixture-probe", 1).await;
    assert_eq!(connection.text("/").await, "version 2\n");
}

/// A body, and where its pieces are put in.
fn pieces_and_body() -> (
    tokio::sync::mpsc::UnboundedSender<&'static str>,
    client::Body,
) {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let pieces = futures_util::stream::poll_fn(move |cx| {
        receiver
            .poll_recv(cx)
            .map(|piece: Option<&str>| piece.map(bytes::Bytes::from))
    });
    (sender, streamed(pieces))
}

#[tokio::test]
async fn a_generation_that_is_gone_leaves_neither_copy_nor_descriptor_nor_hook_behind() {
    let site = Site::new();
    let log = site.path().join("cleanup.log");
    let path = site.install("probe", &artifacts::probe(1));
    let setting = format!("fixture-probe.cleanup-log={}", log.display());
    let host = site.serve_library("probe", &["--set", &setting]).await;
    let mut connection = host.connect().await;
    connection.text("/spawn").await;
    let open_files = host.open_files();
    for version in 2..=10 {
        artifacts::probe(version).install(&path);
        host.serving("fixture-probe", version).await;
        connection.text("/spawn").await;
        host.retired("fixture-probe", version - 1).await;
        assert_eq!(host.staged().len(), 1, "{:?}", host.staged());
    }
    assert_eq!(cleaned_up(&log), (1..=9).collect::<Vec<_>>());
    // The new runtime's descriptors are as many as the old one's.
    until("the old descriptors' end", async || {
        (host.open_files() <= open_files).then_some(())
    })
    .await;
}

#[tokio::test]
async fn apps_reload_one_by_one() {
    let site = Site::new();
    let one = site.install("one", &artifacts::probe(1));
    let two = site.install("two", &artifacts::probe(1));
    let sources = [
        format!("{}=/one", one.display()),
        format!("{}=/two", two.display()),
    ];
    let host = site.serve(&[&sources[0], &sources[1]]).await;
    artifacts::probe(2).install(&two);
    host.serving("fixture-probe", 2).await;
    let mut connection = host.connect().await;
    assert_eq!(connection.text("/one/").await, "version 1\n");
    assert_eq!(connection.text("/two/").await, "version 2\n");
}

#[tokio::test]
async fn what_outlasts_the_drain_deadline_is_cut() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--drain", "100ms"]).await;
    let mut multiplexed = host.connect_http2().await;
    let silent = multiplexed.begin("/hang").await;
    let mut connection = host.connect().await;
    let mut talking = connection.open("/slow-body").await;
    next(&mut talking).await;
    artifacts::probe(2).install(&path);
    let cut = host.event("cut").await;
    assert!(cut.is("cut", "fixture-probe", 1), "{cut}");
    assert_eq!(cut.number("in_flight"), Some(2), "{cut}");
    let answer = silent.answer().await.unwrap();
    assert_eq!(answer.status, http::StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        client::read(talking).await.is_err(),
        "a body that was cut must not look whole"
    );
    host.retired("fixture-probe", 1).await;
    assert_eq!(multiplexed.text("/").await, "version 2\n");
}

#[tokio::test]
async fn a_body_that_never_pauses_is_cut_at_the_drain_deadline_too() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--drain", "100ms"]).await;
    let mut connection = host.connect().await;
    let mut endless = connection.open("/endless").await;
    next(&mut endless).await;
    artifacts::probe(2).install(&path);
    host.serving("fixture-probe", 2).await;
    replug_tests::in_time("the cut", async {
        use http_body_util::BodyExt as _;
        while let Some(Ok(_)) = endless.frame().await {}
    })
    .await;
    host.retired("fixture-probe", 1).await;
}

#[tokio::test]
async fn a_reader_that_has_stopped_is_cut_at_the_drain_deadline_too() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--drain", "100ms"]).await;
    let mut connection = host.connect().await;
    let mut endless = connection.open("/endless").await;
    next(&mut endless).await;
    artifacts::probe(2).install(&path);
    host.retired("fixture-probe", 1).await;
    assert_eq!(host.get("/").await, "version 2\n");
}
