//! Requests per second through Replug, beside the same router on axum's own server.

use replug_bench::servers::{Native, Programs};
use replug_tests::host::Site;

use crate::{
    Args,
    compare::{Server, compare},
    cores,
    load::Tool,
};

pub(crate) async fn run(args: &Args, programs: &Programs) {
    let tool = Tool::find();
    let threads = args.threads.unwrap_or((cores() / 2).max(1));
    let site = Site::new();
    let host = programs.serve(&programs.payload, threads, &site).await;
    let native = Native::start(programs, threads, None);
    println!(
        "throughput: {threads} of {} cores as HTTP threads, {} connections, {tool:?}, {} rounds of {} s",
        cores(),
        args.connections,
        args.rounds,
        args.seconds,
    );
    let servers = [
        Server {
            name: "native",
            address: &native.address,
        },
        Server {
            name: "replug",
            address: &host.address,
        },
    ];
    for path in ["/hello", "/64k"] {
        compare(tool, args, path, &servers, &[(1, 0)]).await;
    }
    println!();
}
