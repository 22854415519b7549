//! Signals that change something of a host, and neither end nor restart it.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::start::cannot_start;
use crate::{
    exit_code::ExitCode,
    process::child::{adopts_orphans, reap_orphans},
    supervisor::{Change, Sizes},
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

/// The signals, as they come.
pub(super) struct Asides {
    more: Signal,
    fewer: Signal,
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
                _ = self.fewer.recv() => self.sizes.change(Change::Fewer, FEWER.1),
            }
        }
    }
}
