//! A thread's trunks to a worker, and what requests get of them.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::{Future as _, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, StatusCode, header, request};
use http_body::{Frame, SizeHint};
use replug_plugin::BoxError;
use slab::Slab;
use tokio::net::UnixStream;
use tokio_util::io::poll_write_buf;

use super::{Broken, Forwarded, ProxyError, connection::Lost};
use crate::{
    process::Watermark,
    trunk::{self, Answer, Inbox, Malformed, Outbox, ResponseHead, TooLong, WINDOW},
    workers::Worker,
};

/// Those of one thread to one worker: at most as many as the worker has threads that serve them.
#[derive(Debug, Default)]
pub(super) struct Trunks {
    is_closed: Cell<bool>,
    /// How many are being made.
    coming: Cell<usize>,
    all: RefCell<Vec<Rc<Trunk>>>,
}

/// One of them.
pub(super) struct Trunk {
    worker: Arc<Worker>,
    watermark: Watermark,
    state: RefCell<State>,
}

struct State {
    stage: Stage,
    outbox: Outbox,
    /// `None`: nobody waits for it any more, but its last frame has not come.
    streams: Slab<Option<Rc<Stream>>>,
    /// How many requests were sent.
    sent: u64,
    /// Of the task that reads and writes.
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// It takes no new requests.
    Leaving,
    Ended,
}

/// A request that was sent, and what has come for it.
#[derive(Debug)]
struct Stream {
    /// Which one of those that were sent, from 1 on.
    turn: u64,
    state: RefCell<Received>,
}

#[derive(Debug, Default)]
struct Received {
    head: Option<ResponseHead>,
    data: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    end: Option<End>,
    waker: Option<Waker>,
}

/// How a stream has ended.
#[derive(Clone, Debug)]
pub(super) enum End {
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
    pub(super) fn why(self) -> Option<BoxError> {
        match self {
            Self::Failed(reason) => Some(reason.into()),
            Self::Whole | Self::Unbegun | Self::Cut => None,
        }
    }
}

impl fmt::Debug for Trunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.borrow();
        f.debug_struct("Trunk")
            .field("stage", &state.stage)
            .field("streams", &state.streams.len())
            .field("sent", &state.sent)
            .finish_non_exhaustive()
    }
}

impl Trunks {
    /// The one with the fewest requests; a new one, if all have some and there may be more. `None`:
    /// there is none to be had now.
    pub(super) async fn pick(&self, worker: &Arc<Worker>) -> Option<Rc<Trunk>> {
        if self.is_closed.get() {
            return None;
        }
        let (best, number) = self.best();
        if let Some((0, best)) = best {
            return Some(best);
        }
        if number + self.coming.get() < worker.trunks
            && let Some(trunk) = self.open(worker).await
        {
            return Some(trunk);
        }
        best.map(|(_, best)| best)
    }

    async fn open(&self, worker: &Arc<Worker>) -> Option<Rc<Trunk>> {
        /// Counts it, also when whoever waits for it has gone.
        struct Coming<'a>(&'a Cell<usize>);

        impl Drop for Coming<'_> {
            fn drop(&mut self) {
                self.0.update(|number| number - 1);
            }
        }

        self.coming.update(|number| number + 1);
        let _coming = Coming(&self.coming);
        // Where the backlog is full, a connection of its own waits for room.
        let trunk = Trunk::open(worker).await.ok()?;
        if self.is_closed.get() {
            // Nobody else knows of it.
            trunk.state.borrow_mut().leave();
            return None;
        }
        self.all.borrow_mut().push(Rc::clone(&trunk));
        Some(trunk)
    }

    /// The one with the fewest requests, and how many that is; and how many trunks there are.
    fn best(&self) -> (Option<(usize, Rc<Trunk>)>, usize) {
        let mut all = self.all.borrow_mut();
        all.retain(|trunk| trunk.state.borrow().stage == Stage::Open);
        let busy = all.iter().map(|it| (it.state.borrow().streams.len(), it));
        let best = busy.min_by_key(|(busy, _)| *busy);
        (best.map(|(busy, it)| (busy, Rc::clone(it))), all.len())
    }

    /// Ends each when its last request has ended.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        for trunk in self.all.take() {
            trunk.state.borrow_mut().leave();
        }
    }
}

impl Trunk {
    async fn open(worker: &Arc<Worker>) -> io::Result<Rc<Self>> {
        let connection = UnixStream::connect(&worker.socket).await?;
        let trunk = Rc::new(Self {
            worker: Arc::clone(worker),
            watermark: trunk::hail(&connection)?,
            state: RefCell::new(State {
                stage: Stage::Open,
                outbox: Outbox::default(),
                streams: Slab::new(),
                sent: 0,
                waker: None,
            }),
        });
        tokio::task::spawn_local(Rc::clone(&trunk).serve(connection));
        Ok(trunk)
    }

