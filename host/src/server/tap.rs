//! A connection's bytes, which can be held back between two requests.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};

/// What is known of a [`Tap`] from outside. All of it is used by one thread only.
#[derive(Debug, Default)]
pub(super) struct Valve {
    shut: AtomicBool,
    asked: AtomicBool,
    blocked: AtomicBool,
}

impl Valve {
    /// Nothing more is read.
    pub(super) fn shut(&self) {
        self.shut.store(true, Relaxed);
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Relaxed)
    }

    /// Whether anything was to be read since this was asked last.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.swap(false, Relaxed)
    }

    /// Whether something is left to be written.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Relaxed)
    }
}

/// A stream, after bytes of it that were read before.
#[derive(Debug)]
pub(super) struct Tap<I> {
    io: I,
    before: Bytes,
    valve: Arc<Valve>,
}

impl<I> Tap<I> {
    pub(super) fn new(io: I, before: Bytes) -> (Self, Arc<Valve>) {
        let valve = Arc::new(Valve::default());
        let tap = Self {
            io,
            before,
            valve: Arc::clone(&valve),
        };
        (tap, valve)
    }

    /// The stream, and what of the bytes before it nobody has read.
    pub(super) fn into_parts(self) -> (I, Bytes) {
        (self.io, self.before)
    }
}

impl<I: Read + Unpin> Read for Tap<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.valve.asked.store(true, Relaxed);
        if self.valve.is_shut() {
            // Who has shut it polls again, or goes on without this connection.
            return Poll::Pending;
        }
        if self.before.has_remaining() {
            let some = self.before.len().min(buf.remaining());
            buf.put_slice(&self.before.split_to(some));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: Write + Unpin> Tap<I> {
    fn noted<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.valve.blocked.store(polled.is_pending(), Relaxed);
        polled
    }
}

impl<I: Write + Unpin> Write for Tap<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.noted(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.noted(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.noted(polled)
    }
}
