//! How a child died.

use std::fmt;

use nix::sys::signal::Signal;
use rustix::process::WaitIdStatus;

/// How a child died. Shown, it goes on from a name: "worker 2 of blue …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal.
    Signalled {
        /// Its number.
        signal: i32,
        /// Whether there is a core dump.
        core: bool,
    },
    /// The kernel's OOM killer ended it, for the memory that its control group used or another above.
    OutOfMemory,
    /// Something else in this process has taken its status: a library that waits for any child,
    /// or has this process ignore SIGCHLD. Or nothing watches it any more, since the runtime that
    /// it was started on has ended.
    Unknown,
}

impl Death {
    pub(super) fn from_status(status: &WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, Some(signal)) => Self::Signalled {
                signal,
                core: status.dumped(),
            },
            // Only asked for deaths, of which there are no others.
            (None, None) => Self::Unknown,
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Signalled { signal, core } => {
                match Signal::try_from(signal) {
                    Ok(known) => write!(f, "was killed by {known}")?,
                    Err(_) => write!(f, "was killed by signal {signal}")?,
                }
                f.write_str(if core { " (core dumped)" } else { "" })
            }
            Self::OutOfMemory => {
                f.write_str("was killed by the kernel for lack of memory (oom_kill)")
            }
            Self::Unknown => f.write_str("is gone, and how is not known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_are_shown_with_the_names_of_signals() {
        let signalled = |signal, core| Death::Signalled { signal, core }.to_string();
        assert_eq!(signalled(libc::SIGSEGV, false), "was killed by SIGSEGV");
        let dumped = "was killed by SIGABRT (core dumped)";
        assert_eq!(signalled(libc::SIGABRT, true), dumped);
        assert_eq!(signalled(40, false), "was killed by signal 40");
        assert_eq!(Death::Exited(3).to_string(), "exited with code 3");
    }
}
