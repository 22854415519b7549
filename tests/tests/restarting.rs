//! A host that goes on in a fresh process image, and one that is stopped.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use replug_tests::{
    artifacts,
    host::{Host, Site},
    visitors::Visitors,
};
use rustix::process::Signal;
use serde_json::Value;

const APP: &str = "fixture-probe";

async fn probe(site: &Site, args: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    site.serve_library("probe", args).await
}

/// Waits until the image number `nth`, from 1, is ready.
async fn ready(host: &Host, nth: usize) {
    host.nth_event(nth, "ready").await;
}

/// What its image was left by the one before.
fn inheritance(host: &Host) -> Value {
    let env = fs::read_to_string(format!("/proc/{}/environ", host.pid())).unwrap();
    let mut variables = env.split('\0');
    let left = variables.find_map(|it| it.strip_prefix("REPLUG_INHERITANCE="));
    serde_json::from_str(left.expect("an image before")).unwrap()
}

/// A host of a program of its own, which the test may replace.
async fn with_a_program(site: &Site) -> (Host, PathBuf) {
    site.install("probe", &artifacts::probe(1));
    let program = site.path().join("replug");
    artifacts::copy_replug(&program);
    let mut command: Command = site.command_of(&program, "serve");
    command
        .args(["--listen", "127.0.0.1:0"])
        .arg(site.library("probe"));
    let host = Host::spawn(command, Some(site.path().join("staging"))).await;
    ready(&host, 1).await;
    (host, program)
}

