//! Sockets to listen on.

use std::{
    fs, io,
    net::TcpListener,
    os::unix::{
        fs::FileTypeExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use crate::{config::ListenAddress, loader::Peer};

/// Why the host cannot listen somewhere.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// Where.
    pub address: ListenAddress,
    /// What the system says.
    pub source: io::Error,
}

impl BindError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                "another process listens there; stop it (`ss -ltnp` names it), or choose another \
                 address with --listen"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need the capability CAP_NET_BIND_SERVICE, and a Unix socket's \
                 directory must be writable; choose another address with --listen"
            }
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
            io::ErrorKind::AlreadyExists => "a file that is no socket stands in the way; move it",
            _ => "choose another address with --listen",
        }
    }
}

/// All sockets that the host listens on.
#[derive(Debug)]
pub struct Listeners(Vec<Listener>);

impl Listeners {
    /// Binds all addresses, or none.
    ///
    /// # Errors
    /// For the first address that cannot be had.
    pub fn bind(addresses: &[ListenAddress]) -> Result<Self, BindError> {
        let bind = |address: &ListenAddress| {
            Listener::bind(address).map_err(|source| BindError {
                address: address.clone(),
                source,
            })
        };
        addresses
            .iter()
            .map(bind)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Where it listens: with the port that the system chose, for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.0.iter().map(Listener::address).collect()
    }

    pub(super) fn into_inner(self) -> Vec<Listener> {
        self.0
    }
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    // The file goes before the socket is closed: a successor may bind at once.
    Unix(SocketFile, UnixListener),
}

/// An accepted connection, not yet on any runtime.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(std::net::TcpStream, Peer),
    Unix(UnixStream),
}

impl Listener {
    fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(listener))
            }
            ListenAddress::Unix(path) => {
                let (file, listener) = bind_unix(path)?;
                Ok(Self::Unix(file, listener))
            }
        }
    }

    fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| "?".to_owned(), |address| address.to_string()),
            Self::Unix(file, _) => format!("unix:{}", file.0.display()),
        }
    }

    /// Puts it on the runtime that this is called on.
    pub(super) fn into_async(self) -> io::Result<AsyncListener> {
        Ok(match self {
            Self::Tcp(listener) => AsyncListener::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Self::Unix(file, listener) => {
                AsyncListener::Unix(file, tokio::net::UnixListener::from_std(listener)?)
            }
        })
    }
}

/// A listener on a runtime.
#[derive(Debug)]
pub(super) enum AsyncListener {
    Tcp(tokio::net::TcpListener),
    Unix(
        #[expect(dead_code, reason = "removes the socket's file when dropped")] SocketFile,
        tokio::net::UnixListener,
    ),
}

impl AsyncListener {
    /// Takes a connection, off this runtime: another thread's will have it.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream.into_std()?, Peer::Inet(peer)))
            }
            Self::Unix(_, listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted::Unix(stream.into_std()?))
            }
        }
    }
}

/// Listens on a Unix socket, in the place of one that a host that was killed left behind.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] when a process listens there, [`io::ErrorKind::AlreadyExists`] when
/// the file is no socket, and as the system says.
pub(crate) fn bind_unix(path: &Path) -> io::Result<(SocketFile, UnixListener)> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    let file = SocketFile(path.to_owned());
    listener.set_nonblocking(true)?;
    Ok((file, listener))
}

/// A socket's file, removed when the host no longer listens on it.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_or_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = [ListenAddress::Unix(path.clone())];
        drop(UnixListener::bind(&path).unwrap());
        let live = Listeners::bind(&address).unwrap();
        let error = Listeners::bind(&address).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        let error = Listeners::bind(&address).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
