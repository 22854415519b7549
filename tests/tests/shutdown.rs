//! The host ends without losing anything, or at once.

use replug_tests::{
    artifacts,
    client::{self, next, streamed},
    host::Site,
    socket::{End, Socket},
};
use rustix::process::Signal;
use tokio::net::TcpStream;

#[tokio::test]
async fn what_is_in_flight_is_finished_before_the_host_ends() {
    for signal in [Signal::TERM, Signal::INT] {
        let site = Site::new();
        site.install("probe", &artifacts::probe(1));
        let mut host = site.serve_library("probe", &[]).await;
        let mut connection = host.connect().await;
        let (pieces, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let body = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let request = connection
            .request("POST", "/echo")
            .body(streamed(body))
            .unwrap();
        let mut response = connection.send(request).await;
        pieces.send("one".into()).unwrap();
        assert_eq!(next(&mut response).await, "one");
        host.signal(signal);
        let stopping = host.event("stopping").await;
        assert!(
            ["SIGTERM", "SIGINT"].contains(&stopping.text("signal")),
            "{stopping}"
        );
        // No one new is let in.
        replug_tests::until("the listener's end", async || {
            TcpStream::connect(host.socket_address())
                .await
                .is_err()
                .then_some(())
        })
        .await;
        pieces.send("two".into()).unwrap();
        assert_eq!(next(&mut response).await, "two");
        drop(pieces);
        client::read(response).await.unwrap();
        assert_eq!(host.exit().await.code(), Some(0));
        host.event("stopped").await;
        assert!(host.log.all(|event| event.kind() == "cut").is_empty());
        assert_eq!(host.staged(), Vec::<std::path::PathBuf>::new());
    }
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_host_up() {
    let site = Site::new();
    let log = site.path().join("cleanup.log");
    site.install("probe", &artifacts::probe(1));
    let setting = format!("fixture-probe.cleanup-log={}", log.display());
    let mut host = site
        .serve_library("probe", &["--set", &setting, "--drain", "1h"])
        .await;
    let mut idle = [host.connect().await, host.connect_http2().await];
    for connection in &mut idle {
        connection.text("/").await;
    }
    assert_eq!(host.terminate().await.code(), Some(0));
    let retired = host.retired("fixture-probe", 1).await;
    assert_eq!(retired.number("hooks_done"), Some(1), "{retired}");
    let hooks = std::fs::read_to_string(log).unwrap();
    assert_eq!(hooks, "fixture-probe generation 1 cleaned up\n");
    let files: Vec<_> = std::fs::read_dir(site.path().join("staging"))
        .unwrap()
        .collect();
    assert!(files.is_empty(), "{files:?}");
}

#[tokio::test]
async fn a_second_signal_ends_the_host_at_once() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let mut host = site.serve_library("probe", &["--drain", "1h"]).await;
    let mut connection = host.connect_http2().await;
    let hanging = connection.begin("/hang").await;
    host.signal(Signal::TERM);
    host.event("stopping").await;
    host.signal(Signal::TERM);
    host.exit().await;
    assert!(hanging.answer().await.is_err());
    assert_eq!(host.staged(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn what_outlasts_the_drain_deadline_is_cut_at_the_hosts_end() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let mut host = site.serve_library("probe", &["--drain", "100ms"]).await;
    let mut connection = host.connect_http2().await;
    let hanging = connection.begin("/hang").await;
    let mut socket = Socket::open(&host, "/ws").await;
    assert_eq!(socket.ask("a").await, "version 1: a");
    assert_eq!(host.terminate().await.code(), Some(0));
    assert!(matches!(socket.end().await, End::Cut));
    // Either the host's own answer, or none.
    if let Ok(answer) = hanging.answer().await {
        assert_eq!(answer.status, 503);
    }
    host.retired("fixture-probe", 1).await;
}

#[tokio::test]
async fn a_polite_websocket_is_told_that_the_host_ends() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let mut host = site.serve_library("probe", &["--drain", "1h"]).await;
    let mut socket = Socket::open(&host, "/ws?polite=1").await;
    assert_eq!(socket.ask("a").await, "version 1: a");
    host.signal(Signal::TERM);
    assert_eq!(socket.hear().await, "bye");
    assert!(matches!(socket.end().await, End::Closed(_)));
    assert_eq!(host.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_signal_during_a_reload_ends_the_host_too() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let setting = r#"fixture-probe.setup-of={ "2" = "hang" }"#;
    let mut host = site
        .serve_library("probe", &["--set", setting, "--setup-timeout", "1h"])
        .await;
    artifacts::probe(2).install(&path);
    // Its copy is made before its setup begins.
    replug_tests::until("the second copy", async || {
        (host.staged().len() == 2).then_some(())
    })
    .await;
    assert_eq!(host.get("/").await, "version 1\n");
    assert_eq!(host.terminate().await.code(), Some(0));
    assert_eq!(host.staged(), Vec::<std::path::PathBuf>::new());
}
