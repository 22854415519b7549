//! How an app learns that its time is over.

use std::fmt;

use tokio::sync::watch;

use crate::abi;

/// Why a generation stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A newer generation serves.
    Reload,
    /// The artifact was removed.
    Removal,
    /// The host ends.
    HostShutdown,
    /// It was started, but never served, because a later step of the reload failed.
    Abandoned,
    /// The app used more memory than its limit allows, and a fresh generation serves.
    MemoryLimit,
    /// It did worse than the one before, which serves again; or somebody asked for that.
    Rollback,
    /// It has answered as many requests as it may, and a fresh generation serves.
    MaxRequests,
    /// It has served as long as it may, and a fresh generation serves.
    MaxAge,
    /// The host replaces itself.
    Restart,
    /// Its worker process had no request for as long as it may, and ends until there is one.
    Inactivity,
    /// Somebody sent its worker process a signal; another worker takes its place.
    Signal,
    /// A reason that this version of the crate has no name for.
    Other(u32),
}

impl Reason {
    pub(crate) fn from_abi(reason: u32) -> Self {
        match reason {
            abi::REASON_RELOAD => Self::Reload,
            abi::REASON_REMOVAL => Self::Removal,
            abi::REASON_HOST_SHUTDOWN => Self::HostShutdown,
            abi::REASON_ABANDONED => Self::Abandoned,
            abi::REASON_MEMORY_LIMIT => Self::MemoryLimit,
            abi::REASON_ROLLBACK => Self::Rollback,
            abi::REASON_MAX_REQUESTS => Self::MaxRequests,
            abi::REASON_MAX_AGE => Self::MaxAge,
            abi::REASON_RESTART => Self::Restart,
            abi::REASON_INACTIVITY => Self::Inactivity,
            abi::REASON_SIGNAL => Self::Signal,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reload => f.write_str("reload"),
            Self::Removal => f.write_str("removal"),
            Self::HostShutdown => f.write_str("host shutdown"),
            Self::Abandoned => f.write_str("abandoned"),
            Self::MemoryLimit => f.write_str("memory limit"),
            Self::Rollback => f.write_str("rollback"),
            Self::MaxRequests => f.write_str("max requests"),
            Self::MaxAge => f.write_str("max age"),
            Self::Restart => f.write_str("restart"),
            Self::Inactivity => f.write_str("inactivity"),
            Self::Signal => f.write_str("signal"),
            Self::Other(code) => write!(f, "reason {code}"),
        }
    }
}

/// Resolves when draining begins: no new request comes, those in flight may finish.
///
/// Long-lived responses (server-sent events, WebSockets) should end when it resolves; what is
/// left at the drain deadline is cut.
#[derive(Clone, Debug)]
pub struct ShutdownToken(watch::Receiver<Option<Reason>>);

impl ShutdownToken {
    /// Waits until draining begins, and says why it did. Cancel-safe.
    pub async fn wait(&mut self) -> Reason {
        match self.0.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or(Reason::Abandoned),
            // The sender is gone only after everything else: nobody is left to be told more.
            Err(_) => Reason::Abandoned,
        }
    }

    /// Why draining has begun; `None` while it has not.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        *self.0.borrow()
    }
}

/// The sending half.
#[derive(Debug)]
pub(crate) struct ShutdownSignal(watch::Sender<Option<Reason>>);

impl ShutdownSignal {
    pub(crate) fn new() -> (Self, ShutdownToken) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), ShutdownToken(receiver))
    }

    /// Resolves the tokens; the first reason stays.
    pub(crate) fn fire(&self, reason: Reason) {
        self.0.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert(reason);
            first
        });
    }
}
