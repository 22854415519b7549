//! Whether what is to happen after a time happens then: a request that waits for a worker in vain,
//! one that takes too long, and the end of workers whose supervisor was killed.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use replug_bench::servers::Programs;
use replug_tests::{Host, deploy::Artifact, host::Site, process};
use rustix::process::Signal;

use crate::{Args, percentile};

/// How long the worker that is to come takes; longer than anybody waits.
const SETUP: Duration = Duration::from_secs(4);

pub(crate) async fn run(args: &Args, programs: &Programs) {
    let mut waited = Vec::new();
    let mut ended = Vec::new();
    let mut gone = Vec::new();
    for _ in 0..args.rounds {
        waited.push(queue_timeout(programs).await);
        ended.push(request_timeout(programs).await);
        gone.push(killed_supervisor(programs).await);
    }
    println!("clocks: {} rounds\n", args.rounds);
    println!("{:56} {:>9} {:>9}", "", "p50 ms", "max ms");
    for (what, times) in [
        ("queue-timeout = 2s, no worker for 4 s → 504", &waited),
        ("request-timeout = 2s, a handler without end → 504", &ended),
        ("supervisor killed → its 4 workers are gone", &gone),
    ] {
        println!(
            "{what:56} {:9.1} {:9.1}",
            percentile(times, 50),
            percentile(times, 100)
        );
    }
    println!();
}

async fn probe(programs: &Programs, site: &Site, more: &[&str]) -> Host {
    let probe = Artifact::new(fs::read(&programs.probe).unwrap());
    let path = site.install("probe", &probe);
    let more: Vec<String> = more.iter().map(|&word| word.to_owned()).collect();
    let host = programs.serve_with(&path, 1, site, &more).await;
    host.serving("fixture-probe", 1).await;
    host
}

async fn queue_timeout(programs: &Programs) -> f64 {
    let site = Site::new();
    let setup = format!("fixture-probe.setup=slow:{}", SETUP.as_millis());
    let options = [
        "--processes=1",
        "--group-option=queue-timeout=2s",
        "--set",
        &setup,
    ];
    let host = probe(programs, &site, &options).await;
    for pid in workers(&host) {
        process::signal(pid.into(), Signal::KILL);
    }
    host.event("worker-died").await;
    not_answered(&host, "/").await
}

async fn request_timeout(programs: &Programs) -> f64 {
    let site = Site::new();
    let options = ["--processes=1", "--group-option=request-timeout=2s"];
    let host = probe(programs, &site, &options).await;
    not_answered(&host, "/hang").await
}

/// The milliseconds until a request gets a 504.
async fn not_answered(host: &Host, path: &str) -> f64 {
    let mut connection = host.connect().await;
    let began = Instant::now();
    let answer = connection.get(path).await;
    let time = began.elapsed();
    assert_eq!(answer.status.as_u16(), 504, "{answer:?}");
    time.as_secs_f64() * 1e3
}

async fn killed_supervisor(programs: &Programs) -> f64 {
    let site = Site::new();
    let mut host = probe(programs, &site, &["--processes=4"]).await;
    let workers = workers(&host);
    assert_eq!(workers.len(), 4);
    host.signal(Signal::KILL);
    let began = Instant::now();
    let is_there = |pid: &u32| Path::new(&format!("/proc/{pid}/maps")).exists() && !is_zombie(*pid);
    while workers.iter().any(is_there) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let time = began.elapsed();
    host.exit().await;
    time.as_secs_f64() * 1e3
}

/// The host's children.
fn workers(host: &Host) -> Vec<u32> {
    let mut workers = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        // It may have gone meanwhile.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
        let parent = fields.and_then(|fields| fields.split(' ').nth(1));
        if parent == Some(&host.pid().to_string()) {
            workers.push(pid);
        }
    }
    workers
}

fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}
