//! From file events to [`WatchEvent`]s: an artifact changed, or is gone.
//!
//! *Directories* are watched, since editors, linkers and deploys put new files in place of old
//! ones, and a watch on a file would follow the old one. Which directories these are is worked
//! out by walking an artifact's path as the system does (`route`): all that hold a part of it or
//! a link on the way, so that a switched link, a renamed parent or a directory made again is seen.
//!
//! Whether a writer is done is told by the event where it can be: a file that was closed after
//! writing, renamed into place, or linked (as cargo does) is reported at once. Only where no event
//! tells it is it waited for quiet (`entry`).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use notify::Event;
use tokio::{
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::JoinHandle,
};

pub use self::tracked::{Arrangement, Tracked};
pub(crate) use self::watching::{is_library, libraries};
use self::{
    directories::Directories,
    watching::{Origin, Watching},
};
use crate::id::{ArtifactPath, ArtifactPathError};

mod directories;
mod entry;
mod route;
mod signal;
#[cfg(test)]
mod tests;
mod tracked;
mod watching;

/// What happened to an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// It is new, has other bytes, was touched, or a link on its way leads elsewhere. Its writer
    /// seems to be done.
    Changed(ArtifactPath),
    /// It is gone, and did not come back for half a second.
    Removed(ArtifactPath),
    /// Files that belong to it changed, came or went, and it did not.
    Tracked {
        /// The artifact.
        artifact: ArtifactPath,
        /// The files.
        files: Vec<PathBuf>,
    },
}

/// Watches artifacts, and stops when dropped.
#[derive(Debug)]
pub struct Watcher {
    watching: Arc<Mutex<Watching>>,
    /// Something is to be waited for that was not before.
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Starts watching nothing. Events go to `sender`; when nobody receives them they are lost.
    ///
    /// Must be called within a tokio runtime with time enabled, of any flavour.
    ///
    /// # Errors
    /// When the system has no more watchers to give.
    pub fn new(sender: UnboundedSender<WatchEvent>) -> Result<Self, WatchError> {
        let (forward, events) = unbounded_channel();
        let directories =
            Directories::new(forward).map_err(|reason| WatchError::Start { reason })?;
        Ok(Self::start(directories, events, sender))
    }

    fn start(
        directories: Directories,
        events: UnboundedReceiver<notify::Result<Event>>,
        sender: UnboundedSender<WatchEvent>,
    ) -> Self {
        let watching = Arc::new(Mutex::new(Watching::new(directories, sender)));
        let wake = Arc::<Notify>::default();
        let task = tokio::spawn(run(Arc::clone(&watching), events, Arc::clone(&wake)));
        Self {
            watching,
            wake,
            task,
        }
    }

    /// Watches an artifact, which need not exist yet. What it is now is not reported; what it
    /// becomes after this call is.
    ///
    /// # Errors
    /// When the directory nearest to it cannot be watched.
    pub fn watch_artifact(&self, path: ArtifactPath) -> Result<(), WatchError> {
        self.lock().add(path, Origin::Named)
    }

    /// Stops watching an artifact. One in a folder is found again at its next change.
    pub fn unwatch(&self, path: &ArtifactPath) {
        self.lock().remove(path);
    }

    /// Says how an artifact is watched, and what belongs to it, in the place of what was said
    /// before. From now on its changes and those of what belongs to it are reported as one, when
    /// they have come to rest.
    pub fn arrange(&self, path: &ArtifactPath, arrangement: Arrangement) {
        self.lock().arrange(path, arrangement, Instant::now());
        self.wake.notify_one();
    }

    /// Looks at folders and artifacts so often, too, whether there are events or not: for file
    /// systems that tell of none. Zero: never.
    pub fn poll_all(&self, every: Duration) {
        self.lock().poll_all(every, Instant::now());
        self.wake.notify_one();
    }

    /// Says that what was reported of that artifact could not be read: then a mere `chmod`, which
    /// is otherwise no change, is reported.
    pub fn unread(&self, path: &ArtifactPath) {
        self.lock().unread(path);
    }

    /// Watches a folder: each file in it that ends as libraries do here, and is not hidden, is an
    /// artifact. Returns those that are there now, by name; later ones are reported as changed.
    /// Neither the folder nor its parents need exist yet.
    ///
    /// # Errors
    /// When the folder, or what is nearest to it, cannot be watched.
    pub fn watch_directory(&self, dir: impl AsRef<Path>) -> Result<Vec<ArtifactPath>, WatchError> {
        let dir = ArtifactPath::new(dir).map_err(WatchError::Path)?;
        self.lock().add_folder(dir)
    }

    /// Stops watching a folder, and the libraries in it that were not named for themselves.
    pub fn unwatch_directory(&self, dir: &ArtifactPath) {
        self.lock().remove_folder(dir);
    }

    /// Watches exactly these files from now on, besides artifacts and folders: the sources of a
    /// build, for example. They are reported as artifacts are.
    ///
    /// # Errors
    /// When some cannot be watched; the others are.
    pub fn watch_files(
        &self,
        files: impl IntoIterator<Item = ArtifactPath>,
    ) -> Result<(), WatchError> {
        self.lock().set_files(files.into_iter().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Watching> {
        lock(&self.watching)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All that the watcher's task is woken by.
#[derive(Debug)]
enum Input {
    /// The system says that something happened.
    Notified(notify::Result<Event>),
    /// A time that was waited for has come.
    Deadline,
}

async fn run(
    watching: Arc<Mutex<Watching>>,
    mut events: UnboundedReceiver<notify::Result<Event>>,
    wake: Arc<Notify>,
) {
    loop {
        let deadline = lock(&watching).deadline();
        let input = tokio::select! {
            // What has happened counts before what has not: an event may put a deadline off.
            biased;
            event = events.recv() => match event {
                Some(event) => Input::Notified(event),
                None => return,
            },
            () = until(deadline) => Input::Deadline,
            () = wake.notified() => continue,
        };
        let now = Instant::now();
        let mut watching = lock(&watching);
        match input {
            Input::Notified(Ok(event)) if event.need_rescan() => watching.rescan(now),
            Input::Notified(Ok(event)) => watching.notified(&event, now),
            Input::Notified(Err(reason)) => {
                tracing::warn!(event = "watch-failed", %reason, "file events were lost; looking again");
                watching.rescan(now);
            }
            Input::Deadline => watching.expire(now),
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn lock(watching: &Mutex<Watching>) -> MutexGuard<'_, Watching> {
    // Nothing is left half-done that the next look at the files would not put right.
    watching.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why something cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// There is no watcher.
    #[error("cannot watch files: {reason}")]
    Start {
        /// What the system says.
        reason: notify::Error,
    },
    /// A directory that decides about a path cannot be watched.
    #[error("cannot watch {dir} for {path}: {reason}", dir = dir.display())]
    Directory {
        /// What was to be watched.
        path: ArtifactPath,
        /// The directory.
        dir: PathBuf,
        /// What the system says.
        reason: notify::Error,
    },
    /// A folder's name is no path.
    #[error(transparent)]
    Path(ArtifactPathError),
}

impl WatchError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Start { .. } => "raise the limit: sysctl fs.inotify.max_user_instances=1024",
            Self::Directory { reason, .. } => match reason.kind {
                notify::ErrorKind::MaxFilesWatch => {
                    "raise the limit: sysctl fs.inotify.max_user_watches=524288"
                }
                _ => "give the host's user the right to list that directory",
            },
            Self::Path(_) => "name a folder by its path",
        }
    }
}
