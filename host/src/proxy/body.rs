//! A worker's response body on its way to the client.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use replug_plugin::BoxError;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::{
    pool::Leased,
    trunks::{Carried, End},
    upload::Upload,
};
use crate::workers::{Death, Held, Worker};

/// A worker's response body. The worker holds the request until it has ended, or is dropped, or the
/// request's time is over; then what was not read is given up.
///
/// Whatever breaks is an error, never an end.
pub struct ProxiedBody(Inner);

enum Inner {
    /// All of it is here, and the worker has done with the request.
    Whole(Bytes),
    Partial(Partial),
}

struct Partial {
    state: Rc<RefCell<State>>,
    deadline: Option<Instant>,
    /// Ends it in time even when the client does not read, and nobody asks for more.
    guard: Option<AbortOnDropHandle<()>>,
}

/// Where a body comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// A connection of its request's own.
    Alone(Box<Alone>),
    /// A trunk.
    Sharing(Carried),
}

#[derive(Debug)]
pub(super) struct Alone {
    incoming: Incoming,
    pub(super) leased: Leased,
    upload: Upload,
    /// Its end is the connection's, and would look the same if the worker had died.
    until_closed: bool,
}

/// A response's body that broke off, and whose it was.
#[derive(Debug, thiserror::Error)]
#[error("worker {} (pid {}): {error}", worker.number, worker.pid)]
pub struct BodyFailure {
    /// Why.
    pub error: BodyError,
    /// The worker that was asked.
    pub worker: Arc<Worker>,
}

/// Why a response's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The worker died.
    #[error("the worker {0}")]
    Died(Death),
    /// The worker lives, and broke it off.
    #[error("the worker broke the response off")]
    Broken(#[source] Option<BoxError>),
    /// It took longer than the request may.
    #[error("the request took longer than it may")]
    RequestTimeout,
    /// The client ended its request's body with an error.
    #[error("the client broke off its request")]
    Client,
}

impl BodyError {
    /// A short name for logs and metrics, as [`super::ProxyError::code`].
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Died(_) => "worker-died",
            Self::Broken(_) => "worker-broke",
            Self::RequestTimeout => "request-timeout",
            Self::Client => "client-broke",
        }
    }
}

enum State {
    Open(Box<Open>),
    /// It broke: until it is known why.
    Broken(Box<Broken>),
    /// It has been given up, and the reader is not told yet.
    Over(BodyFailure),
    Ended,
}

struct Broken {
    why: Pin<Box<dyn Future<Output = BodyFailure>>>,
    worker: Arc<Worker>,
    waker: Option<Waker>,
}

struct Open {
    source: Source,
    held: Held,
    /// Its time is limited, so that its reader may have to be woken.
    is_timed: bool,
    waker: Option<Waker>,
}

impl fmt::Debug for ProxiedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.0 {
            Inner::Whole(_) => "Whole",
            Inner::Partial(partial) => match &*partial.state.borrow() {
                State::Open(_) => "Open",
                State::Broken(_) => "Broken",
                State::Over(_) => "Over",
                State::Ended => "Ended",
            },
        };
        f.debug_tuple("ProxiedBody").field(&state).finish()
    }
}

impl ProxiedBody {
    pub(super) fn empty() -> Self {
        Self(Inner::Whole(Bytes::new()))
    }

    pub(super) fn new(mut source: Source, held: Held, deadline: Option<Instant>) -> Self {
        if let Some(whole) = source.whole() {
            source.end();
            return Self(Inner::Whole(whole));
        }
        let open = Box::new(Open {
            source,
            held,
            is_timed: deadline.is_some(),
            waker: None,
        });
        Self(Inner::Partial(Partial {
            state: Rc::new(RefCell::new(State::Open(open))),
            deadline,
            guard: None,
        }))
    }
}

impl Source {
    pub(super) fn alone(
        incoming: Incoming,
        leased: Leased,
        upload: Upload,
        until_closed: bool,
    ) -> Self {
        Self::Alone(Box::new(Alone {
            incoming,
            leased,
            upload,
            until_closed,
        }))
    }

    /// All of the body, if that is here already.
    fn whole(&mut self) -> Option<Bytes> {
        match self {
            Self::Alone(alone) => alone.incoming.is_end_stream().then(Bytes::new),
            Self::Sharing(carried) => carried.whole(),
        }
    }

