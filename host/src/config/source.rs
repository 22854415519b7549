//! What is to be served.

use std::path::PathBuf;

use super::Mount;
use crate::id::AppName;

/// A library or a directory of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The path as it was given.
    pub path: PathBuf,
    /// Where to mount it, if that was said of this very path.
    pub mount: Option<Mount>,
    /// Its name, if that was said: else its manifest's. Only libraries have one.
    pub name: Option<AppName>,
    /// Which of the two it is.
    pub kind: SourceKind,
}

/// Library or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A library, which need not be there yet.
    Library,
    /// A directory of libraries, which need not be there yet.
    Directory,
    /// A directory if there is one now, else a library.
    Either,
}

/// Why something cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// A directory is to have a mount of its own.
    #[error("{} is a directory, and cannot be mounted at {mount}", path.display())]
    Mounted {
        /// The directory.
        path: PathBuf,
        /// The mount.
        mount: Mount,
    },
    /// A directory is to be an app.
    #[error("{} is a directory, and cannot be app `{name}`", path.display())]
    Named {
        /// The directory.
        path: PathBuf,
        /// The app.
        name: AppName,
    },
    /// What is no directory is to be one.
    #[error("{} is no directory", path.display())]
    NoDirectory {
        /// The path.
        path: PathBuf,
    },
}

impl SourceError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Mounted { .. } => {
                "a directory's libraries are mounted at `/` and their names; name the library"
            }
            Self::Named { .. } => "name a library with `path`, or put the directory into `dirs`",
            Self::NoDirectory { .. } => {
                "name a directory in `dirs`, and a library in `path` under [apps.NAME]"
            }
        }
    }
}

impl Source {
    /// A path as the command line has it.
    #[must_use]
    pub fn given(path: impl Into<PathBuf>, mount: Option<Mount>) -> Self {
        Self {
            path: path.into(),
            mount,
            name: None,
            kind: SourceKind::Either,
        }
    }

    /// Whether it is a directory of libraries, as far as the file system tells now.
    ///
    /// # Errors
    /// When it is one and must not be, or is none and must be.
    pub fn is_directory(&self) -> Result<bool, SourceError> {
        let path = || self.path.clone();
        let found = self.path.is_dir();
        match (&self.kind, &self.name, &self.mount) {
            (SourceKind::Directory, ..) if !found && self.path.exists() => {
                Err(SourceError::NoDirectory { path: path() })
            }
            (SourceKind::Directory, ..) => Ok(true),
            _ if !found => Ok(false),
            (_, Some(name), _) => Err(SourceError::Named {
                path: path(),
                name: name.clone(),
            }),
            (_, _, Some(mount)) => Err(SourceError::Mounted {
                path: path(),
                mount: mount.clone(),
            }),
            // A library that is a directory is refused as what it is, when it is read.
            (kind, None, None) => Ok(*kind == SourceKind::Either),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_source_is_what_it_must_be_or_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let [file, there, missing] = ["file", "there", "missing"].map(|it| dir.path().join(it));
        fs::write(&file, "").unwrap();
        fs::create_dir(&there).unwrap();
        let check = |path: &PathBuf, name: Option<&str>, kind, expected: Result<bool, &str>| {
            let source = Source {
                path: path.clone(),
                mount: None,
                name: name.map(|name| AppName::try_from(name).unwrap()),
                kind,
            };
            let found = source.is_directory().map_err(|error| error.to_string());
            let expected = expected.map_err(|text| format!("{} {text}", path.display()));
            assert_eq!(found, expected, "{source:?}");
        };
        check(&there, None, SourceKind::Either, Ok(true));
        check(&file, None, SourceKind::Either, Ok(false));
        check(&missing, None, SourceKind::Either, Ok(false));
        check(&there, None, SourceKind::Directory, Ok(true));
        check(&missing, None, SourceKind::Directory, Ok(true));
        check(&file, None, SourceKind::Directory, Err("is no directory"));
        let shop = Some("shop");
        check(&file, shop, SourceKind::Library, Ok(false));
        check(&missing, shop, SourceKind::Library, Ok(false));
        let named = "is a directory, and cannot be app `shop`";
        check(&there, shop, SourceKind::Library, Err(named));
        let mounted = Source::given(&there, "/x".parse().ok()).is_directory();
        let error = mounted.unwrap_err().to_string();
        let text = "is a directory, and cannot be mounted at /x";
        assert_eq!(error, format!("{} {text}", there.display()));
    }
}
