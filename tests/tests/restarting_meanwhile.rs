//! What a host does while a restart of it is under way: serve on, until the last moment.
//!
//! A request that does not end holds each of them up for as long as the test wants.

use std::fs;

use http::header;
use replug_tests::{
    Connection, artifacts,
    client::InFlight,
    host::{Finished, Host, Site},
    in_time,
    socket::Socket,
};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};

async fn probe(site: &Site, args: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    let patient = ["--drain", "1h"];
    let args = if args.is_empty() { &patient } else { args };
    site.serve_library("probe", args).await
}

/// A restart that waits for a request that does not end, and the request on its connection.
async fn held_up(host: &Host) -> (Connection, InFlight) {
    let mut connection = host.connect_http2().await;
    let hanging = connection.begin("/hang").await;
    host.signal(Signal::USR2);
    host.event("restarting").await;
    let last = async || {
        host.connect()
            .await
            .get("/")
            .await
            .headers
            .remove(header::CONNECTION)
    };
    replug_tests::until("answers that are the last", last).await;
    (connection, hanging)
}

/// `replug ARGS` for the host of that site, under way.
fn begin(site: &Site, args: &'static [&'static str]) -> JoinHandle<Finished> {
    let mut command = replug_tests::host::replug(args.iter().copied());
    command.arg("--control").arg(site.control());
    tokio::spawn(replug_tests::host::finish(command))
}

#[tokio::test]
async fn new_requests_are_served_while_an_old_one_goes_on() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let (_connection, hanging) = held_up(&host).await;
    for _ in 0..20 {
        let answer = host.connect().await.get("/").await;
        assert_eq!(answer.text, "version 1\n");
        assert_eq!(answer.headers[header::CONNECTION], "close");
        assert_eq!(host.connect_http2().await.text("/").await, "version 1\n");
    }
    assert_eq!(host.log.all(|event| event.kind() == "ready").len(), 1);
    hanging.cancel();
    host.nth_event(2, "ready").await;
    let answer = host.connect().await.get("/").await;
    assert!(
        !answer.headers.contains_key(header::CONNECTION),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_kept_connection_is_told_that_an_answer_is_its_last() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let mut kept = TcpStream::connect(host.socket_address()).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
    kept.write_all(request).await.unwrap();
    let mut answer = vec![0; 1024];
    let length = kept.read(&mut answer).await.unwrap();
    let first = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(!first.contains("connection: close"), "{first}");
    let (_connection, hanging) = held_up(&host).await;
    kept.write_all(request).await.unwrap();
    let mut last = String::new();
    in_time("the end", kept.read_to_string(&mut last))
        .await
        .unwrap();
    assert!(last.starts_with("HTTP/1.1 200"), "{last}");
    assert!(last.contains("connection: close"), "{last}");
    assert!(last.ends_with("version 1\n"), "{last}");
    // One on which nothing more is asked ends, too, and in order.
    hanging.cancel();
    host.nth_event(2, "ready").await;
}

#[tokio::test]
async fn an_idle_connection_ends_in_order_and_holds_nobody_up() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let mut idle = TcpStream::connect(host.socket_address()).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
    idle.write_all(request).await.unwrap();
    let mut idle2 = host.connect_http2().await;
    idle2.text("/").await;
    host.signal(Signal::USR2);
    host.nth_event(2, "ready").await;
    let mut all = String::new();
    in_time("the end", idle.read_to_string(&mut all))
        .await
        .unwrap();
    assert!(all.ends_with("version 1\n"), "{all}");
}

