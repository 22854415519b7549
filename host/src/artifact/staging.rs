//! The host's private copies of artifacts.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Seek},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use tempfile::{TempDir, TempPath};

use super::{
    fingerprint::Fingerprint,
    open::{OpenError, open},
};
use crate::id::{ArtifactPath, Digest};

/// How often a copy is made again because of a `chmod` or a new hard link in the middle of it.
///
/// Neither is a change that the watcher reports, so that nobody would try again later.
const ATTEMPTS: u32 = 5;
/// File systems note times in steps of up to 10 ms: a file written to more lately than this may be
/// written to again and keep its fingerprint.
const CLOCK_STEP: Duration = Duration::from_millis(20);
/// Keeps the copy's name within the 255 bytes that file systems allow.
const NAME_BYTES: usize = 200;

/// A private directory for copies of artifacts; removed with all that is in it when dropped.
#[derive(Debug)]
pub struct StagingArea {
    dir: TempDir,
}

impl StagingArea {
    /// Makes the directory, for this user alone, in `parent` or else in the system's temporary
    /// directory.
    ///
    /// # Errors
    /// When it cannot be made there.
    pub fn new(parent: Option<&Path>) -> Result<Self, StagingAreaError> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        tempfile::Builder::new()
            .prefix("replug-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .map(|dir| Self { dir })
            .map_err(|reason| StagingAreaError { parent, reason })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes the directory again if someone has cleaned it away: a copy of what is loaded is not
    /// needed any more, but the next one has to go somewhere.
    fn make_again(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(self.path()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the directory with all that is in it, while others may still hold the area: a copy
    /// that is just being made fails. For the end of the host, which waits for no copy.
    pub fn remove(&self) {
        // A file that is made between the listing and the removal is found by the next round.
        for _ in 0..ATTEMPTS {
            match fs::remove_dir_all(self.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {}
                _ => return,
            }
        }
    }

    /// Copies an artifact under a name and to an inode that were never used before, since the
    /// dynamic linker hands out the old library for either. `serial` must be new in this area.
    ///
    /// Blocks for as long as the copy takes.
    ///
    /// # Errors
    /// As [`StageError`] says; then nothing is left of the copy.
    pub fn stage(&self, source: &ArtifactPath, serial: u64) -> Result<Staged, StageError> {
        let began = Instant::now();
        let original = open(source)?;
        let failed = |error| self.failed(source, error);
        let (file, mut copy) = self.make_copy(source, serial).map_err(failed)?;
        for _ in 0..ATTEMPTS {
            let before = Fingerprint::of_file(&original).map_err(failed)?;
            copy_bytes(&original, &mut copy, before.size).map_err(failed)?;
            // Of the copy and not of the original, so that it vouches for what will run.
            let digest = digest_of(&copy).map_err(failed)?;
            let copied = copy.metadata().map_err(failed)?.len();
            let after = Fingerprint::of_file(&original).map_err(failed)?;
            let path_after = Fingerprint::of_path(source.as_path()).ok();
            let same = copied == before.size && after == before && path_after == Some(before);
            if same && (!is_fresh(&before) || digest_of(&original).map_err(failed)? == digest) {
                return Ok(Staged {
                    file: Copied::Own(file),
                    source: source.clone(),
                    digest,
                    fingerprint: before,
                    took: began.elapsed(),
                });
            }
            let still_that_file = path_after.is_some_and(|path| path.same_but_for_ctime(&before));
            if !(still_that_file && after.same_but_for_ctime(&before)) {
                break;
            }
        }
        Err(StageError::Changing {
            path: source.clone(),
        })
    }

    /// Keeps the bytes of a private copy for longer than that lives, until what this returns is
    /// dropped.
    ///
    /// # Errors
    /// When the system can neither link nor copy it.
    pub fn keep(&self, staged: &Path) -> io::Result<TempPath> {
        let kept = self.path().join("kept");
        match DirBuilder::new().mode(0o700).recursive(true).create(&kept) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let place = tempfile::Builder::new()
            .suffix(".so")
            .make_in(&kept, |at| {
                // A link costs nothing. The dynamic linker knows a file by its inode, but nobody opens
                // this one: what is kept is copied again.
                fs::hard_link(staged, at).or_else(|_| fs::copy(staged, at).map(drop))
            })?;
        Ok(place.into_temp_path())
    }

    /// Copies what was kept of `source`'s former bytes, which had that digest, as [`stage`] copies
    /// the file itself.
    ///
    /// # Errors
    /// When it cannot be copied.
    ///
    /// [`stage`]: Self::stage
    pub fn stage_kept(
        &self,
        kept: &Path,
        source: &ArtifactPath,
        digest: Digest,
        serial: u64,
    ) -> Result<Staged, StageError> {
        let began = Instant::now();
        let failed = |error| self.failed(source, error);
        let original = File::open(kept).map_err(failed)?;
        let fingerprint = Fingerprint::of_file(&original).map_err(failed)?;
        let (file, mut copy) = self.make_copy(source, serial).map_err(failed)?;
        copy_bytes(&original, &mut copy, fingerprint.size).map_err(failed)?;
        Ok(Staged {
            file: Copied::Own(file),
            source: source.clone(),
            digest,
            fingerprint,
            took: began.elapsed(),
        })
    }

    /// A private copy of `source` that another process has made, of bytes with that digest, and that
    /// nobody writes to. It is taken as it is, so that all processes that open it share its pages;
    /// its file is the other one's to delete.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn handed(
        &self,
        file: &Path,
        source: &ArtifactPath,
        digest: Digest,
    ) -> Result<Staged, StageError> {
        let began = Instant::now();
        let fingerprint = Fingerprint::of_path(file).map_err(|error| self.failed(source, error))?;
        Ok(Staged {
            file: Copied::Handed(file.to_owned()),
            source: source.clone(),
            digest,
            fingerprint,
            took: began.elapsed(),
        })
    }

    /// An empty file for a copy, under a name that was never used before.
    fn make_copy(&self, source: &ArtifactPath, serial: u64) -> io::Result<(TempPath, File)> {
        let target = self.path().join(staged_name(source.as_path(), serial));
        self.make_again()?;
        let copy = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&target)?;
        Ok((TempPath::try_from_path(target)?, copy))
    }

    fn failed(&self, path: &ArtifactPath, reason: io::Error) -> StageError {
        let (path, dir) = (path.clone(), self.path().to_owned());
        match reason.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StageError::NoRoom { path, dir }
            }
            _ => StageError::Copy { path, dir, reason },
        }
    }
}

