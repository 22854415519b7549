//! A host that is process 1, as in a container.

use std::{fs, process::Command};

use replug_tests::{
    artifacts,
    host::{Host, Site},
    process, until,
};
use rustix::process::Signal;

/// Starts it as process 1 of a namespace of its own; `None`, and says so, where that may not be.
async fn serve(site: &Site) -> Option<Host> {
    let isolated = || {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        command
    };
    let may = isolated().arg("true").output();
    if !may.as_ref().is_ok_and(|it| it.status.success()) {
        eprintln!("not run: processes cannot be given a namespace of their own here: {may:?}");
        return None;
    }
    let serve = site.command("serve");
    let mut command = isolated();
    command.arg(serve.get_program()).args(serve.get_args());
    command.current_dir(site.path());
    command.args(["--listen", "127.0.0.1:0", "--processes", "1"]);
    command.arg(site.library("probe"));
    let host = Host::spawn(command, None).await;
    host.event("ready").await;
    Some(host)
}

/// Its children, by their numbers out here.
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let lists: Vec<String> = lists.collect();
    let numbers = lists.iter().flat_map(|list| list.split_whitespace());
    numbers.map(|number| number.parse().unwrap()).collect()
}

/// Has the plugin leave a process behind, and waits until nothing of it is left.
async fn check_orphans(host: &Host, pid: u32) {
    assert_eq!(host.get("/orphan").await, "left\n");
    until("the orphan's end", async || {
        // The worker is still there.
        (children(pid).len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn process_1_takes_in_orphans_and_no_status_of_its_own_children_and_restarts() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let Some(host) = serve(&site).await else {
        return;
    };
    let pid = children(host.pid())[0];
    check_orphans(&host, pid).await;
    // Nor is the status of a worker lost.
    let answer = host.connect().await.get("/end?how=exit").await;
    assert_eq!(answer.status, 502, "{answer:?}");
    let died = host.event("worker-died").await;
    assert_eq!(died.text("death"), "exited with code 3");

    process::signal(pid.into(), Signal::USR2);
    let ready = host.nth_event(2, "ready").await;
    assert_eq!(ready.number("restarts"), Some(1), "{ready}");
    assert_eq!(host.get("/").await, "version 1\n");
    check_orphans(&host, pid).await;
    // The workers of before, whose statuses the image before was to take, are gone, too.
    until("the first workers' end", async || {
        (children(pid).len() == 1).then_some(())
    })
    .await;
    process::signal(pid.into(), Signal::TERM);
    host.log.end().await;
}
