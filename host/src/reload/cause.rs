//! Why a load is begun, and what of.

use std::path::PathBuf;

use crate::{id::Digest, loader::StopReason};

/// Why a load is begun; of two that wait, the later in this list counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// Files that the app tracks changed.
    Tracked,
    /// The library changed, or is new.
    Change,
    /// Another app of its group is loaded anew, and all of them move into other processes.
    Neighbour,
    /// Another configuration is to be in force.
    Apply,
    /// The generation that serves is as old as it may get.
    Age,
    /// It has answered as many requests as it may.
    Requests,
    /// It uses more memory than it may.
    Memory,
    /// The app itself asked.
    App,
    /// Somebody asked. `force`: however many old generations stay loaded.
    Command { force: bool },
    /// A newer one did worse, or somebody asked for the one before.
    Rollback(Digest),
    /// Somebody asked for that one to stay.
    Pin(Digest),
    /// The one that served was stopped for one that then failed.
    Revival(Digest),
}

impl Cause {
    /// What the generation that it replaces is told.
    pub(super) fn stop_reason(&self) -> StopReason {
        match self {
            Self::Memory => StopReason::MemoryLimit,
            Self::Requests => StopReason::MaxRequests,
            Self::Age => StopReason::MaxAge,
            Self::Rollback(_) => StopReason::Rollback,
            _ => StopReason::Reload,
        }
    }

    /// Whether the app's file, or what it tracks, is what it is about.
    pub(super) fn is_change(&self) -> bool {
        matches!(self, Self::Tracked | Self::Change)
    }

    /// Whether a generation of the very artifact that serves is wanted.
    pub(super) fn wants_the_same(&self) -> bool {
        matches!(
            self,
            Self::Neighbour | Self::Apply | Self::Age | Self::Requests | Self::Memory
        )
    }

    /// Whether the new generation may be rolled back if it does worse.
    pub(super) fn is_guarded(&self) -> bool {
        self.is_change() || matches!(self, Self::App | Self::Command { .. })
    }

    /// For the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Tracked => "tracked",
            Self::Change => "change",
            Self::Neighbour => "neighbour",
            Self::Apply => "apply",
            Self::Age => "max-age",
            Self::Requests => "max-requests",
            Self::Memory => "memory-limit",
            Self::App => "app",
            Self::Command { .. } => "command",
            Self::Rollback(_) => "rollback",
            Self::Pin(_) => "pin",
            Self::Revival(_) => "revival",
        }
    }
}

/// Where the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the app's file.
    File,
    /// In a copy that was kept.
    Kept { file: PathBuf, digest: Digest },
    /// In another host's copy, which is opened itself.
    Handed { file: PathBuf, digest: Digest },
}
