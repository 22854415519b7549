//! Newtypes for what the host counts, names and compares.

use std::{
    fmt, io,
    path::{Component, Path, PathBuf},
};

use serde::{Serialize, Serializer};

mod name;

pub use name::{AppName, GroupName, NameError};

/// The number of one loaded copy of an app, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct GenerationId(u64);

impl GenerationId {
    /// An app's first generation.
    pub const FIRST: Self = Self(1);

    /// The one that is loaded after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The bare number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for GenerationId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The BLAKE3 digest of an artifact's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The raw digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hexadecimal digits, for people to compare.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An artifact's path, absolute, with no link of it resolved: the identity of an app.
///
/// Two paths are two apps, even when one is a link to the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactPath(PathBuf);

impl ArtifactPath {
    /// Makes a path absolute: `.` and doubled or trailing slashes go, and so does `..` after what
    /// is a real directory now. After a link, or what does not exist, `..` stays: it leads to
    /// where the link points, and not to the link's own parent.
    ///
    /// # Errors
    /// When the path is empty, or is relative and there is no current directory.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, ArtifactPathError> {
        let given = path.as_ref();
        let absolute = std::path::absolute(given).map_err(|source| ArtifactPathError {
            path: given.to_owned(),
            source,
        })?;
        let mut clean = PathBuf::new();
        for part in absolute.components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir if may_step_back(&clean) => {
                    clean.pop();
                }
                part => clean.push(part),
            }
        }
        Ok(Self(clean))
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

fn may_step_back(so_far: &Path) -> bool {
    // A link is not a directory here, and neither is a `..` that had to stay.
    so_far.parent().is_none()
        || (so_far.file_name().is_some()
            && so_far.symlink_metadata().is_ok_and(|found| found.is_dir()))
}

impl AsRef<Path> for ArtifactPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for ArtifactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Serialize for ArtifactPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a path could not be made absolute.
#[derive(Debug, thiserror::Error)]
#[error(
    "{:?} cannot be made an absolute path; name a file, by its absolute path if need be",
    path
)]
pub struct ArtifactPathError {
    /// The path as it was given.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_count_from_one() {
        assert_eq!(GenerationId::FIRST.to_string(), "1");
        assert_eq!(GenerationId::FIRST.next().next().to_string(), "3");
    }

    #[test]
    fn a_digest_is_shown_in_hex() {
        let digest = Digest::from(blake3::hash(b""));
        assert!(digest.to_string().starts_with("af1349b9f5f9a1a6"));
        assert_eq!(digest.to_string().len(), 64);
        assert_eq!(digest.short(), "af1349b9f5f9");
        assert_eq!(serde_json::to_value(digest).unwrap(), digest.to_string());
    }

    #[test]
    fn a_path_is_made_absolute_and_keeps_its_links() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("real/deep")).unwrap();
        std::os::unix::fs::symlink(root.join("real/deep"), root.join("link")).unwrap();
        let check = |given: &str, expected: &str| {
            let path = ArtifactPath::new(root.join(given)).unwrap();
            assert_eq!(path.as_path(), root.join(expected));
        };
        check("./real//deep/./a.so/", "real/deep/a.so");
        check("real/deep/../a.so", "real/a.so");
        check("link/a.so", "link/a.so");
        check("link/../a.so", "link/../a.so");
        check("missing/../../a.so", "missing/../../a.so");
        assert_eq!(
            ArtifactPath::new("/../a.so").unwrap().as_path(),
            Path::new("/a.so")
        );
        assert!(ArtifactPath::new("a.so").unwrap().as_path().is_absolute());
        assert!(ArtifactPath::new("").is_err());
    }
}
