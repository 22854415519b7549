//! A host that goes on in a fresh process image: the answer to all that cannot be reloaded, the
//! host's own program and the libraries that plugins are linked to among it.
//!
//! The process executes its program anew, in its own place: its id stays, so that who supervises it
//! sees nothing. The sockets that it listens on stay open all the time; who connects meanwhile
//! waits in their queues. nginx and HAProxy start a second process instead, which makes no pause,
//! but is another process.

use std::{
    env,
    ffi::OsString,
    io,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tokio::time::timeout;

use crate::{config::ListenAddress, process, server::Heirloom};

/// How long the new program may take to say that it is one.
const CHECK: Duration = Duration::from_secs(10);

/// What the image before left, on the command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub(in crate::cli) struct Inheritance {
    /// A socket to go on with: its number, and what it listens on.
    #[arg(long = "inherit-socket", hide = true, value_name = "FD=ADDR", value_parser = parse_socket)]
    sockets: Vec<(RawFd, ListenAddress)>,
    /// Where apps' state is, of a host that keeps none else.
    #[arg(long = "inherit-state", hide = true, value_name = "DIR")]
    state: Option<PathBuf>,
}

fn parse_socket(text: &str) -> Result<(RawFd, ListenAddress), String> {
    let parts = text.split_once('=').ok_or("write FD=ADDR")?;
    let number = parts.0.parse().map_err(|_| "the descriptor is no number")?;
    let address: ListenAddress = parts.1.parse().map_err(|error| format!("{error}"))?;
    Ok((number, address))
}

/// What a host goes on with.
#[derive(Debug, Default)]
pub(in crate::cli) struct Estate {
    pub(super) sockets: Vec<Heirloom>,
    pub(super) state: Option<PathBuf>,
}

impl Inheritance {
    /// Takes it. Once, and before anything else is opened.
    pub(in crate::cli) fn take(self) -> Estate {
        let take = |(number, address)| match process::adopt(number) {
            Ok(socket) => Some(Heirloom { address, socket }),
            Err(error) => {
                // It is bound anew.
                tracing::warn!("socket {number} for {address} was not left: {error}");
                None
            }
        };
        Estate {
            sockets: self.sockets.into_iter().filter_map(take).collect(),
            state: self.state,
        }
    }
}

/// The program as it was started.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Program {
    path: Option<PathBuf>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
}

impl Program {
    /// To be called before any plugin runs: those may change the environment and the directory,
    /// and somebody may replace the file.
    pub(in crate::cli) fn remember() -> Self {
        let own = |arg: &OsString| !arg.as_encoded_bytes().starts_with(b"--inherit-");
        Self {
            path: env::current_exe().ok(),
            args: env::args_os().skip(1).filter(own).collect(),
            env: env::vars_os().collect(),
            dir: env::current_dir().ok(),
        }
    }

    /// Whether the program at that path runs, and takes the configuration: what can be found out
    /// while the present image still serves.
    pub(super) async fn check(&self) -> Result<(), String> {
        let Some(path) = &self.path else {
            return Err("the system does not say which program this is".to_owned());
        };
        self.try_run(path, &["--version".into()]).await?;
        if self.args.first().is_some_and(|command| command == "serve") {
            let mut args = self.args.clone();
            args[0] = "validate".into();
            self.try_run(path, &args).await?;
        }
        Ok(())
    }

    async fn try_run(&self, path: &Path, args: &[OsString]) -> Result<(), String> {
        /// An artifact that is refused is no reason not to restart.
        const REFUSED: i32 = crate::exit_code::ExitCode::Refused as i32;
        let shown = path.display();
        let mut command = tokio::process::Command::new(path);
        command
            .args(args)
            .env_clear()
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let ended = timeout(CHECK, command.output())
            .await
            .map_err(|_| format!("{shown} did not end within {CHECK:?}"))?
            .map_err(|error| format!("{shown} cannot be executed: {error}"))?;
        match ended.status.code() {
            Some(0 | REFUSED) => Ok(()),
            _ => Err(format!(
                "{shown} {} ends with {}: {}",
                args.first()
                    .map(|arg| arg.to_string_lossy())
                    .unwrap_or_default(),
                ended.status,
                String::from_utf8_lossy(&ended.stderr).trim(),
            )),
        }
    }

    /// Goes on in a fresh image. Comes back only when that fails.
    pub(super) fn execute(&self, estate: &Estate) -> io::Error {
        let Some(path) = &self.path else {
            return io::Error::other("the system does not say which program this is");
        };
        let mut args = self.args.iter();
        let mut command = Command::new(path);
        command.args(args.next());
        for Heirloom { address, socket } in &estate.sockets {
            if let Err(error) = process::leave(socket) {
                return error;
            }
            command.arg(format!("--inherit-socket={}={address}", socket.as_raw_fd()));
        }
        if let Some(state) = &estate.state {
            let mut arg = OsString::from("--inherit-state=");
            arg.push(state);
            command.arg(arg);
        }
        command
            .args(args)
            .env_clear()
            .envs(self.env.iter().cloned());
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command.exec()
    }
}
