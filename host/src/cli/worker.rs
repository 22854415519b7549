//! `replug worker`

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
};

use super::{
    output::{LogArgs, print_error},
    serve::with_runtime,
};
use crate::{
    exit_code::ExitCode,
    process,
    server::Lane,
    worker::{self, OwnSockets},
};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The descriptor of the channel to the supervisor.
    #[arg(long, value_name = "NUMBER")]
    channel: i32,
    /// The descriptor of the socket to listen on.
    #[arg(long, value_name = "NUMBER")]
    listener: i32,
    /// The descriptor of a socket that all workers of the group take connections on. May be given
    /// again.
    #[arg(long, value_name = "NUMBER", requires = "lane")]
    direct: Vec<i32>,
    /// The descriptors by which workers of the group pass connections on.
    #[arg(long, value_name = "NUMBER", num_args = 2)]
    lane: Vec<i32>,
    /// The descriptor that the log goes to.
    #[arg(long, value_name = "NUMBER")]
    log: i32,
    #[command(flatten)]
    how: LogArgs,
}

pub(super) fn run(args: Args) -> ExitCode {
    if let Some(name) = std::env::args().next() {
        // Without one, lists of processes show the command line.
        let _ = process::set_title(&name);
    }
    match adopt(&args).and_then(|three| Ok((three, adopt_own(&args)?))) {
        Ok(([channel, listener, log], own)) => {
            args.how.install_in_worker(log);
            let work = worker::run(UnixStream::from(channel), UnixListener::from(listener), own);
            with_runtime(work).unwrap_or_else(|code| code)
        }
        Err(error) => {
            let error = format!("cannot be a worker: {error}");
            print_error(
                &error,
                "workers are started by `replug serve`, for a process group",
            );
            ExitCode::CannotStart
        }
    }
}

fn adopt(args: &Args) -> io::Result<[OwnedFd; 3]> {
    Ok([
        process::adopt(args.channel)?,
        process::adopt(args.listener)?,
        process::adopt(args.log)?,
    ])
}

fn adopt_own(args: &Args) -> io::Result<Option<OwnSockets>> {
    let [near, far] = args.lane[..] else {
        return Ok(None);
    };
    let sockets = args.direct.iter().map(|number| process::adopt(*number));
    Ok(Some(OwnSockets {
        sockets: sockets.collect::<io::Result<_>>()?,
        lane: Lane::of(process::adopt(near)?, process::adopt(far)?),
    }))
}