    /// The response has ended as it should.
    fn end(self) {
        if let Self::Alone(alone) = self {
            let Alone { leased, upload, .. } = *alone;
            // Its connection would take another request only after the body that never comes.
            if upload.response_ended() {
                leased.give_back();
            }
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Option<BoxError>>>> {
        match self {
            Self::Alone(alone) => match ready!(Pin::new(&mut alone.incoming).poll_frame(cx)) {
                None if alone.until_closed => Poll::Ready(Some(Err(None))),
                frame => Poll::Ready(frame.map(|frame| frame.map_err(|it| Some(it.into())))),
            },
            Self::Sharing(carried) => {
                let frame = ready!(carried.poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(End::why)))
            }
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Alone(alone) => !alone.until_closed && alone.incoming.is_end_stream(),
            Self::Sharing(carried) => carried.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Alone(alone) => alone.incoming.size_hint(),
            Self::Sharing(carried) => carried.size_hint(),
        }
    }

    fn has_client_failed(&self) -> bool {
        match self {
            Self::Alone(alone) => alone.upload.has_failed(),
            Self::Sharing(_) => false,
        }
    }
}

impl Partial {
    /// From the first time that it is not ended at once: most are, and need no guard.
    fn guard(&mut self) {
        let Some(deadline) = self.deadline.take() else {
            return;
        };
        let state = Rc::downgrade(&self.state);
        let guard = async move {
            sleep_until(deadline).await;
            let Some(state) = state.upgrade() else { return };
            let (worker, waker) = match state.replace(State::Ended) {
                State::Open(open) => (Arc::clone(open.held.worker()), open.waker),
                State::Broken(broken) => (broken.worker, broken.waker),
                known @ (State::Over(_) | State::Ended) => return drop(state.replace(known)),
            };
            let error = BodyError::RequestTimeout;
            state.replace(State::Over(BodyFailure { error, worker }));
            if let Some(waker) = waker {
                waker.wake();
            }
        };
        self.guard = Some(AbortOnDropHandle::new(tokio::task::spawn_local(guard)));
    }
}

impl Open {
    /// Finds out why it broke. The worker holds the request until then, so that it is among those
    /// that are named when it has died.
    fn why(self, error: Option<BoxError>) -> Broken {
        let Self { held, source, .. } = self;
        let worker = Arc::clone(held.worker());
        let why = async move {
            let worker = Arc::clone(held.worker());
            let error = if source.has_client_failed() {
                BodyError::Client
            } else {
                match worker.fate().await {
                    Some(death) => BodyError::Died(death.clone()),
                    None => BodyError::Broken(error),
                }
            };
            BodyFailure { error, worker }
        };
        Broken {
            why: Box::pin(why),
            worker,
            waker: None,
        }
    }
}

impl State {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        if let Self::Open(open) = self {
            let error = match open.source.poll_frame(cx) {
                Poll::Pending => {
                    if open.is_timed {
                        open.waker = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(error))) => error,
                Poll::Ready(frame) => {
                    if (frame.is_none() || open.source.is_end())
                        && let Self::Open(open) = std::mem::replace(self, Self::Ended)
                    {
                        open.source.end();
                    }
                    return Poll::Ready(frame.and_then(Result::ok).map(Ok));
                }
            };
            if let Self::Open(open) = std::mem::replace(self, Self::Ended) {
                *self = Self::Broken(Box::new(open.why(error)));
            }
        }
        let error = match std::mem::replace(self, Self::Ended) {
            Self::Broken(mut broken) => match broken.why.as_mut().poll(cx) {
                Poll::Ready(error) => error,
                Poll::Pending => {
                    broken.waker = Some(cx.waker().clone());
                    *self = Self::Broken(broken);
                    return Poll::Pending;
                }
            },
            Self::Over(error) => error,
            Self::Open(_) | Self::Ended => return Poll::Ready(None),
        };
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for ProxiedBody {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        let partial = match &mut self.0 {
            Inner::Whole(data) if data.is_empty() => return Poll::Ready(None),
            Inner::Whole(data) => {
                let data = std::mem::take(data);
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            Inner::Partial(partial) => partial,
        };
        let polled = partial.state.borrow_mut().poll(cx);
        let is_under_way = |state: &State| matches!(state, State::Open(_) | State::Broken(_));
        if partial.deadline.is_some() && is_under_way(&partial.state.borrow()) {
            partial.guard();
        }
        Poll::Ready(ready!(polled))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(data) => data.is_empty(),
            Inner::Partial(partial) => match &*partial.state.borrow() {
                State::Open(open) => open.source.is_end(),
                State::Broken(_) | State::Over(_) => false,
                State::Ended => true,
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(data) => SizeHint::with_exact(data.len() as u64),
            Inner::Partial(partial) => match &*partial.state.borrow() {
                State::Open(open) => open.source.size_hint(),
                // What comes is an error, of no size.
                State::Broken(_) | State::Over(_) => SizeHint::new(),
                State::Ended => SizeHint::with_exact(0),
            },
        }
    }
}
