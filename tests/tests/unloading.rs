//! Old generations are gone, or kept for a reason that the log names.

use replug_tests::{Host, artifacts, host::Site};
use rustix::process::Signal;

/// Whether a thread of the process is in clock_nanosleep(2), as only a handler that blocks is.
fn sleeps(pid: u32) -> bool {
    const CLOCK_NANOSLEEP: &str = if cfg!(target_arch = "x86_64") {
        "230 "
    } else {
        "115 "
    };
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().any(|task| {
        std::fs::read_to_string(task.path().join("syscall"))
            .is_ok_and(|call| call.starts_with(CLOCK_NANOSLEEP))
    })
}

#[tokio::test]
async fn nothing_of_an_old_generation_stays_mapped() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--threads", "3"]).await;
    // Each connection is on an HTTP thread of its own.
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(host.connect().await);
    }
    for version in 2..=40 {
        for connection in &mut connections {
            connection.text("/spawn").await;
            connection.text("/sleep?ms=1").await;
        }
        artifacts::probe(version).install(&path);
        host.serving("fixture-probe", version).await;
        let retired = host.retired("fixture-probe", version - 1).await;
        assert_eq!(retired.text("outcome"), "unloaded", "{retired}");
    }
    assert_eq!(host.mapped(), 1);
    assert_eq!(host.log.all(|event| event.kind() == "quarantined"), []);
}

#[tokio::test]
async fn reloads_that_follow_at_once_take_no_old_addresses_for_their_own() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let mut host = site.serve_library("probe", &[]).await;
    let mut connection = host.connect().await;
    // Not waited for: the next one is opened while the one before is closed.
    for version in 2..=120 {
        artifacts::probe(version).install(&path);
        connection.text("/spawn").await;
    }
    host.until_text(&mut connection, "/", "version 120\n").await;
    assert_eq!(host.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_program_without_the_process_hooks_keeps_all_generations_and_says_so_once() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let mut command = site.command_of(artifacts::embedder(), "serve");
    command.args(["--listen", "127.0.0.1:0"]).arg(&path);
    let mut host = Host::spawn(command, Some(site.path().join("staging"))).await;
    let off = host.event("unloading-off").await;
    assert!(off.text("reason").contains("process hooks"), "{off}");
    let mut connection = host.connect().await;
    // More than may be quarantined where it can be helped.
    for version in 2..=12 {
        connection.text("/spawn").await;
        artifacts::probe(version).install(&path);
        host.serving("fixture-probe", version).await;
        let retired = host.retired("fixture-probe", version - 1).await;
        assert_eq!(retired.text("outcome"), "quarantined", "{retired}");
    }
    host.until_text(&mut connection, "/", "version 12\n").await;
    assert_eq!(host.mapped(), 12);
    assert_eq!(
        host.log.all(|event| event.kind() == "unloading-off").len(),
        1
    );
    assert_eq!(host.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_handler_that_blocks_keeps_its_generation_loaded_but_not_the_host_alive() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let mut host = site
        .serve_library("probe", &["--threads", "2", "--drain", "100ms"])
        .await;
    let mut blocked = host.connect().await;
    let mut other = host.connect().await;
    let request = tokio::spawn(async move { blocked.open("/block?ms=3600000").await });
    replug_tests::until("the handler's sleep", async || {
        sleeps(host.pid()).then_some(())
    })
    .await;
    artifacts::probe(2).install(&path);
    host.serving("fixture-probe", 2).await;
    // The other thread goes on.
    host.until_text(&mut other, "/", "version 2\n").await;
    let quarantined = host.event("quarantined").await;
    let reason = quarantined.text("reason");
    assert!(reason.contains("thread http-"), "{quarantined}");
    assert_eq!(host.mapped(), 2);
    host.signal(Signal::TERM);
    assert_eq!(host.exit().await.code(), Some(0));
    // Cut with the process.
    assert!(request.await.is_err());
}