/// `libhello.so` → `libhello.7.so`: backtraces and debuggers show the copy's name.
fn staged_name(source: &Path, serial: u64) -> OsString {
    let mut name: OsString = match source.file_stem() {
        Some(stem) if stem.len() <= NAME_BYTES => stem.to_owned(),
        _ => "artifact".into(),
    };
    name.push(format!(".{serial}"));
    if let Some(extension) = source.extension().filter(|it| it.len() < 32) {
        name.push(".");
        name.push(extension);
    }
    name
}

fn copy_bytes(mut from: &File, to: &mut File, size: u64) -> io::Result<()> {
    from.rewind()?;
    to.rewind()?;
    to.set_len(0)?;
    #[cfg(target_os = "linux")]
    if rustix::fs::ioctl_ficlone(&*to, from).is_ok() {
        return Ok(());
    }
    // `io::copy` asks for `copy_file_range` first. The limit is for a file that grows for ever.
    io::copy(&mut from.take(size), to)?;
    Ok(())
}

/// Whether a fingerprint is too young to vouch for the bytes.
fn is_fresh(fingerprint: &Fingerprint) -> bool {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let written = u64::try_from(fingerprint.ctime_ns).unwrap_or_default();
    now.saturating_sub(Duration::from_nanos(written)) < CLOCK_STEP
}

fn digest_of(mut file: &File) -> io::Result<Digest> {
    file.rewind()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(hasher.finalize().into())
}

/// A private copy of an artifact; its file is deleted when this is dropped, unless another process
/// has made it.
#[derive(Debug)]
pub struct Staged {
    file: Copied,
    source: ArtifactPath,
    digest: Digest,
    fingerprint: Fingerprint,
    took: Duration,
}

#[derive(Debug)]
enum Copied {
    Own(TempPath),
    Handed(PathBuf),
}

impl Staged {
    /// The copy.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.file {
            Copied::Own(file) => file,
            Copied::Handed(file) => file,
        }
    }

    /// What it is a copy of.
    #[must_use]
    pub fn source(&self) -> &ArtifactPath {
        &self.source
    }

    /// The digest of the copy's bytes.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The original's state, the same before and after it was copied.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Its length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.fingerprint.size
    }

    /// How long copying and hashing took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }
}

/// Why there is no directory for private copies.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a directory for private copies in {parent}: {reason}", parent = .parent.display())]
pub struct StagingAreaError {
    /// Where it was to be.
    pub parent: PathBuf,
    /// What the system says.
    pub reason: io::Error,
}

impl StagingAreaError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self.reason.kind() {
            io::ErrorKind::NotFound => "make that directory, or name another with --staging-dir",
            _ => "name a directory that the host's user may write to with --staging-dir",
        }
    }
}

/// Why an artifact could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// It cannot be opened, or has nothing to copy.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Someone wrote to it, or put another file in its place, while it was copied. The watcher
    /// reports when that is done.
    #[error("{path} changed while it was copied")]
    Changing {
        /// The artifact.
        path: ArtifactPath,
    },
    /// The staging directory's disk is full.
    #[error("there is no room for a private copy of {path} in {dir}", dir = .dir.display())]
    NoRoom {
        /// The artifact.
        path: ArtifactPath,
        /// The staging directory.
        dir: PathBuf,
    },
    /// Reading, writing or hashing failed.
    #[error("cannot copy {path} to {dir}: {reason}", dir = .dir.display())]
    Copy {
        /// The artifact.
        path: ArtifactPath,
        /// The staging directory.
        dir: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
}

impl StageError {
    /// Whether the file is, or may be, in the middle of being written: then the watcher's next
    /// event is worth waiting for.
    #[must_use]
    pub fn maybe_incomplete(&self) -> bool {
        match self {
            Self::Open(error) => error.maybe_incomplete(),
            Self::Changing { .. } => true,
            Self::NoRoom { .. } | Self::Copy { .. } => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Open(error) => error.remedy(),
            Self::Changing { .. } => "nothing: it is taken when its writer is done",
            Self::NoRoom { .. } => "free some space there, or name another disk with --staging-dir",
            Self::Copy { .. } => "check both disks, or name another directory with --staging-dir",
        }
    }
}

#[cfg(test)]
mod tests;
