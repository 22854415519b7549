//! Forwarding one request to a worker process, and its response back.
//!
//! A worker listens on a Unix socket. Each HTTP thread has connections of its own to each worker
//! (`pool`). Requests without a body go over trunks ([`crate::trunk`]), many at a time on each; all
//! others alone on a connection: HTTP/1.1 for requests of HTTP/1, HTTP/2 for requests of HTTP/2, so
//! that trailers and streams in both directions pass. Bodies pass piece by piece, and as fast as the
//! slower side takes them. Interim responses do not pass, as hyper's server has no way
//! to send them; but a client that waits for `100 Continue` gets it when the worker asks for the body,
//! or after a second.
//!
//! # When something breaks
//!
//! A request is sent again only if that cannot do anything twice:
//!
//! | what is known | what happens |
//! |---|---|
//! | the worker has read nothing of it | it is sent again, on a new connection or to another worker, each worker once |
//! | the worker closed an idle connection as the request was sent, the request is idempotent, and nothing of an answer came | it is sent again once, to the same worker: what kills one must not kill the next |
//! | anything else | an error |
//!
//! On a trunk, the worker says what it begins before it does: what it has not begun is sent again as
//! what it has not read, and all else is not.
//!
//! On other connections, that a worker has read nothing is known when hyper gives the request back, when HTTP/2 says so,
//! or when the system says that what was written is unread (`process::has_unread`); in HTTP/2 only as
//! long as nothing has come from the worker, since what answers to that is written behind the head. What was taken
//! of the client's body by then is kept as long as it is small (`upload`).
//!
//! That a worker has died becomes known a little later than that its connections have ended. The
//! system is asked whether it is dying ([`Worker::fate`]): if so, the news is waited for.
//!
//! Once a response has begun, what breaks is an error of its body, so that the client's connection
//! or stream is cut: it never looks whole.

use std::{sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode, Version, request::Parts};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

mod body;
mod connection;
mod error;
mod forwarded;
mod headers;
mod pool;
mod trunks;
mod tunnel;
mod upload;
mod wire;

#[cfg(test)]
mod tests;

pub use body::{BodyError, BodyFailure, ProxiedBody};
pub use error::{Broken, Failure, ProxyError};
pub use forwarded::{FORWARDED, Forwarded, ForwardedError};
pub use tunnel::{Tunnel, wants_upgrade};

use crate::{
    trunk::ResponseHead,
    workers::{About, Held, Set, Tried, Worker},
};
use body::Source;
use connection::{Connection, Lost, Protocol};
use pool::{Leased, Pool};
use trunks::Carried;
use upload::Upload;

/// Limits for one request. Each holds by itself; zero means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// How long a request waits to be connected to a worker whose backlog is full. Zero means five
    /// seconds: without an end nobody would try another worker.
    pub connect_timeout: Duration,
    /// How long a request may take, from when it was taken until its response's body has ended.
    pub request_timeout: Duration,
}

impl Limits {
    const CONNECT: Duration = Duration::from_secs(5);

    fn connect_timeout(&self) -> Duration {
        if self.connect_timeout.is_zero() {
            Self::CONNECT
        } else {
            self.connect_timeout
        }
    }

    fn deadline(&self, since: Instant) -> Option<Instant> {
        // One that is too far away to be said is none.
        (!self.request_timeout.is_zero())
            .then(|| since.checked_add(self.request_timeout))
            .flatten()
    }
}

/// A worker's answer.
#[derive(Debug)]
pub struct Answer {
    /// For the client.
    pub response: Response<ProxiedBody>,
    /// The worker has agreed to another protocol: the bytes that follow the response. To be run
    /// beside the client's connection.
    pub tunnel: Option<Tunnel>,
}

/// Finds the worker of the set that is to answer the request, or waits for one. The request's time
/// runs meanwhile. For [`forward`].
///
/// # Errors
/// When no worker is ready in time, too many requests wait already, or other workers answer for its
/// app by now.
pub async fn hold(set: &Set, about: About, limits: &Limits) -> Result<Held, Failure> {
    let deadline = limits.deadline(about.since);
    let hold = set.hold(about);
    let held = match deadline {
        Some(deadline) => timeout_at(deadline, hold)
            .await
            .map_err(|_| Failure::of(ProxyError::RequestTimeout, None))?,
        None => hold.await,
    };
    held.map_err(|refusal| Failure::of(ProxyError::NoWorker(refusal), None))
}

/// Forwards a request to the worker that holds it, which is one of the set; see the module for what
/// happens when that fails. Dropping the future cancels the request at the worker.
///
/// # Errors
/// When there is no response: see [`ProxyError`]. What breaks later is an error of the body.
pub async fn forward(
    mut request: Request<Option<Incoming>>,
    held: Held,
    set: &Set,
    forwarded: &Forwarded,
    limits: &Limits,
) -> Result<Answer, Failure> {
    let client = wants_upgrade(&request).then(|| hyper::upgrade::on(&mut request));
    let deadline = limits.deadline(held.since());
    let worker = Arc::clone(held.worker());
    let (parts, upload) = prepare(request, client.is_some());
    let exchange = Exchange {
        may_share: client.is_none() && upload.is_none() && may_share(&parts),
        parts,
        upload,
        forwarded,
        connect_timeout: limits.connect_timeout(),
    };
    let exchanging = exchange.run(held, set);
    let (response, held) = match deadline {
        Some(deadline) => timeout_at(deadline, exchanging)
            .await
            .unwrap_or_else(|_| Err(Failure::of(ProxyError::RequestTimeout, Some(worker))))?,
        None => exchanging.await?,
    };
    let (mut parts, source) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        let (Some(client), Source::Alone(alone)) = (client, &source) else {
            let worker = Some(Arc::clone(held.worker()));
            return Err(Failure::of(ProxyError::Broken(Broken::Unasked), worker));
        };
        headers::to_client(&mut parts, true);
        let mut response = Response::from_parts(parts, ProxiedBody::empty());
        let tunnel = Tunnel::new(client, &mut response, &alone.leased, held);
        return Ok(Answer {
            response,
            tunnel: Some(tunnel),
        });
    }
    headers::to_client(&mut parts, false);
    let body = ProxiedBody::new(source, held, deadline);
    Ok(Answer {
        response: Response::from_parts(parts, body),
        tunnel: None,
    })
}

