//! Whether a setup that takes its time delays requests: the slowest answer while one is under way,
//! beside the slowest before.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use replug_bench::servers::Programs;
use replug_tests::{Connection, deploy::Artifact, host::Site};

use crate::{Args, percentile};

/// How long the new version's setup takes, and how long is measured before.
const SETUP: Duration = Duration::from_secs(3);
/// Connections that ask all the time.
const CONNECTIONS: usize = 4;

pub(crate) async fn run(args: &Args, programs: &Programs) {
    let site = Site::new();
    let probe = Artifact::new(fs::read(&programs.probe).unwrap());
    let path = site.install("probe", &probe);
    let setting = format!("fixture-probe.setup=slow:{}", SETUP.as_millis());
    // The first version takes its time, too; nobody waits for that here.
    let extra = ["--set", &setting, "--guard", "0s"].map(str::to_owned);
    let host = programs.serve_with(&path, 1, &site, &extra).await;
    println!(
        "slow setup: a setup of {SETUP:?}, asked all the time on {CONNECTIONS} connections, {} rounds\n",
        args.rounds
    );
    println!(
        "{:8} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "round", "before ms", "during ms", "p99 before", "p99 during", "answers"
    );
    let mut differences = Vec::new();
    for round in 0..args.rounds {
        let version = round as u64 + 2;
        let before = ask(&host.address, async || tokio::time::sleep(SETUP).await).await;
        let during = ask(&host.address, async || {
            probe.with_version(version).install(&path);
            host.serving("fixture-probe", version).await;
        })
        .await;
        host.retired("fixture-probe", version - 1).await;
        println!(
            "{:8} {:12.2} {:12.2} {:12.2} {:12.2} {:12}",
            round + 1,
            percentile(&before, 100),
            percentile(&during, 100),
            percentile(&before, 99),
            percentile(&during, 99),
            during.len(),
        );
        differences.push(percentile(&during, 100) - percentile(&before, 100));
    }
    println!(
        "\nslowest during less slowest before: median {:.2} ms, worst {:.2} ms",
        percentile(&differences, 50),
        percentile(&differences, 100),
    );
}

/// The milliseconds of all answers that came while something went on.
async fn ask(address: &str, during: impl AsyncFnOnce()) -> Vec<f64> {
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (address, over) = (address.to_owned(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut connection = Connection::http1(&address).await;
                let mut times = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    connection.text("/").await;
                    times.push(began.elapsed().as_secs_f64() * 1e3);
                }
                times
            })
        })
        .collect();
    during().await;
    over.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await.unwrap());
    }
    times
}
