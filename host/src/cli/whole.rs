//! `replug restart` and `replug stop`.

use std::time::Duration;

use http::{Method, Uri};
use tokio::time::{Instant, sleep};

use super::{
    client::{ClientError, Target},
    output::{print, print_error},
};
use crate::{admin::HostAnswer, exit_code::ExitCode, reload::Status};

/// Between two looks whether it is done.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// How long to wait until it is done.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    target: Target,
}

/// Has the host go on in a fresh process image, and waits until that answers.
pub(super) fn restart(args: Args) -> ExitCode {
    let Args { timeout, target } = args;
    let path = target.path();
    target.run(timeout, "restart", async {
        let before: Status = path.ask(Method::GET, &Uri::from_static("/status")).await?;
        if let Some(code) = path.tell("/restart").await? {
            return Ok(code);
        }
        loop {
            // It does not answer while it is between the two.
            let now: Result<Status, _> = path.ask(Method::GET, &Uri::from_static("/status")).await;
            if let Ok(now) = now
                && now.process.instance != before.process.instance
            {
                let line = format!("process {} goes on in a fresh image\n", now.process.pid);
                print(&line);
                return Ok(ExitCode::Ok);
            }
            sleep(PAUSE).await;
        }
    })
}

/// Has the host drain and end, and waits for its end.
pub(super) fn stop(args: Args) -> ExitCode {
    let Args { timeout, target } = args;
    let path = target.path();
    target.run(timeout, "stop", async {
        let before: Status = path.ask(Method::GET, &Uri::from_static("/status")).await?;
        if let Some(code) = path.tell("/stop").await? {
            return Ok(code);
        }
        let pid = before.process.pid;
        let alive = || std::path::Path::new(&format!("/proc/{pid}")).exists();
        let began = Instant::now();
        // Where there is no /proc, its socket has to do.
        let seen = alive();
        while if seen {
            alive()
        } else {
            path.exists() && began.elapsed() < timeout
        } {
            sleep(PAUSE).await;
        }
        print(&format!("process {pid} has ended\n"));
        Ok(ExitCode::Ok)
    })
}

impl super::client::Path {
    /// `None`: it is under way.
    async fn tell(&self, what: &'static str) -> Result<Option<ExitCode>, ClientError> {
        let answer = self.ask(Method::POST, &Uri::from_static(what)).await;
        match answer {
            Ok(HostAnswer::Accepted) => Ok(None),
            Ok(HostAnswer::Refused { reason }) => {
                let remedy = "put a program and a configuration in place that work; the host's \
                              log says more";
                print_error(&format!("refused: {reason}"), remedy);
                Ok(Some(ExitCode::Refused))
            }
            // It may be gone before its answer is out.
            Err(ClientError::Broken { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
