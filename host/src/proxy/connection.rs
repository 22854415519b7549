//! One connection to a worker: made, and used for one request at a time.
//!
//! HTTP/2 could carry many at once. But what a worker has not read of one request's body fills the
//! connection's window, and would hold back the bodies of other clients.

use std::{error::Error as _, future::Future, io, sync::Arc, time::Duration};

use http::{Request, Response, Version};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
    rt,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Broken, ProxyError,
    upload::{Outgoing, Upload},
    wire::{Wire, WorkerStream},
};
use crate::workers::Worker;

/// How many fields a response's head may have: hyper's 100 are fewer than apps may send that are
/// not behind a worker.
const MOST_FIELDS: usize = 512;

/// What of a response's body may wait here for a client that does not read, in bytes.
const WINDOW: u32 = 256 * 1024;

/// How large a response's head may be in HTTP/2, in bytes.
const HEAD: u32 = 256 * 1024;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    pub(super) fn of(version: Version) -> Self {
        if version == Version::HTTP_2 {
            Self::Http2
        } else {
            Self::Http1
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    sender: Sender,
    wire: Arc<Wire>,
    /// It has carried a request before this one.
    was_used: bool,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Outgoing>),
    Http2(http2::SendRequest<Outgoing>),
}

/// A request that got no response.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) error: ProxyError,
    /// The worker has read nothing of it.
    pub(super) is_unread: bool,
    /// Nothing has come from the worker since it was sent.
    pub(super) is_silent: bool,
    /// Its connection had carried others before.
    pub(super) was_reused: bool,
}

impl Lost {
    fn unconnected(error: ProxyError) -> Self {
        Self {
            error,
            is_unread: true,
            is_silent: true,
            was_reused: false,
        }
    }
}

/// Spawns on the thread that it is on.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl Connection {
    /// Makes a connection.
    ///
    /// # Errors
    /// When the worker does not take it, or not in `time`.
    pub(super) async fn open(
        worker: &Arc<Worker>,
        protocol: Protocol,
        time: Duration,
    ) -> Result<Self, Lost> {
        let stream = connect(worker, Instant::now() + time)
            .await
            .map_err(Lost::unconnected)?;
        let (stream, wire) = WorkerStream::new(stream, Arc::clone(worker));
        let io = TokioIo::new(stream);
        let failed = |error| Lost::unconnected(ProxyError::Broken(Broken::Http(error)));
        let sender = match protocol {
            Protocol::Http1 => {
                let mut builder = http1::Builder::new();
                builder.max_headers(MOST_FIELDS);
                let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
                // Its error is the request's, or its body's, who report it.
                tokio::task::spawn_local(async { drop(connection.with_upgrades().await) });
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let mut builder = http2::Builder::new(LocalExecutor);
                builder
                    .initial_stream_window_size(WINDOW)
                    .initial_connection_window_size(WINDOW)
                    .max_header_list_size(HEAD);
                let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
                tokio::task::spawn_local(async { drop(connection.await) });
                Sender::Http2(sender)
            }
        };
        Ok(Self {
            sender,
            wire,
            was_used: false,
        })
    }

    /// Sends a request, and waits for the head of its response. Dropping the future cancels it.
    pub(super) async fn send(
        &mut self,
        request: Request<Outgoing>,
        upload: &Upload,
    ) -> Result<Response<Incoming>, Lost> {
        self.wire.begin();
        let was_reused = std::mem::replace(&mut self.was_used, true);
        let sent = match &mut self.sender {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|error| self.lost(error, upload, was_reused))
    }

    fn lost(
        &self,
        mut error: TrySendError<Request<Outgoing>>,
        upload: &Upload,
        was_reused: bool,
    ) -> Lost {
        let was_given_back = error.take_message().is_some();
        let error = error.into_error();
        let is_unread = was_given_back
            || match self.sender {
                Sender::Http1(_) => self.wire.is_unread(upload.is_untouched()),
                // Not told by the number of bytes: a worker's server reads as it likes. And once
                // something has come, what is unread may be an answer to that (of settings, say)
                // behind a head that was read.
                Sender::Http2(_) => {
                    let is_head_last = upload.is_untouched() && self.wire.is_silent();
                    is_refusal(&error) || is_head_last && self.wire.is_unread(true)
                }
            };
        Lost {
            is_unread,
            is_silent: match self.sender {
                Sender::Http1(_) => self.wire.is_silent(),
                // What came may be about the connection.
                Sender::Http2(_) => true,
            },
            was_reused,
            error: ProxyError::Broken(Broken::Http(error)),
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self.sender {
            Sender::Http1(_) => Protocol::Http1,
            Sender::Http2(_) => Protocol::Http2,
        }
    }

    /// Its bytes are no longer HTTP.
    pub(super) fn becomes_tunnel(&self) {
        self.wire.becomes_tunnel();
    }

    /// Whether it has ended.
    pub(super) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// Whether it can take the next request now.
    pub(super) fn is_ready(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_ready(),
            Sender::Http2(sender) => sender.is_ready(),
        }
    }

    /// Waits until it can take the next request; `false`: it has ended.
    pub(super) async fn ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }
}

/// Whether HTTP/2 says that the worker did nothing with the request (RFC 9113, 8.7): its stream is
/// beyond the last of those that it would answer, or was refused.
fn is_refusal(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_remote()
                && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM));
        }
        source = error.source();
    }
    false
}

async fn connect(worker: &Worker, until: Instant) -> Result<UnixStream, ProxyError> {
    /// How long to wait for room in a worker's backlog: no event tells of it.
    const FIRST: Duration = Duration::from_millis(1);
    const LAST: Duration = Duration::from_millis(20);
    let mut pause = FIRST;
    loop {
        match UnixStream::connect(&worker.socket).await {
            Ok(stream) => return Ok(stream),
            // The backlog is full.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !worker.is_dead() => {}
            Err(error) => return Err(ProxyError::Broken(Broken::Connect(error))),
        }
        if timeout_at(until, sleep(pause)).await.is_err() {
            return Err(ProxyError::ConnectTimeout);
        }
        pause = LAST.min(2 * pause);
    }
}
