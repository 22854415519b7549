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
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::{pool::Leased, upload::Upload};
use crate::workers::{Death, Held, Worker};

/// A worker's response body. The worker holds the request until it has ended, or is dropped, or the
/// request's time is over; then what was not read is given up.
///
/// Whatever breaks is an error, never an end.
pub struct ProxiedBody {
    state: Rc<RefCell<State>>,
    deadline: Option<Instant>,
    /// Ends it in time even when the client does not read, and nobody asks for more.
    guard: Option<AbortOnDropHandle<()>>,
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
    Broken(#[source] Option<hyper::Error>),
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
    incoming: Incoming,
    held: Held,
    leased: Leased,
    upload: Upload,
    /// Its end is the connection's, and would look the same if the worker had died.
    until_closed: bool,
    /// Its time is limited, so that its reader may have to be woken.
    is_timed: bool,
    waker: Option<Waker>,
}

impl fmt::Debug for ProxiedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.state.borrow() {
            State::Open(_) => "Open",
            State::Broken(_) => "Broken",
            State::Over(_) => "Over",
            State::Ended => "Ended",
        };
        f.debug_tuple("ProxiedBody").field(&state).finish()
    }
}

impl ProxiedBody {
    pub(super) fn empty() -> Self {
        Self {
            state: Rc::new(RefCell::new(State::Ended)),
            deadline: None,
            guard: None,
        }
    }

    pub(super) fn new(
        incoming: Incoming,
        held: Held,
        leased: Leased,
        upload: Upload,
        deadline: Option<Instant>,
        until_closed: bool,
    ) -> Self {
        let open = Box::new(Open {
            incoming,
            held,
            leased,
            upload,
            until_closed,
            is_timed: deadline.is_some(),
            waker: None,
        });
        let mut body = Self::empty();
        if open.incoming.is_end_stream() {
            open.end();
        } else {
            body.state = Rc::new(RefCell::new(State::Open(open)));
            body.deadline = deadline;
        }
        body
    }

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
    /// The response has ended as it should.
    fn end(self) {
        // Its connection would take another request only after the body that never comes.
        if self.upload.response_ended() {
            self.leased.give_back();
        }
    }

    /// Finds out why it broke. The worker holds the request until then, so that it is among those
    /// that are named when it has died.
    fn why(self, error: Option<hyper::Error>) -> Broken {
        let Self { held, upload, .. } = self;
        let worker = Arc::clone(held.worker());
        let why = async move {
            let worker = Arc::clone(held.worker());
            let error = if upload.has_failed() {
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
            let error = match Pin::new(&mut open.incoming).poll_frame(cx) {
                Poll::Pending => {
                    if open.is_timed {
                        open.waker = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(frame))) => {
                    if open.incoming.is_end_stream()
                        && !open.until_closed
                        && let Self::Open(open) = std::mem::replace(self, Self::Ended)
                    {
                        open.end();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(Some(Err(error))) => Some(error),
                Poll::Ready(None) if open.until_closed => None,
                Poll::Ready(None) => {
                    if let Self::Open(open) = std::mem::replace(self, Self::Ended) {
                        open.end();
                    }
                    return Poll::Ready(None);
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
        let polled = self.state.borrow_mut().poll(cx);
        let is_under_way = |state: &State| matches!(state, State::Open(_) | State::Broken(_));
        if self.deadline.is_some() && is_under_way(&self.state.borrow()) {
            self.guard();
        }
        Poll::Ready(ready!(polled))
    }

    fn is_end_stream(&self) -> bool {
        match &*self.state.borrow() {
            State::Open(open) => !open.until_closed && open.incoming.is_end_stream(),
            State::Broken(_) | State::Over(_) => false,
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.state.borrow() {
            State::Open(open) => open.incoming.size_hint(),
            // What comes is an error, of no size.
            State::Broken(_) | State::Over(_) => SizeHint::new(),
            State::Ended => SizeHint::with_exact(0),
        }
    }
}
