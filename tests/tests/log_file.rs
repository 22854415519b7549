//! A log that goes to a file, and its rotation.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use replug_tests::{Connection, artifacts, host::Site, process, until};
use rustix::process::Signal;
use serde_json::Value;

/// A host whose standard error nobody reads.
struct Quiet {
    child: Child,
    log: PathBuf,
    address: String,
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Quiet {
    async fn serve(site: &Site, args: &[&str]) -> Self {
        site.install("probe", &artifacts::probe(1));
        let logs = site.path().join("logs");
        fs::create_dir(&logs).unwrap();
        let log = logs.join("log");
        let socket = site.path().join("http.sock");
        let address = format!("unix:{}", socket.display());
        let mut command = site.command("serve");
        let library = site.library("probe");
        command.arg(library).args(["--listen", &address]).args(args);
        command.arg("--log-file").arg("logs/log");
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let host = Self {
            child,
            log,
            address,
        };
        host.logged(&host.log, "ready").await;
        host
    }

    fn signal(&self, signal: Signal) {
        process::signal(self.child.id().into(), signal);
    }

    /// Waits until an event of that kind is in that file.
    async fn logged(&self, file: &Path, kind: &str) -> Value {
        until(kind, async || {
            let events = events(file);
            events.into_iter().find(|event| event["event"] == kind)
        })
        .await
    }

    async fn terminate(&mut self) {
        self.signal(Signal::TERM);
        let child = &mut self.child;
        let status = until("the host's end", async || child.try_wait().unwrap()).await;
        assert!(status.success());
    }
}

/// The whole lines of a file, each of which must be an event.
fn events(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("torn: {line:?}")))
        .collect()
}

fn is_of_plugin(event: &Value) -> bool {
    let message = event["message"].as_str().unwrap_or_default();
    message.starts_with("an event ")
}

/// Rotates again and again while requests are logged; no line is lost.
async fn check_rotation(args: &[&str]) {
    const CLIENTS: usize = 4;
    const ROTATIONS: usize = 8;
    let site = Site::new();
    let mut host = Quiet::serve(&site, args).await;
    let mode = fs::metadata(&host.log).unwrap().permissions().mode();
    assert_eq!(mode & 0o7137, 0, "{mode:o}");
    let ended = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (address, ended) = (host.address.clone(), Arc::clone(&ended));
            tokio::spawn(async move {
                let mut connection = Connection::http1(&address).await;
                let mut asked = 0;
                while !ended.load(Ordering::Relaxed) {
                    assert_eq!(connection.text("/log").await, "version 1\n");
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    let old = |nth: usize| host.log.with_extension(nth.to_string());
    let mut files = Vec::new();
    for nth in 0..ROTATIONS {
        fs::rename(&host.log, old(nth)).unwrap();
        files.push(old(nth));
        host.signal(Signal::USR1);
        host.logged(&host.log, "log-reopened").await;
    }
    files.push(host.log.clone());
    ended.store(true, Ordering::Relaxed);
    let mut asked = 0;
    for client in clients {
        asked += client.await.unwrap();
    }
    host.terminate().await;
    let all: Vec<Value> = files.iter().flat_map(|file| events(file)).collect();
    let of_plugin = all.iter().filter(|event| is_of_plugin(event)).count();
    assert_eq!(of_plugin, asked * 2);
    assert_eq!(all.last().unwrap()["event"], "stopped", "{:?}", all.last());
}

#[tokio::test]
async fn rotation_under_load_loses_no_line() {
    check_rotation(&[]).await;
}

#[tokio::test]
async fn rotation_under_load_loses_no_line_of_workers() {
    check_rotation(&["--processes", "2"]).await;
}

#[tokio::test]
async fn workers_of_another_user_log_to_a_file_that_they_may_not_open() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root may start workers as another user");
        return;
    }
    let args = ["user=61234", "group=61235"].map(|option| ["--group-option", option]);
    let mut args = args.concat();
    args.extend(["--processes", "2"]);
    check_rotation(&args).await;
}

#[tokio::test]
async fn what_a_worker_wrote_before_it_died_is_in_the_log() {
    let site = Site::new();
    let host = Quiet::serve(&site, &["--processes", "1"]).await;
    let mut connection = Connection::http1(&host.address).await;
    assert_eq!(connection.text("/log").await, "version 1\n");
    let answer = connection.get("/end?how=abort").await;
    assert_eq!(answer.status, 502);
    host.logged(&host.log, "worker-died").await;
    let events = events(&host.log);
    let at = |which: &dyn Fn(&Value) -> bool| events.iter().position(which).unwrap();
    let died = at(&|event| event["event"] == "worker-died");
    assert!(at(&is_of_plugin) < died, "{events:?}");
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_anew_goes_on_in_the_old_file() {
    let site = Site::new();
    let host = Quiet::serve(&site, &[]).await;
    let logs = host.log.parent().unwrap();
    let elsewhere = site.path().join("elsewhere");
    fs::rename(logs, &elsewhere).unwrap();
    host.signal(Signal::USR1);
    let old = elsewhere.join("log");
    let failed = host.logged(&old, "log-not-reopened").await;
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains(host.log.to_str().unwrap()), "{failed}");
    fs::create_dir(logs).unwrap();
    fs::set_permissions(logs, Permissions::from_mode(0o755)).unwrap();
    host.signal(Signal::USR1);
    host.logged(&host.log, "log-reopened").await;
}

#[tokio::test]
async fn a_log_file_that_cannot_be_opened_keeps_a_host_from_starting() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let mut command = site.command("serve");
    command
        .arg(site.library("probe"))
        .args(["--log-file", "no/such/log"]);
    let ended = replug_tests::host::finish(command).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("no/such/log"), "{ended:?}");
}
