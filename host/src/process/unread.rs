//! What the other end of a Unix socket has not read.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

/// Whether something that was written to a Unix stream socket has not been read by its other end,
/// and will not be once that end is closed.
///
/// Two places to look, in this order: the queue, and, when the other end is closed, whose queue is
/// thrown away, the socket's error, which Linux sets to `ECONNRESET` before it does that.
/// (`unix_release_sock`, `unix_outq_len`.)
///
/// # Errors
/// When the system does not say, as for a descriptor that is no socket.
pub fn has_unread(socket: impl AsFd) -> io::Result<bool> {
    let socket = socket.as_fd();
    let mut unread: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as it is lent, and TIOCOUTQ (SIOCOUTQ, for
    // sockets) writes one int.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if unread > 0 {
        return Ok(true);
    }
    match rustix::net::sockopt::socket_error(socket)? {
        Ok(()) => Ok(false),
        Err(error) => Ok(error == rustix::io::Errno::CONNRESET),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::{UnixListener, UnixStream},
    };

    use super::*;

    #[test]
    fn what_was_read_and_what_was_not_are_told_apart() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        assert!(!has_unread(&ours).unwrap());
        ours.write_all(b"request").unwrap();
        assert!(has_unread(&ours).unwrap());
        theirs.read_exact(&mut [0; 7]).unwrap();
        assert!(!has_unread(&ours).unwrap());
        drop(theirs);
        assert!(!has_unread(&ours).unwrap());
    }

    #[test]
    fn what_was_not_read_before_the_end_stays_unread() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(b"request").unwrap();
        drop(theirs);
        assert!(has_unread(&ours).unwrap());
    }

    #[test]
    fn a_connection_that_was_never_accepted_is_unread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut ours = UnixStream::connect(&path).unwrap();
        ours.write_all(b"request").unwrap();
        assert!(has_unread(&ours).unwrap());
        drop(listener);
        assert!(has_unread(&ours).unwrap());
    }
}
