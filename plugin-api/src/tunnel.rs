//! The plugin's end of an upgraded connection: the host's byte stream as hyper reads and writes
//! it.

#![expect(unsafe_code, reason = "ABI glue: the host's stream")]

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};

use crate::{abi, glue::waker};

/// A byte stream that the host owns.
#[derive(Debug)]
pub(crate) struct Tunnel(abi::Stream);

// SAFETY: the ABI lets a stream be used from any thread, one call at a time.
unsafe impl Send for Tunnel {}

impl Tunnel {
    /// Takes over a stream.
    ///
    /// # Safety
    /// `raw` must be owned by the caller and not be used again.
    pub(crate) unsafe fn adopt(raw: abi::Stream) -> Self {
        Self(raw)
    }

    fn table(&self) -> &abi::StreamTable {
        // SAFETY: the host's table lives as long as the process.
        unsafe { &*self.0.table }
    }
}

fn outcome<T>(status: abi::Status, value: T) -> Poll<io::Result<T>> {
    match status {
        abi::PENDING => Poll::Pending,
        abi::READY => Poll::Ready(Ok(value)),
        _ => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
    }
}

impl Read for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let waker = waker::lend(cx.waker());
        // SAFETY: the host only writes to it.
        let room = unsafe { buf.as_mut() };
        let (ptr, cap, mut done) = (room.as_mut_ptr().cast(), room.len(), 0);
        // SAFETY: the ABI: one call at a time, since we are borrowed mutably; `room` is ours.
        let status =
            unsafe { (self.table().read)(self.0.this, waker.as_ptr(), ptr, cap, &raw mut done) };
        if status == abi::READY {
            // SAFETY: the host has written that many bytes, and never more than there is room for.
            unsafe { buf.advance(done.min(cap)) };
        }
        outcome(status, ())
    }
}

impl Write for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let waker = waker::lend(cx.waker());
        let (ptr, len, mut done) = (bytes.as_ptr(), bytes.len(), 0);
        // SAFETY: the ABI: one call at a time, since we are borrowed mutably.
        let status =
            unsafe { (self.table().write)(self.0.this, waker.as_ptr(), ptr, len, &raw mut done) };
        outcome(status, done)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waker = waker::lend(cx.waker());
        // SAFETY: the ABI: one call at a time, since we are borrowed mutably.
        outcome(
            unsafe { (self.table().flush)(self.0.this, waker.as_ptr()) },
            (),
        )
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waker = waker::lend(cx.waker());
        // SAFETY: the ABI: one call at a time, since we are borrowed mutably.
        outcome(
            unsafe { (self.table().shutdown)(self.0.this, waker.as_ptr()) },
            (),
        )
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // SAFETY: owned, and dropped once.
        unsafe { (self.table().drop)(self.0.this) }
    }
}
