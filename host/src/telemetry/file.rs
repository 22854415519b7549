//! A file that the log goes to, and its rotation.
//!
//! Whoever rotates it renames it and then has it [reopened](reopen). Each line is one write to the
//! end of the file, the old one until the new one is there: no line is lost, and none is cut.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwapOption;

/// Logs tell of requests: they are for the host's user and group.
const MODE: u32 = 0o640;

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
}

static FILE: ArcSwapOption<LogFile> = ArcSwapOption::const_empty();

/// Why a log file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log file {path}: {source}", path = path.display())]
pub struct LogFileError {
    path: PathBuf,
    source: io::Error,
}

impl LogFileError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        "name a file in a directory that the host's user may write to"
    }
}

/// From now on the log goes to that file, which is made if it is not there, instead of to standard
/// error.
///
/// # Errors
/// When it cannot be opened. The log stays where it is.
pub fn log_to(path: &Path) -> Result<(), LogFileError> {
    let failed = |source| LogFileError {
        path: path.to_owned(),
        source,
    };
    // The directory may be another later.
    let absolute = std::path::absolute(path).map_err(failed)?;
    let mut options = OpenOptions::new();
    let options = options.append(true).create(true).mode(MODE);
    let file = options.open(&absolute).map_err(failed)?;
    let path = absolute;
    FILE.store(Some(Arc::new(LogFile { path, file })));
    Ok(())
}

/// Opens the file at the log's path anew, which may be another by now, and makes it if it is not
/// there. Returns its path; `None`: the log goes to no file.
///
/// # Errors
/// When it cannot be opened. The log goes on in the file that it went to.
pub fn reopen() -> Result<Option<PathBuf>, LogFileError> {
    let Some(now) = FILE.load_full() else {
        return Ok(None);
    };
    log_to(&now.path)?;
    Ok(Some(now.path.clone()))
}

/// Whether the log goes to a file.
#[must_use]
pub fn is_to_file() -> bool {
    FILE.load().is_some()
}

/// Writes whole lines as they are, where the log goes to.
pub fn write_lines(lines: &[u8]) {
    // A log that cannot be written must not stop the host.
    let _ = match &*FILE.load() {
        Some(log) => (&log.file).write_all(lines),
        None => io::stderr().write_all(lines),
    };
}