    /// Sends a request without a body.
    ///
    /// # Errors
    /// When its head is too long for it.
    pub(super) fn send(
        self: &Rc<Self>,
        parts: &request::Parts,
        forwarded: &Forwarded,
    ) -> Result<Carried, TooLong> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let stream = Rc::new(Stream {
            turn: state.sent + 1,
            state: RefCell::default(),
        });
        let entry = state.streams.vacant_entry();
        let number = u32::try_from(entry.key()).map_err(|_| TooLong)?;
        if state.stage == Stage::Ended {
            stream.end(End::Unbegun);
        } else {
            let (id, peer) = (forwarded.id, forwarded.peer);
            state.outbox.request(number, parts, id, peer)?;
            state.sent += 1;
            entry.insert(Some(Rc::clone(&stream)));
            state.wake();
        }
        Ok(Carried {
            trunk: Rc::clone(self),
            stream,
            number,
            left: None,
            is_bodiless: false,
            read: 0,
        })
    }

    /// Reads and writes until it ends.
    async fn serve(self: Rc<Self>, mut connection: UnixStream) {
        let mut inbox = Inbox::default();
        let mut gone = pin!(self.worker.gone().cancelled());
        let mut is_watched = false;
        poll_fn(|cx| {
            while let Poll::Ready(has_more) = self.poll_read(cx, &mut inbox, &mut connection) {
                if !has_more {
                    return Poll::Ready(());
                }
            }
            // Once: the list of those who wait is behind a lock.
            if !std::mem::replace(&mut is_watched, true) {
                let _ = gone.as_mut().poll(cx);
            }
            // Also if the system does not end the connection: a child of the worker's may have it.
            if self.worker.is_dead() {
                return Poll::Ready(());
            }
            self.poll_write(cx, &mut connection)
        })
        .await;
        // The worker says that it begins a request before it does, and does nothing more by now.
        self.end(self.watermark.get());
    }

    /// Reads once. `false`: it has ended.
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        inbox: &mut Inbox,
        connection: &mut UnixStream,
    ) -> Poll<bool> {
        match ready!(inbox.poll_read(cx, Pin::new(connection))) {
            Ok(0) | Err(_) => return Poll::Ready(false),
            Ok(_) => {}
        }
        let taken = self.state.borrow_mut().take(inbox);
        if let Err(error) = &taken {
            tracing::error!(
                event = "trunk-malformed",
                worker = self.worker.number,
                pid = self.worker.pid,
                "what a worker says means nothing; its connection is closed: {error}",
            );
            // It lives: what it has not begun yet it may have read, and begin at any time.
            self.end(u64::MAX);
        }
        Poll::Ready(taken.is_ok())
    }

    /// Ready when nothing is left to be done.
    fn poll_write(&self, cx: &mut Context<'_>, connection: &mut UnixStream) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        while state.outbox.has_remaining() {
            match poll_write_buf(Pin::new(&mut *connection), cx, &mut state.outbox) {
                Poll::Ready(Ok(_)) => {}
                // The worker's last words may be on their way: the reader finds these, or the end.
                Poll::Ready(Err(_)) => state.outbox.clear(),
                Poll::Pending => break,
            }
        }
        if state.stage == Stage::Leaving && state.streams.is_empty() {
            return Poll::Ready(());
        }
        let waker = state.waker.as_ref();
        if !waker.is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// So many of its requests may have been begun.
    fn end(&self, begun: u64) {
        let mut state = self.state.borrow_mut();
        state.stage = Stage::Ended;
        state.outbox.clear();
        for stream in state.streams.drain().flatten() {
            let is_begun = stream.turn <= begun;
            stream.end(if is_begun { End::Cut } else { End::Unbegun });
        }
    }
}

impl State {
    /// Takes all that was read.
    fn take(&mut self, inbox: &mut Inbox) -> Result<(), Malformed> {
        while let Some(raw) = inbox.take()? {
            let (number, answer) = Answer::read(raw)?;
            self.deliver(number, answer)?;
        }
        Ok(())
    }

    fn deliver(&mut self, number: u32, answer: Answer) -> Result<(), Malformed> {
        if matches!(answer, Answer::Leaving) {
            self.leave();
            return Ok(());
        }
        let unknown = Malformed::Stream(number);
        let number = number as usize;
        let Some(place) = self.streams.get_mut(number) else {
            return Err(unknown);
        };
        let stream = match answer.is_last() {
            true => self.streams.remove(number),
            false => place.clone(),
        };
        if let Some(stream) = stream {
            stream.take(answer);
        }
        Ok(())
    }

    fn leave(&mut self) {
        if self.stage == Stage::Open {
            self.stage = Stage::Leaving;
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl Stream {
    fn take(&self, answer: Answer) {
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
        if let Some(waker) = received.waker.take() {
            waker.wake();
        }
    }

    fn end(&self, end: End) {
        let mut received = self.state.borrow_mut();
        received.end = Some(end);
        if let Some(waker) = received.waker.take() {
            waker.wake();
        }
    }
}

impl Received {
    fn add(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.data.push_back(data);
        }
    }

    fn wait(&mut self, cx: &Context<'_>) {
        let waker = self.waker.as_ref();
        if !waker.is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }
}

/// A request on a trunk, and then its answer's body. Dropping it cancels the request.
#[derive(Debug)]
pub(super) struct Carried {
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
    /// The head of its answer.
    pub(super) async fn head(&mut self) -> Result<ResponseHead, Lost> {
        let head = poll_fn(|cx| {
            let mut received = self.stream.state.borrow_mut();
            if let Some(head) = received.head.take() {
                return Poll::Ready(Ok(head));
            }
            if let Some(end) = &received.end {
                return Poll::Ready(Err(end.clone()));
            }
            received.wait(cx);
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
    pub(super) fn whole(&mut self) -> Option<Bytes> {
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
    pub(super) fn poll_frame(
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
                received.wait(cx);
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
            state.wake();
        }
    }

    /// Whether all of the body was taken, and it ended as it should.
    pub(super) fn is_end(&self) -> bool {
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

    pub(super) fn size_hint(&self) -> SizeHint {
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
            state.wake();
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
