//! Opening what an operator named, whatever it turns out to be.

use std::{
    fs::{File, FileType, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
};

use rustix::fs::OFlags;

use crate::id::ArtifactPath;

/// Why a file could not be opened as an artifact.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing is there, or a link leads nowhere.
    #[error("{path} does not exist")]
    Missing {
        /// The artifact.
        path: ArtifactPath,
    },
    /// The system does not let us.
    #[error("{path} cannot be read: {reason}")]
    Unreadable {
        /// The artifact.
        path: ArtifactPath,
        /// What the system says.
        reason: io::Error,
    },
    /// It is something else than a file with bytes in it.
    #[error("{path} is {found}, not a library")]
    NotAFile {
        /// The artifact.
        path: ArtifactPath,
        /// What it is, with its article.
        found: &'static str,
    },
    /// It has no bytes, as a linker's output has at first.
    #[error("{path} is empty")]
    Empty {
        /// The artifact.
        path: ArtifactPath,
    },
}

impl OpenError {
    /// Whether the file may be in the middle of being written or replaced, so that after an event
    /// the next one is worth waiting for. What an operator just named is worth an error even so.
    #[must_use]
    pub fn maybe_incomplete(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Empty { .. } => true,
            Self::Unreadable { .. } | Self::NotAFile { .. } => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "build it, or correct the path; it is taken when it appears",
            Self::Unreadable { reason, .. } => match reason.kind() {
                io::ErrorKind::PermissionDenied => {
                    "give the host's user the right to read it, and to enter its directories"
                }
                _ => "check the disk it is on",
            },
            Self::NotAFile { .. } => "name a library's file: target/release/libNAME.so",
            Self::Empty { .. } => "write the whole library; it is taken when it is complete",
        }
    }
}

/// Opens a regular file that has bytes.
///
/// # Errors
/// As [`OpenError`] says.
pub(super) fn open(path: &ArtifactPath) -> Result<File, OpenError> {
    let failed = |reason: io::Error| match reason.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            OpenError::Missing { path: path.clone() }
        }
        _ => OpenError::Unreadable {
            path: path.clone(),
            reason,
        },
    };
    let not_a_file = |found| OpenError::NotAFile {
        path: path.clone(),
        found,
    };
    // Asked first, since opening a device can already do something.
    let found = path.as_path().metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(not_a_file(name(found.file_type())));
    }
    let file = OpenOptions::new()
        .read(true)
        // Else a FIFO put there meanwhile would hold us until someone writes to it.
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(not_a_file(name(found.file_type())));
    }
    if found.len() == 0 {
        return Err(OpenError::Empty { path: path.clone() });
    }
    Ok(file)
}

fn name(found: FileType) -> &'static str {
    if found.is_dir() {
        "a directory"
    } else if found.is_fifo() {
        "a named pipe"
    } else if found.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
