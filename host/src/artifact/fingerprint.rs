//! What tells one state of a file from another without reading it.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use serde::Serialize;

/// A file's state: which file it is, how long, and when it was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Fingerprint {
    /// The file system.
    pub device: u64,
    /// The file on it.
    pub inode: u64,
    /// Its length in bytes.
    pub size: u64,
    /// When its bytes last changed, or what someone set that to: nanoseconds since 1970.
    pub mtime_ns: i64,
    /// When anything of it last changed, which nobody can set: nanoseconds since 1970.
    pub ctime_ns: i64,
}

impl Fingerprint {
    /// The fingerprint of an open file.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn of_file(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }

    /// The fingerprint of the file that a path leads to, through links.
    ///
    /// # Errors
    /// When there is none, or it cannot be reached.
    pub fn of_path(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&path.metadata()?))
    }

    /// Whether both are the same file with, as far as it tells, the same bytes: `chmod`, `chown`
    /// and a new hard link make no difference, `touch` does.
    #[must_use]
    pub fn same_but_for_ctime(&self, other: &Self) -> bool {
        Self {
            ctime_ns: other.ctime_ns,
            ..*self
        } == *other
    }

    /// Whether the two differ in their ctime and in nothing else.
    #[must_use]
    pub fn only_ctime_differs(&self, other: &Self) -> bool {
        self != other && self.same_but_for_ctime(other)
    }
}

impl From<&Metadata> for Fingerprint {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            mtime_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt,
        time::{Duration, SystemTime},
    };

    use super::*;

    #[test]
    fn a_touch_differs_and_a_chmod_only_in_ctime() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        let file = File::open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
            .unwrap();
        let first = Fingerprint::of_path(&path).unwrap();
        assert_eq!(first, Fingerprint::of_file(&file).unwrap());
        assert_eq!(first.mtime_ns, 1_000_000_000);

        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let chmodded = Fingerprint::of_path(&path).unwrap();
        // Coarse clocks may give both the same ctime; then they are simply equal.
        assert!(chmodded == first || chmodded.only_ctime_differs(&first));
        assert!(chmodded.same_but_for_ctime(&first));

        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(2))
            .unwrap();
        let touched = Fingerprint::of_path(&path).unwrap();
        assert!(!touched.same_but_for_ctime(&first));
        assert!(!touched.only_ctime_differs(&first));
    }

    #[test]
    fn a_link_has_the_fingerprint_of_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "x").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert_eq!(
            Fingerprint::of_path(&link).unwrap(),
            Fingerprint::of_path(&target).unwrap()
        );
    }
}
