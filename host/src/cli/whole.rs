//! `replug restart` and `replug stop`.

use std::time::Duration;

use http::{Method, Uri};
use tokio::{io::AsyncReadExt as _, net::UnixStream};

use super::{
    client::{ClientError, Path, Target},
    output::{print, print_error},
};
use crate::{
    admin::{HostAnswer, Image},
    exit_code::ExitCode,
};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// How long to wait until it is done.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    target: Target,
}

/// Has the host go on in a fresh process image, and waits until that serves.
pub(super) fn restart(args: Args) -> ExitCode {
    let Args { timeout, target } = args;
    let path = target.path();
    target.run(timeout, "restart", async {
        let uri = Uri::from_static("/restart");
        let before = match path.ask(Method::POST, &uri).await? {
            HostAnswer::Accepted { restarts } => restarts,
            HostAnswer::Refused { reason, remedy } => {
                print_error(&format!("refused: {reason}"), &remedy);
                return Ok(ExitCode::Refused);
            }
        };
        Ok(match image_after(&path, before).await {
            Ok(Image {
                failed: Some(reason),
                ..
            }) => {
                let remedy = "see to it that the program can be executed; the host has started \
                              again as it was";
                print_error(&reason, remedy);
                ExitCode::Refused
            }
            Ok(Image { pid, version, .. }) => {
                let line = format!("process {pid} goes on in a fresh image, version {version}\n");
                print(&line);
                ExitCode::Ok
            }
            Err(error) => {
                let remedy = "its log says why; start it again";
                print_error(&format!("the host has not come back: {error}"), remedy);
                ExitCode::Failure
            }
        })
    })
}

/// The next image, when it serves. The socket stays open all the time: who asks in between waits.
async fn image_after(path: &Path, restarts: u64) -> Result<Image, ClientError> {
    loop {
        let image: Result<Image, _> = path.ask(Method::GET, &Uri::from_static("/ready")).await;
        match image {
            Ok(image) if image.restarts > restarts => return Ok(image),
            // The image that ends was asked, and is gone by now.
            Ok(_) | Err(ClientError::Broken { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Has the host drain and end, and waits for its end.
pub(super) fn stop(args: Args) -> ExitCode {
    let Args { timeout, target } = args;
    let path = target.path();
    target.run(timeout, "stop", async {
        let connection = path.connect().await?;
        let pid = connection.peer_cred().ok().and_then(|peer| peer.pid());
        // Before it is asked to end: its id may be another's afterwards.
        let end = End::of(pid, connection);
        path.tell(Method::POST, &Uri::from_static("/stop")).await?;
        end.come().await;
        match pid {
            Some(pid) => print(&format!("process {pid} has ended\n")),
            None => print("the host has ended\n"),
        }
        Ok(ExitCode::Ok)
    })
}

/// A process's end, to be waited for.
enum End {
    #[cfg(target_os = "linux")]
    Process(std::os::fd::OwnedFd),
    /// Where processes cannot be waited for, or are not seen (in a container): a connection to it.
    Connection(UnixStream),
}

impl End {
    fn of(pid: Option<i32>, connection: UnixStream) -> Self {
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{Pid, PidfdFlags, pidfd_open};
            let pid = pid.and_then(Pid::from_raw);
            if let Some(Ok(process)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
                return Self::Process(process);
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = pid;
        Self::Connection(connection)
    }

    async fn come(self) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Process(process) => {
                use rustix::event::{PollFd, PollFlags, poll};
                let (tell, told) = tokio::sync::oneshot::channel();
                // Not a runtime's thread, for whose end this program would wait at its own.
                std::thread::spawn(move || {
                    // Readable is what it becomes at its end.
                    while poll(&mut [PollFd::new(&process, PollFlags::IN)], None).is_err() {}
                    let _ = tell.send(());
                });
                let _ = told.await;
            }
            Self::Connection(mut connection) => drop(connection.read(&mut [0]).await),
        }
    }
}
