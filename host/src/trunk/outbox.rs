//! Frames on their way out.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, request};
use tokio::io::AsyncWrite;
use tokio_util::io::poll_write_buf;

use super::{
    ResponseHead, frame,
    head::{write_request, write_response, write_trailers},
    inbox::PREFIX,
};
use crate::loader::Peer;

/// The longest payload, in bytes: more than any server takes for a head.
pub(super) const LONGEST: usize = 1 << 20;

/// Data up to so many bytes is copied behind its frame's beginning; longer data stands by itself.
const COPIED: usize = 4096;

/// What is to be written to a trunk. As a [`Buf`] it is those bytes.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What comes before the tail.
    parts: VecDeque<Bytes>,
    parts_length: usize,
    tail: BytesMut,
}

/// A head that is longer than any frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its head is longer than {LONGEST} bytes")]
pub struct TooLong;

impl Outbox {
    /// Begins a stream with a request.
    ///
    /// # Errors
    /// When its head is too long; nothing is said then.
    pub fn request(
        &mut self,
        stream: u32,
        parts: &request::Parts,
        id: u64,
        peer: Peer,
    ) -> Result<(), TooLong> {
        self.frame(frame::REQUEST, stream, 0, |tail| {
            write_request(tail, parts, id, peer);
        })
    }

    /// Nobody waits for a stream's answer.
    pub fn cancel(&mut self, stream: u32) {
        self.short(frame::CANCEL, stream, &[]);
    }

    /// So many more bytes of a stream's body may be sent.
    pub fn credit(&mut self, stream: u32, bytes: u32) {
        self.short(frame::CREDIT, stream, &bytes.to_le_bytes());
    }

    /// An answer begins, and is whole with that data, or not.
    ///
    /// # Errors
    /// When its head is too long; nothing is said then.
    pub fn response(
        &mut self,
        stream: u32,
        head: &ResponseHead,
        data: Bytes,
        is_whole: bool,
    ) -> Result<(), TooLong> {
        let kind = match is_whole {
            true => frame::WHOLE_RESPONSE,
            false => frame::RESPONSE,
        };
        self.frame(kind, stream, data.len(), |tail| write_response(tail, head))?;
        self.append(data);
        Ok(())
    }

    /// More of a body, or the rest of it.
    pub fn data(&mut self, stream: u32, data: Bytes, is_last: bool) {
        let kind = match is_last {
            true => frame::LAST_DATA,
            false => frame::DATA,
        };
        self.prefix(kind, stream, data.len());
        self.append(data);
    }

    /// What comes after a body.
    ///
    /// # Errors
    /// When they are too long; nothing is said then.
    pub fn trailers(&mut self, stream: u32, trailers: &HeaderMap) -> Result<(), TooLong> {
        self.frame(frame::TRAILERS, stream, 0, |tail| {
            write_trailers(tail, trailers);
        })
    }

    /// There is no answer, or no more of it.
    pub fn failed(&mut self, stream: u32, reason: &str) {
        let end = reason.floor_char_boundary(COPIED);
        self.short(frame::FAILED, stream, &reason.as_bytes()[..end]);
    }

    /// The request was not begun.
    pub fn refused(&mut self, stream: u32) {
        self.short(frame::REFUSED, stream, &[]);
    }

    /// No request is begun from now on.
    pub fn leaving(&mut self) {
        self.short(frame::LEAVING, 0, &[]);
    }

    /// Writes what can be written now.
    ///
    /// # Errors
    /// When nobody reads it.
    pub fn write(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        while self.has_remaining() {
            match poll_write_buf(Pin::new(&mut *connection), cx, self) {
                Poll::Ready(written) => written?,
                Poll::Pending => break,
            };
        }
        Ok(())
    }

    /// Forgets all of it: nobody reads it.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn short(&mut self, kind: u8, stream: u32, payload: &[u8]) {
        self.prefix(kind, stream, payload.len());
        self.tail.put_slice(payload);
    }

    /// A frame whose payload is what `write` writes, and then that many bytes.
    fn frame(
        &mut self,
        kind: u8,
        stream: u32,
        more: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<(), TooLong> {
        let start = self.tail.len();
        self.prefix(kind, stream, 0);
        write(&mut self.tail);
        let length = self.tail.len() - start - PREFIX + more;
        if length > LONGEST {
            self.tail.truncate(start);
            return Err(TooLong);
        }
        let length = u32::try_from(length).map_err(|_| TooLong)?;
        self.tail[start..start + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    fn prefix(&mut self, kind: u8, stream: u32, length: usize) {
        // Data comes in pieces of `MOST_DATA`, and all else is checked.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.tail.put_u32_le(length);
        self.tail.put_u8(kind);
        self.tail.put_u32_le(stream);
    }

    fn append(&mut self, data: Bytes) {
        if data.len() <= COPIED {
            self.tail.put_slice(&data);
            return;
        }
        let before = self.tail.split().freeze();
        self.parts_length += before.len() + data.len();
        self.parts.push_back(before);
        self.parts.push_back(data);
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.parts_length + self.tail.len()
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&self.tail, |part| part)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let tail = Some(&self.tail[..]).filter(|tail| !tail.is_empty());
        let chunks = self.parts.iter().map(|part| &part[..]).chain(tail);
        let mut number = 0;
        for (place, chunk) in into.iter_mut().zip(chunks) {
            *place = IoSlice::new(chunk);
            number += 1;
        }
        number
    }

    fn advance(&mut self, mut bytes: usize) {
        while let Some(part) = self.parts.front_mut() {
            if bytes < part.len() {
                self.parts_length -= bytes;
                return part.advance(bytes);
            }
            bytes -= part.len();
            self.parts_length -= part.len();
            self.parts.pop_front();
        }
        if bytes == self.tail.len() {
            // Keeps its memory.
            self.tail.clear();
        } else {
            self.tail.advance(bytes);
        }
    }
}
