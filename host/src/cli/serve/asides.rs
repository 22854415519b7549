//! Signals that change something of a host, and neither end nor restart it.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::start::cannot_start;
use crate::{
    exit_code::ExitCode,
    process::child::{adopts_orphans, reap_orphans},
    supervisor::{Change, Sizes},
    telemetry,
};

/// `SIGTTIN` and `SIGTTOU`, which the terminal sends to whoever reads or writes in its background; a
/// host does neither. Gunicorn has the same meanings for them.
const MORE: (SignalKind, &str) = (
    SignalKind::from_raw(rustix::process::Signal::TTIN.as_raw()),
    "SIGTTIN",
);
const FEWER: (SignalKind, &str) = (
    SignalKind::from_raw(rustix::process::Signal::TTOU.as_raw()),
    "SIGTTOU",
);

/// What a program that rotates logs sends.
const REOPEN: (SignalKind, &str) = (SignalKind::user_defined1(), "SIGUSR1");

/// The signals, as they come.
pub(super) struct Asides {
    more: Signal,
    fewer: Signal,
    reopen: Signal,
    sizes: Sizes,
}

impl Asides {
    pub(super) fn new(sizes: Sizes) -> Result<Self, ExitCode> {
        let listen = |(kind, name)| {
            signal(kind).map_err(|error| {
                let error = format!("cannot wait for {name}: {error}");
                cannot_start(&error, "see the system's log")
            })
        };
        Ok(Self {
            more: listen(MORE)?,
            fewer: listen(FEWER)?,
            reopen: listen(REOPEN)?,
            sizes,
        })
    }

    /// Does what they say, for ever; and what is process 1's part, where this is it.
    pub(super) async fn run(mut self) {
        if adopts_orphans() {
            tokio::spawn(async {
                let Err(error) = reap_orphans().await;
                tracing::warn!(
                    event = "orphans-stay",
                    reason = %error,
                    remedy = "have an init process be process 1, and start the host",
                    "processes that others leave behind are not taken in: {error}",
                );
            });
        }
        loop {
            tokio::select! {
                _ = self.more.recv() => self.sizes.change(Change::More, MORE.1),
                _ = self.reopen.recv() => reopen(),
                _ = self.fewer.recv() => self.sizes.change(Change::Fewer, FEWER.1),
            }
        }
    }
}

/// The log goes on in a new file.
fn reopen() {
    match telemetry::reopen() {
        Ok(Some(path)) => tracing::info!(
            event = "log-reopened",
            path = %path.display(),
            "SIGUSR1: the log goes on in {}",
            path.display(),
        ),
        Ok(None) => tracing::warn!(
            event = "log-not-reopened",
            remedy = "have the log go to a file (--log-file)",
            "SIGUSR1: the log goes to standard error",
        ),
        Err(error) => tracing::error!(
            event = "log-not-reopened",
            reason = %error,
            remedy = error.remedy(),
            "SIGUSR1: {error}; the log goes on in the file before",
        ),
    }
}
