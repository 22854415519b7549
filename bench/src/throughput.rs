//! Requests per second through Replug, beside the same router on axum's own server.

use std::{num::NonZeroUsize, thread};

use replug_bench::servers::{Native, Programs};
use replug_tests::host::Site;

use crate::{
    Args,
    load::{Tool, Url},
    percentile,
};

pub(crate) async fn run(args: &Args, programs: &Programs) {
    let tool = Tool::find();
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = args.threads.unwrap_or((cores / 2).max(1));
    let site = Site::new();
    let host = programs.serve(&programs.payload, threads, &site).await;
    let native = Native::start(programs, threads);
    println!(
        "throughput: {threads} of {cores} cores as HTTP threads, {} connections, {tool:?}, {} rounds of {} s",
        args.connections, args.rounds, args.seconds,
    );
    for path in ["/hello", "/64k"] {
        println!("\n{path:8} round   native req/s   replug req/s   ratio");
        let mut ratios = Vec::new();
        let (native, replug) = (
            Url {
                address: &native.address,
                path,
            },
            Url {
                address: &host.address,
                path,
            },
        );
        let measure = async |url| tool.run(&url, args.connections, args.seconds).await;
        for url in [native, replug] {
            tool.run(&url, args.connections, 1).await;
        }
        for round in 1..=args.rounds {
            // Who is first alternates too: what the machine does meanwhile favours nobody.
            let (of_native, of_replug) = if round % 2 == 1 {
                let first = measure(native).await;
                (first, measure(replug).await)
            } else {
                let first = measure(replug).await;
                (measure(native).await, first)
            };
            let ratio = of_replug / of_native;
            println!("{round:14} {of_native:14.0} {of_replug:14.0} {ratio:7.3}");
            ratios.push(ratio);
        }
        println!("{:8} median ratio {:.3}", path, percentile(&ratios, 50));
    }
    println!();
}
