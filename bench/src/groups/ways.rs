//! Requests per second of a group of as many workers as there are cores, both ways in, beside axum's
//! own server and beside nginx in front of it.

use replug_bench::servers::{Native, Programs};
use replug_tests::host::Site;

use crate::{
    Args,
    compare::{Server, compare},
    cores,
    load::Tool,
    peers,
};

pub(crate) async fn run(args: &Args, programs: &Programs) {
    let tool = Tool::find();
    let cores = cores();
    let site = Site::new();
    let one_each = [
        "--processes",
        &cores.to_string(),
        "--group-option=threads=1",
    ]
    .map(str::to_owned);
    let proxied = programs
        .serve_with(&programs.payload, cores, &site, &one_each)
        .await;
    let other = Site::new();
    let direct = [&one_each[..], &["--direct".to_owned()]].concat();
    let direct = programs
        .serve_with(&programs.payload, cores, &other, &direct)
        .await;
    let native = Native::start(programs, cores, None);
    let socket = site.path().join("native.sock");
    let _behind = Native::start(programs, cores, Some(&socket));
    let nginx = peers::nginx(site.path(), &socket, cores).await;
    println!(
        "groups: {cores} workers of one HTTP thread, the host and all others with {cores} threads, on \
         {cores} cores that the load shares; {} connections, {tool:?}, {} rounds of {} s",
        args.connections, args.rounds, args.seconds,
    );
    let mut servers = vec![
        Server {
            name: "native",
            address: &native.address,
        },
        Server {
            name: "proxied",
            address: &proxied.address,
        },
        Server {
            name: "direct",
            address: &direct.address,
        },
    ];
    let mut pairs = vec![(2, 0), (1, 0)];
    if let Some(nginx) = &nginx {
        pairs.push((1, servers.len()));
        servers.push(Server {
            name: "nginx",
            address: &nginx.address,
        });
    }
    for path in ["/hello", "/64k"] {
        compare(tool, args, path, &servers, &pairs).await;
    }
    println!();
}
