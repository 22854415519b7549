//! Sockets that go from one process to the one that goes on with them.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
};

use super::{Listener, SocketFile};
use crate::config::ListenAddress;

/// A socket that is listened on already, to be handed to who goes on with it.
#[derive(Debug)]
pub struct Heirloom {
    /// What it was to listen on.
    pub address: ListenAddress,
    /// The socket.
    pub socket: OwnedFd,
}

/// Sockets that outlive those who listen on them.
#[derive(Debug, Default)]
pub struct Heirlooms {
    pub(super) sockets: Vec<Heirloom>,
    pub(super) files: Vec<SocketFile>,
}

impl Heirlooms {
    /// Those of more listeners, too.
    pub fn add(&mut self, more: Self) {
        self.sockets.extend(more.sockets);
        self.files.extend(more.files);
    }

    /// Lets these go: nobody listens there any more.
    pub fn forget(&mut self, addresses: &[ListenAddress]) {
        for address in addresses {
            if let Some(at) = self.sockets.iter().position(|it| it.address == *address) {
                self.sockets.remove(at);
            }
            if let ListenAddress::Unix(path) = address {
                self.files.retain(|file| file.path() != path);
            }
        }
    }

    /// Somebody goes on with them: Unix sockets' files are not removed.
    #[must_use]
    pub fn hand_on(self) -> Vec<Heirloom> {
        for file in self.files {
            file.keep();
        }
        self.sockets
    }
}

impl Heirloom {
    /// A Unix socket, and its file.
    ///
    /// # Errors
    /// When it is another kind of socket.
    pub(crate) fn into_unix(self) -> io::Result<(SocketFile, UnixListener)> {
        match Listener::adopt(self)? {
            Listener::Unix(file, listener) => Ok((file, listener)),
            Listener::Tcp(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// A Unix socket once more.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub(crate) fn of_unix(path: &Path, listener: &UnixListener) -> io::Result<Self> {
        Ok(Self {
            address: ListenAddress::Unix(path.to_owned()),
            socket: listener.try_clone()?.into(),
        })
    }
}