/// The request as it goes to a worker.
fn prepare(request: Request<Option<Incoming>>, is_upgrade: bool) -> (Parts, Upload) {
    let (mut parts, body) = request.into_parts();
    // What is in there is between the client's connection and hyper.
    parts.extensions = http::Extensions::new();
    let upload = Upload::new(body, headers::expects_continue(&parts));
    headers::to_worker(&mut parts, &upload, is_upgrade);
    (parts, upload)
}

/// Whether a request without a body can go over a trunk. The answer to HEAD says how long a body is
/// that does not come, CONNECT is answered as it is in HTTP, and so is a target of another scheme.
fn may_share(parts: &Parts) -> bool {
    // As one whose parts say what it is: others are read as some are, `://a` for example.
    let is_plain = matches!(parts.uri.scheme_str(), None | Some("http" | "https"));
    parts.method != Method::HEAD && parts.method != Method::CONNECT && is_plain
}

/// One request, until a response begins.
struct Exchange<'a> {
    parts: Parts,
    upload: Upload,
    forwarded: &'a Forwarded,
    /// It may go over a trunk.
    may_share: bool,
    connect_timeout: Duration,
}

impl Exchange<'_> {
    async fn run(&self, mut held: Held, set: &Set) -> Result<(Response<Source>, Held), Failure> {
        let mut tried = Tried::new();
        let mut reuse = true;
        // That a worker may have read it.
        let mut is_uncertain = false;
        loop {
            let lost = match self.attempt(&held, reuse).await {
                Ok(response) => return Ok((response, held)),
                Err(lost) => lost,
            };
            if self.upload.has_failed() {
                let worker = Some(Arc::clone(held.worker()));
                return Err(Failure::of(ProxyError::Client, worker));
            }
            let may_repeat = self.upload.can_repeat() && !is_uncertain;
            if may_repeat && lost.was_reused && !held.worker().is_dead() {
                if lost.is_unread {
                    reuse = false;
                    continue;
                }
                if self.parts.method.is_idempotent() && lost.is_silent {
                    is_uncertain = true;
                    reuse = false;
                    continue;
                }
            }
            if !(may_repeat && lost.is_unread) {
                return Err(verdict(&held, lost.error).await);
            }
            let worker = Arc::clone(held.worker());
            tried.push(worker.serial());
            let about = held.give_up();
            let found = match &lost.error {
                // It can be with others as it is with this one: they are not waited for.
                ProxyError::ConnectTimeout => set.pick_other(about, &tried).ok_or(lost.error),
                _ => set
                    .hold_other(about, tried.clone())
                    .await
                    .map_err(ProxyError::NoWorker),
            };
            held = found.map_err(|error| Failure::of(error, Some(worker)))?;
            reuse = true;
        }
    }

    /// Sends it once.
    async fn attempt(&self, held: &Held, reuse: bool) -> Result<Response<Source>, Lost> {
        let protocol = Protocol::of(self.parts.version);
        let pool = Pool::of(held.worker());
        if self.may_share
            && reuse
            && let Some(trunk) = pool.trunks.pick(held.worker()).await
            && let Ok(mut carried) = trunk.send(&self.parts, self.forwarded)
        {
            let head = carried.head().await?;
            return Ok(self.response_of(head, carried));
        }
        let pooled = if reuse { pool.take(protocol) } else { None };
        let mut connection = match pooled {
            Some(connection) => connection,
            None => Connection::open(held.worker(), protocol, self.connect_timeout).await?,
        };
        let (body, gate) = self.upload.body();
        let mut request = Request::from_parts(self.parts.clone(), body);
        self.forwarded.put(&mut request);
        if let Some(gate) = gate {
            hyper::ext::on_informational(&mut request, move |response| {
                if response.status() == StatusCode::CONTINUE {
                    gate.open();
                }
            });
        }
        let response = connection.send(request, &self.upload).await?;
        self.upload.answered();
        let leased = Leased::new(pool, connection);
        let (parts, body) = response.into_parts();
        let until_closed = leased.ends_by_closing(&parts);
        let source = Source::alone(body, leased, self.upload.clone(), until_closed);
        Ok(Response::from_parts(parts, source))
    }

    /// A response that came over a trunk, as HTTP would have brought it.
    fn response_of(&self, head: ResponseHead, carried: Carried) -> Response<Source> {
        let mut response = Response::new(Source::Sharing(carried));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        if self.parts.version == Version::HTTP_2 {
            *response.version_mut() = Version::HTTP_2;
        }
        response
    }
}

/// What to say of a request that was lost with its connection: that the worker died, if it did.
async fn verdict(held: &Held, error: ProxyError) -> Failure {
    let worker: &Arc<Worker> = held.worker();
    let death = match &error {
        ProxyError::Broken(_) => worker.fate().await,
        _ => worker.death(),
    };
    let error = match death {
        Some(death) => ProxyError::Died(death.clone()),
        None => error,
    };
    Failure::of(error, Some(Arc::clone(worker)))
}
