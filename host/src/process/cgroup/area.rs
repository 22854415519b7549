//! A directory for the control groups of this process's children.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{LEAF, PREFIX, Site, Unusable, files, site::hand_on_memory};

/// How long whatever was killed in an area may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// A control group of this process, below which are those of its children. Dropped, it is removed.
///
/// Its directory is locked (`flock`) as long as this process lives, however that ends: so it is known
/// which are left from others, also where not all can see each other's processes.
#[derive(Debug)]
pub struct Area {
    directory: PathBuf,
    memory: bool,
    _lock: File,
    /// Numbers the groups below.
    next: AtomicU64,
}

impl Area {
    /// Makes one at that site, of which it becomes a part: this process leaves it for a leaf below, if it
    /// is in there. What ended processes have left there is killed, and removed.
    ///
    /// # Errors
    /// When the system refuses any of it.
    pub fn make(site: &Site) -> Result<Self, Unusable> {
        sweep(&site.directory);
        site.prepare()?;
        let (directory, lock) = locked(&site.directory)?;
        let area = Self {
            directory,
            memory: site.limits_memory(),
            _lock: lock,
            next: AtomicU64::new(1),
        };
        if area.memory {
            hand_on_memory(&area.directory)?;
        }
        Ok(area)
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether memory can be limited in it.
    #[must_use]
    pub fn limits_memory(&self) -> bool {
        self.memory
    }

    /// Where a child may have a group that begins with that name: never the same twice.
    #[must_use]
    pub fn place(&self, name: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.directory.join(format!("{name}-{number}"))
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // What still runs in there is for whoever sweeps next.
        let _ = files::remove_all(&self.directory);
    }
}

/// A new directory there, which nobody else has.
fn locked(site: &Path) -> Result<(PathBuf, File), Unusable> {
    let pid = std::process::id();
    let mut at = 0;
    loop {
        at += 1;
        let directory = site.join(format!("{PREFIX}{pid}-{at}"));
        match fs::create_dir(&directory) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(Unusable::refused("make", &directory)(error)),
        }
        let lock = lock(&directory);
        // Else somebody has swept it away just now.
        if let Some(lock) = lock.map_err(Unusable::refused("lock", &directory))? {
            return Ok((directory, lock));
        }
    }
}

/// `None`: another process has it, or it is gone.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let opened = match File::open(directory) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    let is_that = fs::metadata(directory).is_ok_and(|now| {
        opened
            .metadata()
            .is_ok_and(|then| (then.dev(), then.ino()) == (now.dev(), now.ino()))
    });
    Ok(is_that.then_some(opened))
}

/// Removes the areas of processes that are gone, with what is left in them.
fn sweep(site: &Path) {
    let entries = fs::read_dir(site).into_iter().flatten().flatten();
    for entry in entries {
        let (name, directory) = (entry.file_name(), entry.path());
        let is_area = name.to_str().is_some_and(|name| {
            let is_numbers = |rest: &str| rest.split('-').all(|part| part.parse::<u32>().is_ok());
            name != LEAF && name.strip_prefix(PREFIX).is_some_and(is_numbers)
        });
        if !is_area || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let shown = directory.display().to_string();
        let outcome = lock(&directory).and_then(|lock| match lock {
            Some(_lock) => {
                files::kill_all(&directory, GONE)?;
                files::remove_all(&directory)?;
                Ok(true)
            }
            None => Ok(false),
        });
        match outcome {
            Ok(true) => tracing::info!(
                event = "cgroup-swept",
                directory = shown,
                "the control group {shown}, which a host left that is gone, is removed",
            ),
            Ok(false) => {}
            Err(error) => tracing::warn!(
                event = "cgroup-left",
                directory = shown,
                "the control group {shown}, which a host left that is gone, cannot be removed: \
                 {error}",
            ),
        }
    }
}

#[cfg(test)]
mod tests;
