//! A connection between a supervisor and a worker that carries many requests at the same time.
//!
//! For requests without a body, which most are: all that a thread has ready for a worker goes in one
//! write, and all that the worker has answered comes in one read. What such a request costs beyond
//! that is copying its head; there is no HTTP to be written and parsed between the two. Requests
//! with a body, and those that ask for another protocol, go over HTTP ([`crate::proxy`]).
//!
//! Each frame is a length of its payload in bytes (4), a kind (1), the number of a stream (4), both
//! numbers with their least byte first, and the payload. A stream is one request and its answer. Its
//! number is used again only when its last frame has come from the worker: exactly one of those that
//! [`Answer::is_last`] names, whatever happens.
//!
//! - **Flow control.** As in HTTP/2 (RFC 9113, 5.2), but for each stream alone: of an answer's body,
//!   a worker sends [`WINDOW`] bytes and then what it is credited for what was read of them.
//! - **What was begun.** Before a worker begins a request it says so in memory that both share
//!   ([`Watermark`]): how many it has begun on this connection. So who finds the connection broken
//!   knows of each request whether any code has seen it, whatever was read of the socket.
//! - **The end.** A worker that ends says [`Answer::Leaving`], refuses what comes after it, and
//!   closes the connection when it has answered the rest.

use std::io::{self, IoSlice, IoSliceMut};

use rustix::net::{RecvFlags, recv};
use tokio::net::UnixStream;

mod frame;
mod head;
mod inbox;
mod outbox;

#[cfg(test)]
mod tests;

pub use frame::{Answer, Ask, Malformed};
pub use head::{RequestHead, ResponseHead};
pub use inbox::Inbox;
pub use outbox::{Outbox, TooLong};

use crate::process::{Watermark, receive_with, send_with};

/// How much of an answer's body is sent before the first credit, in bytes.
pub const WINDOW: u32 = 256 * 1024;

/// The most data in one frame, in bytes: a long body holds up the answers beside it for so long.
pub const MOST_DATA: usize = 64 * 1024;

/// The first bytes on the connection. HTTP begins with a letter.
const HAIL: [u8; 8] = *b"\0replug\x01";

/// Begins a connection that was made just now. The watermark is the worker's to set.
///
/// # Errors
/// When the process has no descriptors left, or the worker is gone.
pub fn hail(connection: &UnixStream) -> io::Result<Watermark> {
    let (watermark, memory) = Watermark::new()?;
    let sent = send_with(connection, &[IoSlice::new(&HAIL)], memory)?;
    // They fit into the buffer of a socket to which nothing was written.
    if sent == HAIL.len() {
        Ok(watermark)
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Whether what was received on a connection begins as [`hail`] has it. Takes nothing of it.
#[must_use]
pub fn is_hailed(connection: &UnixStream) -> bool {
    let mut first = [1];
    let peeked = recv(connection, &mut first, RecvFlags::PEEK);
    // Where it has ended, nothing was received.
    matches!(peeked, Ok((1, _))) && first[0] == HAIL[0]
}

/// Takes what [`hail`] has sent.
///
/// # Errors
/// When it is anything else.
pub fn take_hail(connection: &UnixStream) -> io::Result<Watermark> {
    let mut hail = [0; HAIL.len()];
    let (_, memory) = receive_with(connection, &mut [IoSliceMut::new(&mut hail)])?;
    match memory {
        Some(memory) if hail == HAIL => Watermark::shared(memory),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
