//! Unix sockets' files.

use std::{
    fs, io,
    os::unix::{
        fs::FileTypeExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Listens on a Unix socket, in the place of one that a host that was killed left behind.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] when a process listens there, [`io::ErrorKind::AlreadyExists`] when
/// the file is no socket, and as the system says.
pub(crate) fn bind_unix(path: &Path) -> io::Result<(SocketFile, UnixListener)> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    let file = SocketFile::new(path);
    listener.set_nonblocking(true)?;
    Ok((file, listener))
}

/// A socket's file, removed when the last one of these is gone.
#[derive(Clone, Debug)]
pub(crate) struct SocketFile(Arc<RemovedFile>);

#[derive(Debug)]
struct RemovedFile {
    path: PathBuf,
    /// Somebody else listens on it from now on.
    kept: AtomicBool,
}

impl SocketFile {
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Somebody else listens on it from now on: it stays.
    pub(crate) fn keep(&self) {
        self.0.kept.store(true, Ordering::Release);
    }

    pub(super) fn new(path: &Path) -> Self {
        Self(Arc::new(RemovedFile {
            path: path.to_owned(),
            kept: AtomicBool::new(false),
        }))
    }
}

impl Drop for RemovedFile {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Acquire) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket that a host that was killed left behind, and nothing else.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}
