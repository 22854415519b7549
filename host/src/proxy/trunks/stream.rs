//! A request on a trunk: what has come for it, and how it ends.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{HeaderMap, StatusCode, header};
use http_body::{Frame, SizeHint};
use replug_plugin::BoxError;

use super::{
    super::{Broken, ProxyError, connection::Lost},
    Trunk,
};
use crate::trunk::{Answer, ResponseHead, WINDOW};

/// A request that was sent, and what has come for it.
#[derive(Debug)]
pub(super) struct Stream {
    /// Which one of those that were sent, from 1 on.
    pub(super) turn: u64,
    state: RefCell<Received>,
}

#[derive(Debug, Default)]
struct Received {
    head: Option<ResponseHead>,
    data: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    end: Option<End>,
    waker: AtomicWaker,
}

/// How a stream has ended.
#[derive(Clone, Debug)]
pub(in crate::proxy) enum End {
    /// Its answer is whole.
    Whole,
    /// The worker did not begin it.
    Unbegun,
    /// The connection has, when it had begun.
    Cut,
    /// There is no more of it, as the worker says.
    Failed(String),
}

impl End {
    /// What there is to say of an answer that broke off.
    pub(in crate::proxy) fn why(self) -> Option<BoxError> {
        match self {
            Self::Failed(reason) => Some(reason.into()),
            Self::Whole | Self::Unbegun | Self::Cut => None,
        }
    }
}

impl Stream {
    pub(super) fn new(turn: u64) -> Rc<Self> {
        let state = RefCell::default();
        Rc::new(Self { turn, state })
    }

    pub(super) fn take(&self, answer: Answer) {
        let mut received = self.state.borrow_mut();
        let is_last = answer.is_last();
        match answer {
            Answer::Response(head, data) | Answer::WholeResponse(head, data) => {
                received.head = Some(head);
                received.add(data);
            }
            Answer::Data(data) | Answer::LastData(data) => received.add(data),
            Answer::Trailers(trailers) => received.trailers = Some(trailers),
            Answer::Failed(reason) => received.end = Some(End::Failed(reason)),
            Answer::Refused => received.end = Some(End::Unbegun),
            Answer::Leaving => {}
        }
        if is_last {
            received.end.get_or_insert(End::Whole);
        }
        received.waker.wake();
    }

    pub(super) fn end(&self, end: End) {
        let mut received = self.state.borrow_mut();
        received.end = Some(end);
        received.waker.wake();
    }
}

impl Received {
    fn add(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.data.push_back(data);
        }
    }
}

/// A request on a trunk, and then its answer's body. Dropping it cancels the request.
#[derive(Debug)]
pub(in crate::proxy) struct Carried {
    trunk: Rc<Trunk>,
    stream: Rc<Stream>,
    number: u32,
    /// How much of the body is still to come, if that is known, in bytes.
    left: Option<u64>,
    /// Its answer has no body by its status, whatever comes.
    is_bodiless: bool,
    /// How much was read that no credit was given for yet, in bytes.
    read: u32,
}

impl Carried {
    pub(super) fn new(trunk: Rc<Trunk>, stream: Rc<Stream>, number: u32) -> Self {
        Self {
            trunk,
            stream,
            number,
            left: None,
            is_bodiless: false,
            read: 0,
        }
    }

    /// The head of its answer.
    pub(in crate::proxy) async fn head(&mut self) -> Result<ResponseHead, Lost> {
        let head = poll_fn(|cx| {
            let mut received = self.stream.state.borrow_mut();
            if let Some(head) = received.head.take() {
                return Poll::Ready(Ok(head));
            }
            if let Some(end) = &received.end {
                return Poll::Ready(Err(end.clone()));
            }
            received.waker.register(cx.waker());
            Poll::Pending
        });
        let head = head.await.map_err(lost)?;
        self.left = length(&head);
        self.is_bodiless = matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        Ok(head)
    }

    /// All of its body, if that is there in one piece.
    pub(in crate::proxy) fn whole(&mut self) -> Option<Bytes> {
        if self.is_bodiless {
            return Some(Bytes::new());
        }
        let mut received = self.stream.state.borrow_mut();
        let is_whole = matches!(received.end, Some(End::Whole));
        let bytes = received.data.front().map_or(0, Bytes::len) as u64;
        let is_so_long = self.left.is_none_or(|left| left == bytes);
        (is_whole && is_so_long && received.data.len() <= 1 && received.trailers.is_none())
            .then(|| received.data.pop_front().unwrap_or_default())
    }

    /// The next of its body; an error is the end that it came to.
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, End>>> {
        let mut received = self.stream.state.borrow_mut();
        if let Some(data) = received.data.pop_front() {
            drop(received);
            self.took(data.len());
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if self.is_short() && matches!(received.end, Some(End::Whole)) {
            let reason = "its body is shorter than it said".to_owned();
            return Poll::Ready(Some(Err(End::Failed(reason))));
        }
        if let Some(trailers) = received.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        match &received.end {
            Some(End::Whole) => Poll::Ready(None),
            Some(end) => Poll::Ready(Some(Err(end.clone()))),
            None => {
                received.waker.register(cx.waker());
                Poll::Pending
            }
        }
    }

    fn took(&mut self, bytes: usize) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes as u64);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.read = self.read.saturating_add(bytes);
        if self.read >= WINDOW / 2 && self.stream.state.borrow().end.is_none() {
            let mut state = self.trunk.state.borrow_mut();
            state
                .outbox
                .credit(self.number, std::mem::take(&mut self.read));
            state.waker.wake();
        }
    }

    /// Whether all of the body was taken, and it ended as it should.
    pub(in crate::proxy) fn is_end(&self) -> bool {
        let received = self.stream.state.borrow();
        matches!(received.end, Some(End::Whole))
            && received.data.is_empty()
            && received.trailers.is_none()
            && !self.is_short()
    }

    /// Whether more of the body should come.
    fn is_short(&self) -> bool {
        self.left.is_some_and(|left| left > 0)
    }

    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if self.stream.state.borrow().end.is_some() {
            return;
        }
        let mut state = self.trunk.state.borrow_mut();
        if let Some(stream) = state.streams.get_mut(self.number as usize) {
            *stream = None;
            state.outbox.cancel(self.number);
            state.waker.wake();
        }
    }
}

/// How long a body is: as its field says, which the client goes by, if it has one. In a body that
/// is nothing, the field is not passed on.
fn length(head: &ResponseHead) -> Option<u64> {
    if head.length == Some(0) {
        return head.length;
    }
    let field = head.headers.get(header::CONTENT_LENGTH);
    let said = field.and_then(|value| value.to_str().ok()?.parse().ok());
    said.or(head.length)
}

/// A request that got no answer.
fn lost(end: End) -> Lost {
    let (error, is_unread) = match end {
        End::Unbegun => (Broken::Ended, true),
        End::Whole | End::Cut => (Broken::Ended, false),
        End::Failed(reason) => (Broken::Failed(reason), false),
    };
    Lost {
        error: ProxyError::Broken(error),
        is_unread,
        // What was not begun is known exactly: nothing else is sent again.
        is_silent: false,
        was_reused: true,
    }
}
