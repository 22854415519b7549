//! From the moment a new file is in place to its first answer, beside the plain cost of copying
//! and opening that file.

use std::{fs, process::Command, time::Instant};

use replug_bench::servers::Programs;
use replug_tests::{deploy::Artifact, host::Site};

use crate::{Args, percentile};

pub(crate) async fn run(args: &Args, programs: &Programs) {
    let site = Site::new();
    let probe = Artifact::new(fs::read(&programs.probe).unwrap());
    let path = site.install("probe", &probe);
    let host = programs.serve(&path, 1, &site).await;
    let mut connection = host.connect().await;
    assert_eq!(connection.text("/").await, "version 1\n");

    let next = site.path().join("next.so");
    let mut reload = Vec::new();
    for version in 2..=args.reloads + 1 {
        fs::write(&next, probe.with_version(version).bytes()).unwrap();
        let line = format!("version {version}\n");
        let began = Instant::now();
        fs::rename(&next, &path).unwrap();
        while connection.text("/").await != line {}
        reload.push(began.elapsed().as_secs_f64() * 1e3);
        // The old one's end is not the next one's delay.
        host.retired("fixture-probe", version - 1).await;
    }

    let output = Command::new(&programs.plain_load)
        .arg(&path)
        .arg(args.reloads.to_string())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let plain: Vec<f64> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|micros| micros.parse::<f64>().unwrap() / 1e3)
        .collect();

    let size = probe.bytes().len() >> 10;
    println!(
        "reload: {} reloads of a file of {size} KiB, asked all the time on one connection\n",
        args.reloads
    );
    println!("{:44} {:>9} {:>9}", "", "p50 ms", "p90 ms");
    for (what, times) in [
        ("renamed into place → first new response", &reload),
        ("copy + dlopen alone, in another process", &plain),
    ] {
        println!(
            "{what:44} {:9.2} {:9.2}",
            percentile(times, 50),
            percentile(times, 90)
        );
    }
    println!(
        "{:44} {:9.2} {:9.2}",
        "ratio",
        percentile(&reload, 50) / percentile(&plain, 50),
        percentile(&reload, 90) / percentile(&plain, 90)
    );
}
