//! What a file event means, whatever the system calls it.

use std::path::Path;

use notify::{
    Event, EventKind,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};

/// What an event says about one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Who had it open for writing has closed it.
    Closed,
    /// It was renamed to this path, complete or not as it was before.
    Arrived,
    /// It was made here: a file, still empty; a hard link; a symbolic link; a directory.
    Created,
    /// It was removed or renamed to another path. For a watched directory: from anywhere.
    Gone,
    /// Bytes of it were written.
    Written,
    /// Its times, owner or permissions were set.
    Touched,
}

/// Whether an event can mean anything here. The host's own reading of artifacts makes most of
/// those that do not.
pub(super) fn concerns(event: &Event) -> bool {
    event.need_rescan() || of(event).is_some()
}

/// What an event says, and about which path.
pub(super) fn of(event: &Event) -> Option<(Signal, &Path)> {
    let signal = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Signal::Closed,
        EventKind::Create(_) => Signal::Created,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
            Signal::Gone
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Signal::Arrived,
        // It comes besides the two above, and says the same.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return None,
        EventKind::Modify(ModifyKind::Name(_)) => Signal::Created,
        EventKind::Modify(ModifyKind::Metadata(_)) => Signal::Touched,
        EventKind::Modify(_) => Signal::Written,
        EventKind::Access(_) | EventKind::Any | EventKind::Other => return None,
    };
    event.paths.first().map(|path| (signal, path.as_path()))
}
