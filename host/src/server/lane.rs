//! The way of a connection from one worker of a group to another.
//!
//! One pair of sockets for a group's whole life, of which each worker has both ends: who stands
//! aside puts its connections in, and who accepts takes them out. What is on its way belongs to the
//! pair, so that it outlives who sent it.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use bytes::Bytes;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::{io::Interest, net::UnixStream};

use super::unheard::Unheard;
use crate::process::{receive_with, send_with};

/// How much of a request may have been read of a connection that goes on elsewhere: a head that is
/// still incomplete is rarely longer, and a message of the system's must hold it.
pub(super) const MOST_READ: usize = 64 << 10;

/// Both ends.
#[derive(Debug)]
pub struct Lane {
    near: OwnedFd,
    far: OwnedFd,
}

/// A connection between two requests.
#[derive(Debug)]
pub(super) struct Passing {
    pub(super) connection: Unheard,
    /// What was read of the next request.
    pub(super) read: Bytes,
}

impl Lane {
    /// A new one.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (near, far) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        Ok(Self { near, far })
    }

    /// One of which somebody else left both ends: where connections go in, and where they come out.
    #[must_use]
    pub fn of(near: OwnedFd, far: OwnedFd) -> Self {
        Self { near, far }
    }

    /// The same once more.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            near: self.near.try_clone()?,
            far: self.far.try_clone()?,
        })
    }

    /// Both ends, for [`Lane::of`].
    #[must_use]
    pub fn ends(&self) -> [BorrowedFd<'_>; 2] {
        [self.near.as_fd(), self.far.as_fd()]
    }

    pub(super) fn open(self) -> io::Result<(Way, Exit)> {
        // Waited for as streams are, whatever the kind of socket.
        let way = UnixStream::from_std(self.near.into())?;
        let exit = UnixStream::from_std(self.far.into())?;
        Ok((Way(way), Exit(exit)))
    }
}

/// Where connections go in.
#[derive(Debug)]
pub(super) struct Way(UnixStream);

/// Where they come out.
#[derive(Debug)]
pub(super) struct Exit(UnixStream);

impl Way {
    /// Sends a connection. While the lane is full it waits, as those do who connect.
    pub(super) async fn send(&self, passing: Passing) -> io::Result<()> {
        self.0
            .async_io(Interest::WRITABLE, || put(&self.0, &passing))
            .await
    }
}

impl Exit {
    /// Takes a connection. Cancel-safe.
    pub(super) async fn take(&self) -> io::Result<Passing> {
        self.0.async_io(Interest::READABLE, || take(&self.0)).await
    }
}

fn put(way: &UnixStream, passing: &Passing) -> io::Result<()> {
    let kind = [u8::from(passing.connection.is_unix())];
    let parts = [IoSlice::new(&kind), IoSlice::new(&passing.read)];
    send_with(way, &parts, passing.connection.descriptor())?;
    Ok(())
}

fn take(exit: &UnixStream) -> io::Result<Passing> {
    let mut kind = [0];
    let mut read = vec![0; MOST_READ];
    let mut parts = [IoSliceMut::new(&mut kind), IoSliceMut::new(&mut read)];
    let (received, descriptor) = receive_with(exit, &mut parts)?;
    let connection = match kind {
        [0] => descriptor.and_then(Unheard::tcp),
        _ => descriptor.map(Unheard::unix),
    };
    read.truncate(received.saturating_sub(1));
    Ok(Passing {
        // Its client is gone.
        connection: connection.ok_or(io::ErrorKind::ConnectionReset)?,
        read: read.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        os::unix::net::UnixStream as StdUnixStream,
    };

    use super::*;

    #[tokio::test]
    async fn connections_come_out_with_what_was_read_and_outlive_who_sent_them() {
        let lane = Lane::new().unwrap();
        let (way, first) = lane.try_clone().unwrap().open().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (served, _) = listener.accept().unwrap();
        let (mut other, unix) = StdUnixStream::pair().unwrap();
        let read = vec![7; MOST_READ];
        let connection = Unheard::tcp(served.into()).unwrap();
        let passing = Passing {
            connection,
            read: read.clone().into(),
        };
        way.send(passing).await.unwrap();
        let passing = Passing {
            connection: Unheard::unix(unix.into()),
            read: Bytes::new(),
        };
        way.send(passing).await.unwrap();
        drop((way, first));
        let (_way, exit) = lane.open().unwrap();
        let tcp = exit.take().await.unwrap();
        assert!(!tcp.connection.is_unix());
        assert_eq!(tcp.read, read);
        let mut answer = [0; 2];
        TcpStream::from(OwnedFd::from(tcp.connection))
            .write_all(b"hi")
            .unwrap();
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hi");
        let unix = exit.take().await.unwrap();
        assert!(unix.connection.is_unix() && unix.read.is_empty());
        StdUnixStream::from(OwnedFd::from(unix.connection))
            .write_all(b"ho")
            .unwrap();
        other.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ho");
    }
}
