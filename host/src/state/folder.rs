//! A directory of state files, one for each app.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    Owner, StateError,
    file::{self, Found},
};
use crate::loader::Snapshot;

/// How a file begins that is being written.
const UNFINISHED: &str = ".unfinished-";
/// How long a lock that another has is tried for, and how often.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);

/// The directory, which no other host uses while this lives.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// The serial of the generation whose state was written last, by app.
    written: Mutex<HashMap<Owner, u64>>,
    // Locked for as long as it is open.
    _lock: File,
}

impl Folder {
    pub(super) fn open(dir: &Path) -> Result<Self, StateError> {
        let failed = |reason| StateError::Folder {
            dir: dir.to_owned(),
            reason,
        };
        let mut builder = DirBuilder::new();
        builder.mode(0o700).recursive(true);
        builder.create(dir).map_err(failed)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join(".lock"))
            .map_err(failed)?;
        if !locked(&lock).map_err(failed)? {
            return Err(StateError::InUse {
                dir: dir.to_owned(),
            });
        }
        // A host that was killed leaves what it was writing.
        for entry in fs::read_dir(dir).map_err(failed)?.flatten() {
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(UNFINISHED.as_bytes())
            {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            written: Mutex::default(),
            _lock: lock,
        })
    }

    pub(super) fn read(&self, owner: &Owner) -> Result<Option<Snapshot>, StateError> {
        let path = self.path_of(owner);
        let failed = |reason| StateError::File {
            app: owner.app.clone(),
            file: path.clone(),
            reason,
        };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        match file::decode(&bytes, owner) {
            Found::Whole(snapshot) => Ok(Some(snapshot)),
            Found::Damaged(reason) => {
                let aside = free_name(&path);
                fs::rename(&path, &aside).map_err(failed)?;
                Err(StateError::Damaged {
                    app: owner.app.clone(),
                    file: aside,
                    reason,
                })
            }
        }
    }

    /// In one step: there is the old file or the new one, and never a part of one.
    pub(super) fn write(
        &self,
        owner: &Owner,
        serial: u64,
        snapshot: &Snapshot,
    ) -> Result<(), StateError> {
        // One at a time, so that a later generation's is not overwritten.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.get(owner).is_some_and(|last| *last > serial) {
            return Ok(());
        }
        let path = self.path_of(owner);
        let write = || -> io::Result<()> {
            let mut new = tempfile::Builder::new()
                .prefix(UNFINISHED)
                .permissions(fs::Permissions::from_mode(0o600))
                .tempfile_in(&self.dir)?;
            new.write_all(&file::encode(owner, snapshot))?;
            new.as_file().sync_all()?;
            new.persist(&path)?;
            // The name, too, must outlive a power failure.
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|reason| StateError::File {
            app: owner.app.clone(),
            file: path.clone(),
            reason,
        })?;
        written.insert(owner.clone(), serial);
        Ok(())
    }

    /// Two owners never have one file: the name has a digest of the whole path, and of the worker's
    /// number.
    fn path_of(&self, owner: &Owner) -> PathBuf {
        let digest = blake3::hash(&owner.to_bytes()).to_hex();
        let stem = owner
            .app
            .as_path()
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        let readable: String = stem
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
            .take(64)
            .collect();
        self.dir.join(format!("{readable}-{}.state", &digest[..32]))
    }
}

/// Locks a file; `false`: another host has it.
///
/// Not at the first refusal: who starts a program holds what this process holds until that program
/// runs, and a host that was ended goes with its last thread.
fn locked(file: &File) -> io::Result<bool> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if began.elapsed() > PATIENCE => return Ok(false),
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Err(TryLockError::Error(reason)) => return Err(reason),
        }
    }
}

/// Where a damaged file goes, and replaces none that was damaged before.
fn free_name(path: &Path) -> PathBuf {
    let first = path.with_extension("broken");
    let mut number = 1;
    let mut name = first.clone();
    while name.symlink_metadata().is_ok() {
        number += 1;
        name = first.with_extension(format!("broken-{number}"));
    }
    name
}