#[tokio::test]
async fn restarts_under_load_keep_the_process_the_port_and_every_request() {
    let site = Site::new();
    let mut host = probe(&site, &[]).await;
    let pid = host.pid();
    let visitors = Visitors::start(&host.address, "/", "version 1\n", 2);
    for restart in 1..=10 {
        visitors.more_answers(50).await;
        let ended = site.ask(&["restart"]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let goes_on = format!("process {pid} goes on in a fresh image");
        assert!(ended.stdout.starts_with(&goes_on), "{ended:?}");
        ready(&host, restart + 1).await;
    }
    let visits = visitors.end().await;
    assert_eq!(visits.failures, Vec::<String>::new());
    println!("{visits:?}");
    let cut = host.log.all(|event| event.kind() == "connections-cut");
    assert!(cut.is_empty(), "{cut:?}");
    assert_eq!(site.status().await["process"]["pid"], pid);
    assert!(host.terminate().await.success());
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_and_a_connection_ends_in_order() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let mut slow = host.connect_http2().await;
    let in_flight = slow.begin("/sleep?ms=500").await;
    let mut kept = host.connect().await;
    kept.text("/").await;
    host.signal(Signal::USR2);
    host.event("restarting").await;
    assert_eq!(in_flight.answer().await.unwrap().text, "version 1\n");
    ready(&host, 2).await;
    assert_eq!(host.get("/").await, "version 1\n");
    let status = site.status().await;
    assert_eq!(status["apps"][0]["serving"]["generation"], 1, "{status}");
}

#[tokio::test]
async fn an_app_asks_for_the_restart_and_its_state_goes_on_without_a_directory_for_it() {
    let site = Site::new();
    let log = site.path().join("cleanup");
    let state = format!("{APP}.state={{schema=1}}");
    let farewell = format!("{APP}.cleanup-log={}", log.display());
    let reason = format!("{APP}.cleanup-reason=true");
    let args = ["--set", &state, "--set", &farewell, "--set", &reason];
    let mut host = probe(&site, &args).await;
    let mut connection = host.connect().await;
    for _ in 0..3 {
        connection.post("/count", "").await;
    }
    for nth in 2..=3 {
        let mut connection = host.connect().await;
        assert_eq!(
            connection.post("/request-restart", "").await.text,
            "asked\n"
        );
        ready(&host, nth).await;
        assert_eq!(host.get("/count").await, "3\n");
    }
    let farewells = fs::read_to_string(&log).unwrap();
    assert!(
        farewells.contains("generation 1 cleaned up: restart"),
        "{farewells}"
    );
    let left = inheritance(&host);
    let dir = PathBuf::from(left["state"].as_str().expect("a directory"));
    assert!(dir.exists());
    assert!(host.terminate().await.success());
    assert!(!dir.exists(), "{} is left", dir.display());
}

#[tokio::test]
async fn a_program_that_was_replaced_is_taken_and_one_that_does_not_run_is_refused() {
    let site = Site::new();
    let (host, program) = with_a_program(&site).await;
    // As a package manager does it: the old file is unlinked.
    let new = site.path().join("new");
    fs::write(&new, "#!/bin/sh\necho broken >&2\nexit 9\n").unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, &program).unwrap();
    let ended = site.ask(&["restart"]).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("broken"), "{ended:?}");
    assert_eq!(host.get("/").await, "version 1\n");
    fs::write(&new, "no program").unwrap();
    fs::rename(&new, &program).unwrap();
    host.signal(Signal::USR2);
    let refused = host.nth_event(2, "restart-refused").await;
    assert!(
        refused.text("reason").contains("cannot be executed"),
        "{refused}"
    );
    assert_eq!(host.get("/").await, "version 1\n");
    artifacts::copy_replug(&new);
    fs::rename(&new, &program).unwrap();
    let ended = site.ask(&["restart"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ready(&host, 2).await;
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn a_configuration_that_is_wrong_by_now_is_found_out_before_anything_ends() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let config = site.path().join("replug.toml");
    fs::write(&config, "[defaults]\nguard = \"1s\"\n").unwrap();
    let host = site.serve_library("probe", &[]).await;
    fs::write(&config, "[defaults]\ngaurd = \"1s\"\n").unwrap();
    let ended = site.ask(&["restart"]).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("did you mean `guard`"), "{ended:?}");
    assert_eq!(host.get("/").await, "version 1\n");
    fs::write(&config, "[defaults]\nguard = \"2s\"\n").unwrap();
    let ended = site.ask(&["restart"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn a_unix_socket_stays_where_it_is() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let socket = site.path().join("http.sock");
    let listen = format!("unix:{}", socket.display());
    let mut host = site.serve_library("probe", &["--listen", &listen]).await;
    for nth in 2..=4 {
        let ended = site.ask(&["restart"]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ready(&host, nth).await;
        assert_eq!(host.get("/").await, "version 1\n");
    }
    assert!(host.terminate().await.success());
    assert!(!socket.exists());
}

#[tokio::test]
async fn restarts_leave_no_descriptors_no_files_and_no_memory() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let mut before = (0, 0);
    for nth in 2..=22 {
        host.signal(Signal::USR2);
        ready(&host, nth).await;
        host.get("/").await;
        if nth == 3 {
            before = (host.open_files(), host.memory());
        }
    }
    let after = (host.open_files(), host.memory());
    // A connection of the test's may still be there.
    assert!(after.0 <= before.0 + 1, "{after:?} and {before:?}");
    // A fresh image has what it always has; pages that it happens to have touched make the rest.
    assert!(after.1 <= before.1 + (4 << 20), "{after:?} and {before:?}");
    let areas = fs::read_dir(site.path().join("staging")).unwrap().count();
    assert_eq!(areas, 1);
    let ended = site.ask(&["restart", "--timeout", "0s"]).await;
    assert_eq!(ended.code, Some(124), "{ended:?}");
}

#[tokio::test]
async fn a_host_is_stopped_by_a_command_that_waits_for_its_end() {
    let site = Site::new();
    let mut host = probe(&site, &[]).await;
    let mut slow = host.connect_http2().await;
    let in_flight = slow.begin("/sleep?ms=300").await;
    let stopping = tokio::spawn({
        let control = site.control();
        async move {
            let mut command = replug_tests::host::replug(["stop", "--control"]);
            command.arg(control);
            replug_tests::host::finish(command).await
        }
    });
    host.event("stopping").await;
    assert_eq!(in_flight.answer().await.unwrap().text, "version 1\n");
    assert!(host.exit().await.success());
    let ended = stopping.await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("has ended"), "{ended:?}");
    let ended = site.ask(&["stop"]).await;
    assert_eq!(ended.code, Some(6), "{ended:?}");
}

#[tokio::test]
async fn a_stop_that_takes_too_long_is_not_waited_for_without_end() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let mut connection = host.connect_http2().await;
    let _hanging = connection.begin("/hang").await;
    let ended = site.ask(&["stop", "--timeout", "200ms"]).await;
    assert_eq!(ended.code, Some(124), "{ended:?}");
}

#[tokio::test]
async fn sigquit_ends_a_host_at_once() {
    let site = Site::new();
    let mut host = probe(&site, &[]).await;
    let mut connection = host.connect_http2().await;
    let _hanging = connection.begin("/hang").await;
    host.signal(Signal::QUIT);
    assert_eq!(host.exit().await.code(), Some(131));
}