#[tokio::test]
async fn a_websocket_that_stays_holds_nobody_up() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let mut socket = Socket::open(&host, "/ws").await;
    assert_eq!(socket.ask("a").await, "version 1: a");
    host.signal(Signal::USR2);
    host.event("restarting").await;
    for _ in 0..5 {
        assert_eq!(host.get("/").await, "version 1\n");
        assert_eq!(socket.ask("b").await, "version 1: b");
    }
    assert_eq!(host.log.all(|event| event.kind() == "ready").len(), 1);
    socket.close().await;
    host.nth_event(2, "ready").await;
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn what_outlasts_the_drain_time_is_cut() {
    let site = Site::new();
    let host = probe(&site, &["--drain", "300ms"]).await;
    let mut socket = Socket::open(&host, "/ws").await;
    assert_eq!(socket.ask("a").await, "version 1: a");
    let (_connection, hanging) = held_up(&host).await;
    host.event("connections-cut").await;
    host.nth_event(2, "ready").await;
    socket.end().await;
    // Either the host's own answer, or none.
    if let Ok(answer) = hanging.answer().await {
        assert_eq!(answer.status, 503);
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_was_asked_goes_to_the_next_image() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let unix = site.path().join("http.sock");
    let listen = format!("unix:{}", unix.display());
    let args = ["--listen", "127.0.0.1:0", "--listen", &listen];
    let host = site.serve_library("probe", &args).await;
    let mut before = TcpStream::connect(host.socket_address()).await.unwrap();
    let mut over_unix = UnixStream::connect(&unix).await.unwrap();
    let pid = host.pid();
    for nth in 2..=3 {
        let (_connection, hanging) = held_up(&host).await;
        hanging.cancel();
        host.nth_event(nth, "ready").await;
    }
    let request = b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    let (mut one, mut other) = (String::new(), String::new());
    before.write_all(request).await.unwrap();
    over_unix.write_all(request).await.unwrap();
    in_time("an answer", before.read_to_string(&mut one))
        .await
        .unwrap();
    in_time("an answer", over_unix.read_to_string(&mut other))
        .await
        .unwrap();
    assert!(one.ends_with("version 1\n"), "{one}");
    assert!(other.ends_with("version 1\n"), "{other}");
    assert_eq!(host.pid(), pid);
}

#[tokio::test]
async fn a_restart_that_is_asked_for_again_is_done_once() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let (_connection, hanging) = held_up(&host).await;
    let asked = [begin(&site, &["restart"]), begin(&site, &["restart"])];
    host.signal(Signal::USR2);
    // Both commands are there when one that came after them is answered.
    site.status().await;
    assert_eq!(host.get("/").await, "version 1\n");
    hanging.cancel();
    host.nth_event(2, "ready").await;
    for asked in asked {
        let ended = in_time("a command", asked).await.unwrap();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn a_stop_during_a_restart_is_a_stop() {
    let site = Site::new();
    let mut host = probe(&site, &[]).await;
    let mut connection = host.connect_http2().await;
    let hanging = connection.begin("/hang").await;
    let restart = begin(&site, &["restart"]);
    host.event("restarting").await;
    let stop = begin(&site, &["stop"]);
    host.event("stopping").await;
    hanging.cancel();
    assert!(host.exit().await.success());
    let stop = in_time("a command", stop).await.unwrap();
    assert_eq!(stop.code, Some(0), "{stop:?}");
    let restart = in_time("a command", restart).await.unwrap();
    assert_eq!(restart.code, Some(1), "{restart:?}");
    assert!(restart.stderr.contains("has not come back"), "{restart:?}");
    assert!(!site.control().exists());
    assert_eq!(host.staged(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_signal_during_a_restart_drains_and_a_second_one_ends_it_at_once() {
    let site = Site::new();
    let mut host = probe(&site, &[]).await;
    let (_connection, hanging) = held_up(&host).await;
    host.signal(Signal::TERM);
    host.event("stopping").await;
    host.signal(Signal::TERM);
    assert_eq!(host.exit().await.code(), Some(143));
    assert!(hanging.answer().await.is_err());
}

#[tokio::test]
async fn a_program_that_breaks_after_it_was_checked_leaves_the_host_in_its_old_image() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let program = site.path().join("replug");
    artifacts::copy_replug(&program);
    let mut command = site.command_of(&program, "serve");
    let library = site.library("probe");
    command
        .args(["--listen", "127.0.0.1:0", "--drain", "1h"])
        .arg(library);
    let mut host = Host::spawn(command, None).await;
    host.event("ready").await;
    let mut connection = host.connect_http2().await;
    let hanging = connection.begin("/hang").await;
    let restart = begin(&site, &["restart"]);
    host.event("restarting").await;
    let other = site.path().join("other");
    fs::write(&other, "no program").unwrap();
    fs::rename(&other, &program).unwrap();
    hanging.cancel();
    let failed = host.event("cannot-restart").await;
    assert!(failed.text("reason").contains("replug"), "{failed}");
    host.nth_event(2, "ready").await;
    assert_eq!(host.get("/").await, "version 1\n");
    let restart = in_time("a command", restart).await.unwrap();
    assert_eq!(restart.code, Some(4), "{restart:?}");
    // It is a whole host again: it can be restarted and stopped.
    artifacts::copy_replug(&other);
    fs::rename(&other, &program).unwrap();
    let restart = site.ask(&["restart"]).await;
    assert_eq!(restart.code, Some(0), "{restart:?}");
    assert_eq!(host.get("/").await, "version 1\n");
    assert!(host.terminate().await.success());
}
