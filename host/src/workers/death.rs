//! How a worker ended.

use std::fmt;

use nix::sys::signal::Signal;

use crate::process::child;

/// How a worker process ended, or why it counts as ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// It ended by itself, with that code.
    Exited(i32),
    /// A signal ended it: its number.
    Killed(i32),
    /// The kernel ended it for lack of memory, of its control group or one above.
    OutOfMemory,
    /// The process may be there, and is of no use: why.
    Lost(String),
}

impl From<child::Death> for Death {
    fn from(death: child::Death) -> Self {
        match death {
            child::Death::Exited(code) => Self::Exited(code),
            child::Death::Signalled { signal, .. } => Self::Killed(signal),
            child::Death::OutOfMemory => Self::OutOfMemory,
            child::Death::Unknown => Self::Lost(death.to_string()),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Killed(signal) => match Signal::try_from(*signal) {
                Ok(known) => write!(f, "was ended by signal {signal} ({known})"),
                Err(_) => write!(f, "was ended by signal {signal}"),
            },
            Self::OutOfMemory => child::Death::OutOfMemory.fmt(f),
            Self::Lost(why) => f.write_str(why),
        }
    }
}
