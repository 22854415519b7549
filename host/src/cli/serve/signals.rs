//! The signals that a host is told things by.

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::start::cannot_start;
use crate::exit_code::ExitCode;

/// What a signal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM: drain, then end.
    Terminate,
    /// SIGINT: the same.
    Interrupt,
    /// SIGQUIT: end at once.
    Quit,
    /// SIGHUP: have a changed configuration in force.
    Apply,
    /// SIGUSR2: go on in a fresh process image.
    Restart,
}

impl Signal {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Apply => "SIGHUP",
            Self::Restart => "SIGUSR2",
        }
    }

    /// How a host ends that it has ended at once.
    pub(super) fn code(self) -> ExitCode {
        match self {
            Self::Interrupt => ExitCode::Interrupted,
            Self::Quit => ExitCode::Quit,
            Self::Terminate | Self::Apply | Self::Restart => ExitCode::Terminated,
        }
    }
}

/// The signals, as they come.
pub(super) struct Signals {
    terminate: Stream,
    interrupt: Stream,
    quit: Stream,
    apply: Stream,
    restart: Stream,
}

impl Signals {
    pub(super) fn new() -> Result<Self, ExitCode> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                cannot_start(
                    &format!("cannot wait for signals: {error}"),
                    "see the system's log",
                )
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            apply: listen(SignalKind::hangup())?,
            restart: listen(SignalKind::user_defined2())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.quit.recv() => Signal::Quit,
            _ = self.apply.recv() => Signal::Apply,
            _ = self.restart.recv() => Signal::Restart,
        }
    }
}
