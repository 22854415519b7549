//! A connection to a worker as a stream of bytes, with what has to be known of it when it breaks.

use std::{
    future::Future as _,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::{process::has_unread, workers::Worker};

/// As much as a worker's server reads at once, in bytes: hyper's smallest read buffer. A request
/// that was written in one piece, and is no longer than that, was read either whole or not at all.
const ONE_READ: usize = 8192;

/// What is known of a connection's bytes since its request began. Used on one thread; atomic since
/// hyper wants connections that can be upgraded to be `Send`.
#[derive(Debug, Default)]
pub(super) struct Wire {
    writes: AtomicU32,
    written: AtomicUsize,
    /// Some bytes have come.
    heard: AtomicBool,
    /// What is written is no request any more.
    is_tunnel: AtomicBool,
    /// It has ended.
    ended: AtomicBool,
    /// By then, something that was written had not been read.
    unread: AtomicBool,
}

impl Wire {
    /// A request begins.
    pub(super) fn begin(&self) {
        self.writes.store(0, Ordering::Relaxed);
        self.written.store(0, Ordering::Relaxed);
        self.heard.store(false, Ordering::Relaxed);
    }

    /// From now on, what cannot be written is an error.
    pub(super) fn becomes_tunnel(&self) {
        self.is_tunnel.store(true, Ordering::Relaxed);
    }

    /// Whether the connection has ended, and the worker cannot have read the request's head: all of
    /// it is unread, or, when nothing but the head was written, the end of it.
    pub(super) fn is_unread(&self, is_head_only: bool) -> bool {
        let writes = self.writes.load(Ordering::Relaxed);
        let written = self.written.load(Ordering::Relaxed);
        let is_one_piece = writes == 1 && written <= ONE_READ;
        let is_unread = self.unread.load(Ordering::Relaxed);
        self.ended.load(Ordering::Relaxed)
            && (writes == 0 || is_unread && (is_head_only || is_one_piece))
    }

    /// Whether nothing has come since the request began.
    pub(super) fn is_silent(&self) -> bool {
        !self.heard.load(Ordering::Relaxed)
    }
}

/// The stream.
///
/// What is written when the worker reads no more is thrown away: its last words, an answer perhaps,
/// are on their way, and the reader finds these or the end. And it ends when the worker has died,
/// also if the system does not end it: one that was never accepted, or that a child of the worker's
/// still has open.
pub(super) struct WorkerStream {
    stream: UnixStream,
    wire: Arc<Wire>,
    worker: Arc<Worker>,
    gone: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Who is told when the worker is gone.
    waker: Option<Waker>,
    is_deaf: bool,
}

impl WorkerStream {
    pub(super) fn new(stream: UnixStream, worker: Arc<Worker>) -> (Self, Arc<Wire>) {
        let wire = Arc::new(Wire::default());
        let stream = Self {
            stream,
            wire: Arc::clone(&wire),
            gone: Box::pin(worker.gone().clone().cancelled_owned()),
            worker,
            waker: None,
            is_deaf: false,
        };
        (stream, wire)
    }

    fn note_the_end(&self) {
        self.wire.ended.store(true, Ordering::Relaxed);
        // What the system does not say counts as read: then the request is not sent again.
        if has_unread(&self.stream).unwrap_or(false) {
            self.wire.unread.store(true, Ordering::Relaxed);
        }
    }

    /// Notes a reset, which the system tells but once.
    fn note(&self, error: &io::Error) {
        self.wire.ended.store(true, Ordering::Relaxed);
        if error.kind() == io::ErrorKind::ConnectionReset {
            self.wire.unread.store(true, Ordering::Relaxed);
        }
    }

    fn written(&mut self, result: io::Result<usize>, given: usize) -> io::Result<usize> {
        match result {
            Ok(number) => {
                self.wire.writes.fetch_add(1, Ordering::Relaxed);
                self.wire.written.fetch_add(number, Ordering::Relaxed);
                Ok(number)
            }
            Err(error) if is_deafness(&error) && !self.wire.is_tunnel.load(Ordering::Relaxed) => {
                self.note(&error);
                self.is_deaf = true;
                Ok(given)
            }
            Err(error) => Err(error),
        }
    }
}

fn is_deafness(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

impl AsyncRead for WorkerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before {
                    self.wire.heard.store(true, Ordering::Relaxed);
                } else if buf.remaining() > 0 {
                    self.note_the_end();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                self.note(&error);
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                // Once for each task that reads: the list of those who wait is behind a lock.
                if !self
                    .waker
                    .as_ref()
                    .is_some_and(|it| it.will_wake(cx.waker()))
                {
                    self.waker = Some(cx.waker().clone());
                    let _ = self.gone.as_mut().poll(cx);
                }
                if self.worker.is_dead() {
                    self.note_the_end();
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for WorkerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_deaf {
            return Poll::Ready(Ok(buf.len()));
        }
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        polled.map(|result| self.written(result, buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let given = bufs.iter().map(|buf| buf.len()).sum();
        if self.is_deaf {
            return Poll::Ready(Ok(given));
        }
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        polled.map(|result| self.written(result, given))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
