//! Frames as they come in.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

use super::{frame::Malformed, outbox::LONGEST};

/// How much is read at once, in bytes.
const ONE_READ: usize = 64 * 1024;

/// Payloads up to so many bytes are copied, so that what is kept of them does not keep all that was
/// read with them.
const COPIED: usize = 4096;

/// The length, the kind and the stream.
pub(super) const PREFIX: usize = 9;

/// What was read of a trunk, and not taken yet.
#[derive(Debug, Default)]
pub struct Inbox(BytesMut);

/// A frame.
#[derive(Debug)]
pub struct Raw {
    pub(super) kind: u8,
    pub(super) stream: u32,
    pub(super) payload: Bytes,
}

impl Inbox {
    /// Reads once. `false`: the other side has ended.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut (impl AsyncRead + Unpin),
    ) -> Poll<bool> {
        if self.0.capacity() - self.0.len() < ONE_READ / 4 {
            self.0.reserve(ONE_READ);
        }
        let read = poll_read_buf(Pin::new(connection), cx, &mut self.0);
        read.map(|read| read.is_ok_and(|bytes| bytes > 0))
    }

    /// The next frame that is whole.
    ///
    /// # Errors
    /// When it is longer than any.
    pub fn take(&mut self) -> Result<Option<Raw>, Malformed> {
        let Some(prefix) = self.0.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let &[a, b, c, d, kind, e, f, g, h] = prefix;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > LONGEST {
            return Err(Malformed::Length(length));
        }
        if self.0.len() < PREFIX + length {
            self.0.reserve(PREFIX + length - self.0.len());
            return Ok(None);
        }
        self.0.advance(PREFIX);
        let payload = if length <= COPIED {
            let payload = Bytes::copy_from_slice(&self.0[..length]);
            self.0.advance(length);
            payload
        } else {
            self.0.split_to(length).freeze()
        };
        Ok(Some(Raw {
            kind,
            stream: u32::from_le_bytes([e, f, g, h]),
            payload,
        }))
    }
}
