//! What apps hand from one generation to the next, kept while none of theirs is there to keep it.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

mod file;
mod folder;
mod owner;

use crate::{id::ArtifactPath, loader::Snapshot};
use folder::Folder;
pub use owner::Owner;

/// The last state of each app, and of each worker's: in memory, and on disk if there is a directory
/// for it.
#[derive(Debug)]
pub struct StateStore(Place);

#[derive(Debug)]
enum Place {
    Here {
        folder: Option<Folder>,
        known: Mutex<HashMap<Owner, Kept>>,
    },
    Elsewhere(Arc<dyn Keeper>),
}

/// Who keeps the state of a worker's apps: the host that it works for.
pub trait Keeper: std::fmt::Debug + Send + Sync {
    /// What [`StateStore::get`] is to say. Blocks until it is known.
    ///
    /// # Errors
    /// Says why the app must not begin: there is a state, and it cannot be had.
    fn get(&self, app: &ArtifactPath) -> Result<Option<Snapshot>, String>;

    /// Keeps what a generation has left.
    fn put(&self, app: &ArtifactPath, snapshot: Snapshot);
}

#[derive(Clone, Debug)]
struct Kept {
    /// Which generation of this run of the host saved it; 0: one of an earlier run.
    serial: u64,
    snapshot: Snapshot,
}

/// Why a state cannot be kept, or had back.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory cannot be had.
    #[error("cannot keep apps' state in {}: {reason}", dir.display())]
    Folder {
        /// The directory.
        dir: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// Another host uses it.
    #[error("another host keeps its apps' state in {}", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot keep the state of {app} in {}: {reason}", file.display())]
    File {
        /// The app's artifact.
        app: ArtifactPath,
        /// The file.
        file: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// What is in a file is not what was written to it.
    #[error("the state of {app} is damaged ({reason}); it was set aside as {}", file.display())]
    Damaged {
        /// The app's artifact.
        app: ArtifactPath,
        /// Where it is now.
        file: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The host that keeps it does not hand it out.
    #[error("{0}")]
    Elsewhere(String),
}

impl StateError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "name a directory of the host's user with --state-dir",
            Self::InUse { .. } => "give each host a --state-dir of its own",
            Self::File { .. } => "free some space there, and see to it that the host may write",
            Self::Damaged { .. } => {
                "have the app begin anew (it does, at its next load), or put a good copy of the \
                 file in its place"
            }
            Self::Elsewhere(_) => "see what the host that keeps it says",
        }
    }
}

impl StateStore {
    /// A store that keeps files in `dir`, which is made if it is not there; `None`: in memory only.
    ///
    /// # Errors
    /// When the directory cannot be made or locked.
    pub fn open(dir: Option<&Path>) -> Result<Self, StateError> {
        Ok(Self(Place::Here {
            folder: dir.map(Folder::open).transpose()?,
            known: Mutex::default(),
        }))
    }

    /// One whose states another host keeps.
    #[must_use]
    pub fn elsewhere(keeper: Arc<dyn Keeper>) -> Self {
        Self(Place::Elsewhere(keeper))
    }

    /// The state that the last generation of an app left, here or in that worker. Blocks on the
    /// disk the first time.
    ///
    /// # Errors
    /// When there is a file, and it cannot be read or is damaged. A damaged one is set aside, so
    /// that the next call finds none.
    pub fn get(&self, of: impl Into<Owner>) -> Result<Option<Snapshot>, StateError> {
        let owner = of.into();
        let (folder, known) = match &self.0 {
            Place::Here { folder, known } => (folder, known),
            Place::Elsewhere(keeper) => {
                return keeper.get(&owner.app).map_err(StateError::Elsewhere);
            }
        };
        if let Some(kept) = lock(known).get(&owner) {
            return Ok(Some(kept.snapshot.clone()));
        }
        let Some(folder) = folder else {
            return Ok(None);
        };
        let found = folder.read(&owner)?;
        if let Some(snapshot) = &found {
            let kept = Kept {
                serial: 0,
                snapshot: snapshot.clone(),
            };
            lock(known).entry(owner).or_insert(kept);
        }
        Ok(found)
    }

    /// Keeps what the generation of that serial saved, unless a later one has saved already; for a
    /// worker's, the serial is the worker's own. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be written; it is kept in memory then, and the file is as it was.
    pub fn put(
        &self,
        of: impl Into<Owner>,
        serial: u64,
        snapshot: &Snapshot,
    ) -> Result<(), StateError> {
        let owner = of.into();
        let (folder, known) = match &self.0 {
            Place::Here { folder, known } => (folder, known),
            Place::Elsewhere(keeper) => {
                keeper.put(&owner.app, snapshot.clone());
                return Ok(());
            }
        };
        {
            let mut known = lock(known);
            if known.get(&owner).is_some_and(|kept| kept.serial > serial) {
                return Ok(());
            }
            let snapshot = snapshot.clone();
            known.insert(owner.clone(), Kept { serial, snapshot });
        }
        match folder {
            Some(folder) => folder.write(&owner, serial, snapshot),
            None => Ok(()),
        }
    }

    /// Writes all that is known to another directory: for a host that replaces itself, and keeps
    /// no files else.
    ///
    /// # Errors
    /// When that fails.
    pub fn copy_to(&self, dir: &Path) -> Result<(), StateError> {
        let Place::Here { known, .. } = &self.0 else {
            return Ok(());
        };
        let folder = Folder::open(dir)?;
        let known = lock(known).clone();
        for (owner, kept) in known {
            folder.write(&owner, kept.serial, &kept.snapshot)?;
        }
        Ok(())
    }
}

fn lock(known: &Mutex<HashMap<Owner, Kept>>) -> MutexGuard<'_, HashMap<Owner, Kept>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
