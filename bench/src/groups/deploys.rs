//! Deploys under load, as clients see them: to a group of four workers, and to mod_wsgi's daemon
//! mode with four processes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use replug_bench::servers::Programs;
use replug_tests::{deploy::Artifact, host::Site};

use super::visitors::Visitors;
use crate::{Args, cores, peers, percentile};

const WORKERS: usize = 4;
const CLIENTS: usize = 12;
const DEPLOYS: u64 = 20;
/// From the first answer of a new version to the next deploy: time for an old one to be seen.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) async fn run(args: &Args, programs: &Programs) {
    println!(
        "deploys: {DEPLOYS} to {WORKERS} workers of one thread, asked all the time on {CLIENTS} connections, \
         {} rounds\n",
        args.rounds
    );
    println!(
        "{:10} {:>6} {:>9} {:>7} {:>7} {:>14} {:>14} {:>12} {:>12}",
        "",
        "round",
        "answers",
        "stale",
        "errors",
        "slowest ms",
        "without ms",
        "new p50 ms",
        "new max ms"
    );
    for round in 1..=args.rounds {
        replug(round, programs).await;
        mod_wsgi(round).await;
    }
    println!(
        "\nstale: answers of an old version to requests that began after the new one had answered\n\
         somebody; slowest and without: the slowest answer while deploying, and in as long a time\n\
         without; new: from the file's change to the first answer of the new version.\n"
    );
}

async fn replug(round: usize, programs: &Programs) {
    let site = Site::new();
    let probe = Artifact::new(fs::read(&programs.probe).unwrap());
    let path = site.install("probe", &probe);
    let workers = [
        "--processes",
        &WORKERS.to_string(),
        "--group-option=threads=1",
    ];
    let more = workers.map(str::to_owned);
    let host = programs.serve_with(&path, cores(), &site, &more).await;
    host.serving("fixture-probe", 1).await;
    let deploy = |version| probe.with_version(version).install(&path);
    measure("replug", round, &host.address, deploy).await;
}

async fn mod_wsgi(round: usize) {
    let site = Site::new();
    // Its workers run as another user.
    fs::set_permissions(site.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let script = site.path().join("app.wsgi");
    write_script(&script, 1);
    if let Some(apache) = peers::mod_wsgi(site.path(), &script, WORKERS).await {
        let deploy = |version| write_script(&script, version);
        measure("mod_wsgi", round, &apache.address, deploy).await;
    }
}

/// The whole script at once.
fn write_script(script: &Path, version: u64) {
    let text = format!(
        "def application(environ, start_response):\n\
         \x20   body = b'version {version}\\n'\n\
         \x20   start_response('200 OK', [('Content-Length', str(len(body)))])\n\
         \x20   return [body]\n"
    );
    let next = script.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, script).unwrap();
}

async fn measure(name: &str, round: usize, address: &str, deploy: impl Fn(u64)) {
    let mut visitors = Visitors::start(address, CLIENTS);
    visitors.seen(1).await;
    let began = Instant::now();
    let mut times = Vec::new();
    for version in 2..=DEPLOYS + 1 {
        let changed = Instant::now();
        deploy(version);
        visitors.seen(version).await;
        times.push(changed.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(PAUSE).await;
    }
    let time = began.elapsed();
    let while_deploying = visitors.end().await;
    let visitors = Visitors::start(address, CLIENTS);
    tokio::time::sleep(time).await;
    let without = visitors.end().await;
    println!(
        "{name:10} {round:6} {:9} {:7} {:7} {:14.1} {:14.1} {:12.1} {:12.1}",
        while_deploying.answers,
        while_deploying.stale,
        while_deploying.errors,
        while_deploying.slowest.as_secs_f64() * 1e3,
        without.slowest.as_secs_f64() * 1e3,
        percentile(&times, 50),
        percentile(&times, 100),
    );
}
