//! A thread's trunks to a worker, and what requests get of them.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::{Future as _, poll_fn},
    io,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::task::AtomicWaker;
use http::request;
use slab::Slab;
use tokio::net::UnixStream;

mod stream;

use super::Forwarded;
use crate::{
    process::Watermark,
    trunk::{self, Answer, Inbox, Malformed, Outbox, TooLong},
    workers::Worker,
};
use stream::Stream;
pub(super) use stream::{Carried, End};

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
    waker: AtomicWaker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// It takes no new requests.
    Leaving,
    Ended,
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
                waker: AtomicWaker::new(),
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
        let stream = Stream::new(state.sent + 1);
        let entry = state.streams.vacant_entry();
        let number = u32::try_from(entry.key()).map_err(|_| TooLong)?;
        if state.stage == Stage::Ended {
            stream.end(End::Unbegun);
        } else {
            let (id, peer) = (forwarded.id, forwarded.peer);
            state.outbox.request(number, parts, id, peer)?;
            state.sent += 1;
            entry.insert(Some(Rc::clone(&stream)));
            state.waker.wake();
        }
        Ok(Carried::new(Rc::clone(self), stream, number))
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
        if !ready!(inbox.poll_read(cx, connection)) {
            return Poll::Ready(false);
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
        // The worker's last words may be on their way: the reader finds these, or the end.
        if state.outbox.write(cx, connection).is_err() {
            state.outbox.clear();
        }
        if state.stage == Stage::Leaving && state.streams.is_empty() {
            return Poll::Ready(());
        }
        state.waker.register(cx.waker());
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
        self.waker.wake();
    }
}
