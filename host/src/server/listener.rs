//! Sockets to listen on.

use std::{
    io,
    net::TcpListener,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
};

mod file;
mod heirloom;

pub(crate) use file::{SocketFile, bind_unix};
pub use heirloom::{Heirloom, Heirlooms};

use super::{acceptors::Waiting, unheard::Accepted};
use crate::{config::ListenAddress, loader::Peer};

/// How many connections wait at the most to be accepted, if the system allows so many
/// (net.core.somaxconn). The standard library's 128 are few for the time of a restart.
const BACKLOG: i32 = 4096;

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

/// All sockets that the host listens on, and what was to be listened on.
#[derive(Debug)]
pub struct Listeners(Vec<(ListenAddress, Listener)>);

impl Listeners {
    /// Binds all addresses, or none. A socket of `inherited` that was bound for one of them is
    /// taken in the place of another; those that are left are closed, and their files removed.
    ///
    /// # Errors
    /// For the first address that cannot be had.
    pub fn bind(
        addresses: &[ListenAddress],
        mut inherited: Vec<Heirloom>,
    ) -> Result<Self, BindError> {
        let mut listeners = Vec::new();
        for address in addresses {
            let known = inherited.iter().position(|it| it.address == *address);
            let listener = match known.map(|at| inherited.swap_remove(at)) {
                Some(heirloom) => Listener::adopt(heirloom),
                None => Listener::bind(address),
            };
            let listener = listener.map_err(|source| BindError {
                address: address.clone(),
                source,
            })?;
            listeners.push((address.clone(), listener));
        }
        for Heirloom { address, .. } in inherited {
            if let ListenAddress::Unix(path) = address {
                drop(SocketFile::new(&path));
            }
        }
        Ok(Self(listeners))
    }

    /// A socket that somebody else has bound, and whose file is theirs.
    ///
    /// # Errors
    /// As the system says.
    pub fn inherited(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let file = SocketFile::new(Path::new(""));
        file.keep();
        let address = ListenAddress::Unix(PathBuf::new());
        Ok(Self(vec![(address, Listener::Unix(file, listener))]))
    }

    /// Sockets that somebody else has bound and given to this process as they are.
    ///
    /// # Errors
    /// When one is no socket that is listened on.
    pub fn given(sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let sockets = sockets.into_iter();
        let listeners = sockets.map(|socket| {
            let family = rustix::net::getsockname(&socket)?.address_family();
            let address = match family == rustix::net::AddressFamily::UNIX {
                true => ListenAddress::Unix(PathBuf::new()),
                false => ListenAddress::Tcp(String::new()),
            };
            let heirloom = Heirloom {
                address: address.clone(),
                socket,
            };
            let listener = Listener::adopt(heirloom)?;
            if let Listener::Unix(file, _) = &listener {
                file.keep();
            }
            Ok((address, listener))
        });
        listeners.collect::<io::Result<_>>().map(Self)
    }

    /// Those from that number on, apart.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        Self(self.0.split_off(at))
    }

    /// What each is made of.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|(_, listener)| match listener {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(_, listener) => listener.as_fd(),
        })
    }

    /// The same sockets once more, which stay bound when these are closed.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn heirlooms(&self) -> io::Result<Heirlooms> {
        let mut heirlooms = Heirlooms::default();
        for (address, listener) in &self.0 {
            let (socket, file) = match listener {
                Listener::Tcp(listener) => (listener.try_clone()?.into(), None),
                Listener::Unix(file, listener) => (listener.try_clone()?.into(), Some(file)),
            };
            heirlooms.files.extend(file.cloned());
            heirlooms.sockets.push(Heirloom {
                address: address.clone(),
                socket,
            });
        }
        Ok(heirlooms)
    }

    /// Where it listens: with the port that the system chose, for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(_, listener)| listener.address())
            .collect()
    }

    /// Puts them on the runtime that this is called on. Who connects waits.
    ///
    /// # Errors
    /// When one cannot be waited for.
    pub fn wait_for(self) -> io::Result<Waiting> {
        let all = self.0.into_iter();
        let all = all.map(|(address, listener)| Ok((address, listener.into_async()?)));
        all.collect::<io::Result<_>>().map(Waiting)
    }
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    // The file goes before the socket is closed: a successor may bind at once.
    Unix(SocketFile, UnixListener),
}

impl Listener {
    fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                rustix::net::listen(&listener, BACKLOG)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(listener))
            }
            ListenAddress::Unix(path) => {
                let (file, listener) = bind_unix(path)?;
                Ok(Self::Unix(file, listener))
            }
        }
    }

    fn adopt(heirloom: Heirloom) -> io::Result<Self> {
        let Heirloom { address, socket } = heirloom;
        match address {
            ListenAddress::Tcp(_) => {
                let listener = TcpListener::from(socket);
                // Which it would fail, were it another kind of socket.
                listener.local_addr()?;
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(listener))
            }
            ListenAddress::Unix(path) => {
                let listener = UnixListener::from(socket);
                // Which it would fail, were it another kind of socket.
                listener.local_addr()?;
                listener.set_nonblocking(true)?;
                Ok(Self::Unix(SocketFile::new(&path), listener))
            }
        }
    }

    fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| "?".to_owned(), |address| address.to_string()),
            Self::Unix(file, _) => format!("unix:{}", file.path().display()),
        }
    }

    /// Puts it on the runtime that this is called on.
    fn into_async(self) -> io::Result<AsyncListener> {
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixStream};

    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_or_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = [ListenAddress::Unix(path.clone())];
        drop(UnixListener::bind(&path).unwrap());
        let live = Listeners::bind(&address, Vec::new()).unwrap();
        let error = Listeners::bind(&address, Vec::new()).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        let error = Listeners::bind(&address, Vec::new()).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn what_is_handed_on_is_taken_for_its_address_and_keeps_its_port_and_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let tcp: ListenAddress = "127.0.0.1:0".parse().unwrap();
        let addresses = [tcp.clone(), ListenAddress::Unix(path.clone())];
        let first = Listeners::bind(&addresses, Vec::new()).unwrap();
        let heirlooms = first.heirlooms().unwrap();
        let before = first.addresses();
        // A client that came in between waits.
        let waiting = UnixStream::connect(&path).unwrap();
        let handed = heirlooms.hand_on();
        drop(first);
        let second = Listeners::bind(&addresses, handed).unwrap();
        assert_eq!(second.addresses(), before);
        assert!(path.exists());
        waiting.shutdown(std::net::Shutdown::Both).unwrap();
        // What is not handed on goes, and so does what nobody wants.
        let handed = second.heirlooms().unwrap().hand_on();
        let unix = [addresses[1].clone()];
        drop(second);
        let third = Listeners::bind(&unix, handed).unwrap();
        drop(third.heirlooms().unwrap());
        drop(third);
        assert!(!path.exists());
    }
}
