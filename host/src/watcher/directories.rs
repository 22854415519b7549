//! The directories that are watched.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use notify::{Event, RecursiveMode};
use tokio::sync::mpsc::UnboundedSender;

use super::signal;

/// Watches directories by their *real* paths.
///
/// The system gives two paths of one directory the same watch, and `notify` then tells all events
/// by the path that came last (notify#572); real paths are one per directory.
pub(super) struct Directories {
    backend: Box<dyn notify::Watcher + Send>,
    watched: HashSet<PathBuf>,
}

impl std::fmt::Debug for Directories {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directories")
            .field("watched", &self.watched)
            .finish_non_exhaustive()
    }
}

impl Directories {
    /// Events that can mean something go to `forward`, from a thread of `notify`'s.
    pub(super) fn new(forward: UnboundedSender<notify::Result<Event>>) -> notify::Result<Self> {
        let backend = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, signal::concerns) {
                // Nobody receives any more: the watcher is being dropped.
                let _ = forward.send(event);
            }
        })?;
        Ok(Self {
            backend: Box::new(backend),
            watched: HashSet::new(),
        })
    }

    /// Ones that no event ever comes of, as on a file system that tells of none.
    #[cfg(test)]
    pub(super) fn deaf() -> Self {
        Self {
            backend: Box::new(notify::NullWatcher),
            watched: HashSet::new(),
        }
    }

    /// Watches a directory. `Ok(true)`: it was not watched before, so that what happened in it
    /// before now must be looked for.
    pub(super) fn ensure(&mut self, dir: &Path) -> notify::Result<bool> {
        if self.watched.contains(dir) {
            return Ok(false);
        }
        self.backend.watch(dir, RecursiveMode::NonRecursive)?;
        self.watched.insert(dir.to_owned());
        Ok(true)
    }

    /// Forgets the watches at and below a path that now is, or may be, another file: they stayed
    /// with the old one. (`notify` drops some of them by itself.)
    pub(super) fn forget_below(&mut self, path: &Path) {
        self.keep(|dir| !dir.starts_with(path));
    }

    /// Ends the watches that are not wanted any more.
    pub(super) fn keep(&mut self, wanted: impl Fn(&Path) -> bool) {
        let backend = &mut self.backend;
        self.watched.retain(|dir| {
            let keep = wanted(dir);
            if !keep {
                // It fails where the directory, and so the watch, is gone already.
                let _ = backend.unwatch(dir);
            }
            keep
        });
    }
}
