//! Connections that were accepted, and on which nothing was read.

use std::{
    io,
    net::TcpStream,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
};

use crate::loader::Peer;

/// An accepted connection, not yet on any runtime.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(TcpStream, Peer),
    Unix(UnixStream),
}

/// A connection on which nothing was read yet: another process image can go on with it, and the
/// client sees nothing.
#[derive(Debug)]
pub struct Unheard {
    descriptor: OwnedFd,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Unix,
}

impl Unheard {
    /// A TCP connection; `None`: its client is gone.
    #[must_use]
    pub fn tcp(descriptor: OwnedFd) -> Option<Self> {
        let stream = TcpStream::from(descriptor);
        stream.peer_addr().ok()?;
        Some(Self {
            descriptor: stream.into(),
            kind: Kind::Tcp,
        })
    }

    /// A Unix socket's.
    #[must_use]
    pub fn unix(descriptor: OwnedFd) -> Self {
        Self {
            descriptor,
            kind: Kind::Unix,
        }
    }

    /// Whether it is a Unix socket's.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        self.kind == Kind::Unix
    }

    /// What it is made of.
    #[must_use]
    pub fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    pub(super) fn accept(self) -> io::Result<Accepted> {
        rustix::io::ioctl_fionbio(self.descriptor.as_fd(), true)?;
        Ok(match self.kind {
            Kind::Unix => Accepted::Unix(self.descriptor.into()),
            Kind::Tcp => {
                let stream = TcpStream::from(self.descriptor);
                let peer = Peer::Inet(stream.peer_addr()?);
                Accepted::Tcp(stream, peer)
            }
        })
    }
}

impl From<Unheard> for OwnedFd {
    fn from(unheard: Unheard) -> Self {
        unheard.descriptor
    }
}
