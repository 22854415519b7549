//! A trunk from a worker's supervisor: many requests at the same time on one connection.
//!
//! A request is begun as soon as it was read, in this connection's task; one that is not answered at
//! once, or not in one piece, goes on in a task of its own.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf as _, Bytes};
use http::Response;
use http_body::{Body as _, Frame};
use replug_plugin::BoxError;
use tokio::net::UnixStream;
use tokio_util::{io::poll_write_buf, sync::CancellationToken};

use super::orders::Orders;
use crate::{
    dispatch::{Answer, Connection, DispatchBody, Dispatcher},
    loader::Peer,
    process::Watermark,
    proxy::Forwarded,
    trunk::{self, Ask, Inbox, MOST_DATA, Malformed, Outbox, RequestHead, ResponseHead, WINDOW},
};

/// Serves a trunk to its end; when draining begins, to the end of what it has begun.
pub(super) async fn serve(
    connection: UnixStream,
    dispatcher: Arc<Dispatcher>,
    orders: Orders,
    cut: CancellationToken,
) {
    let watermark = match trunk::take_hail(&connection) {
        Ok(watermark) => watermark,
        Err(error) => return tracing::warn!("a trunk did not begin as one: {error}"),
    };
    let mut serving = Serving {
        connection,
        watermark,
        requests: dispatcher.connection(Peer::Unix),
        dispatcher,
        inbox: Inbox::default(),
        taken: 0,
        is_leaving: false,
        shared: Rc::default(),
    };
    let mut drain = pin!(orders.drain.cancelled());
    let end = poll_fn(|cx| {
        if !serving.is_leaving && drain.as_mut().poll(cx).is_ready() {
            serving.leave();
        }
        serving.poll(cx)
    });
    cut.run_until_cancelled(end).await;
    serving.shared.cancel_all();
}

/// A trunk that is served.
struct Serving {
    connection: UnixStream,
    watermark: Watermark,
    /// What requests know of it.
    requests: Connection,
    dispatcher: Arc<Dispatcher>,
    inbox: Inbox,
    /// How many requests were taken off it.
    taken: u64,
    is_leaving: bool,
    shared: Rc<Shared>,
}

/// What the tasks of its requests have of it.
#[derive(Default)]
struct Shared {
    outbox: RefCell<Outbox>,
    /// Requests with a task of their own.
    flows: RefCell<HashMap<u32, Rc<Flow>>>,
    /// Of the task that reads and writes.
    waker: RefCell<Option<Waker>>,
}

/// A request's task, as the trunk sees it.
struct Flow {
    stream: u32,
    /// How much of the body may be sent, in bytes.
    credit: Cell<u32>,
    is_cancelled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// An answer that has begun, and is not all sent.
struct Rest {
    body: DispatchBody,
    /// What was taken of the body already.
    next: Option<Result<Frame<Bytes>, BoxError>>,
    /// How much of it was sent with the head, in bytes.
    sent: u32,
}

impl Serving {
    fn leave(&mut self) {
        self.is_leaving = true;
        self.shared.outbox.borrow_mut().leaving();
    }

    /// Ready when it has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // What is answered is not held up by what goes on coming.
        while let Poll::Ready(has_more) = self.poll_read(cx) {
            if !has_more || !self.write(cx) {
                return Poll::Ready(());
            }
        }
        if !self.write(cx) {
            return Poll::Ready(());
        }
        let is_all_said = !self.shared.outbox.borrow().has_remaining();
        if self.is_leaving && is_all_said && self.shared.flows.borrow().is_empty() {
            return Poll::Ready(());
        }
        let mut waker = self.shared.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|it| it.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Reads once. `false`: the supervisor has ended it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match ready!(self.inbox.poll_read(cx, Pin::new(&mut self.connection))) {
            Ok(0) | Err(_) => return Poll::Ready(false),
            Ok(_) => {}
        }
        let taken = self.take(cx);
        if let Err(error) = &taken {
            tracing::error!(
                event = "trunk-malformed",
                "what the supervisor says means nothing; its connection is closed: {error}",
            );
        }
        Poll::Ready(taken.is_ok())
    }

    /// Writes what can be written now. `false`: nobody reads it.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut outbox = self.shared.outbox.borrow_mut();
        while outbox.has_remaining() {
            match poll_write_buf(Pin::new(&mut self.connection), cx, &mut *outbox) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return false,
                Poll::Pending => break,
            }
        }
        true
    }

    /// Takes all that was read.
    fn take(&mut self, cx: &mut Context<'_>) -> Result<(), Malformed> {
        while let Some(raw) = self.inbox.take()? {
            let begins = raw.begins();
            let (stream, ask) = match (Ask::read(raw), begins) {
                (Err(error), Some(stream)) => {
                    self.refuse(stream, &error);
                    continue;
                }
                (ask, _) => ask?,
            };
            match ask {
                Ask::Request(_) if self.is_leaving => {
                    self.taken += 1;
                    self.shared.outbox.borrow_mut().refused(stream);
                }
                Ask::Request(head) => {
                    self.taken += 1;
                    // Before any code sees it.
                    self.watermark.set(self.taken);
                    self.begin(stream, head, cx);
                }
                Ask::Cancel => self.shared.tell(stream, |flow| flow.is_cancelled.set(true)),
                Ask::Credit(bytes) => self.shared.tell(stream, |flow| {
                    flow.credit.set(flow.credit.get().saturating_add(bytes));
                }),
            }
        }
        Ok(())
    }

    /// A request that cannot be read is its own failure, and not that of those beside it.
    fn refuse(&mut self, stream: u32, error: &Malformed) {
        self.taken += 1;
        if !self.is_leaving {
            self.watermark.set(self.taken);
        }
        let mut outbox = self.shared.outbox.borrow_mut();
        outbox.failed(stream, &error.to_string());
    }

    fn begin(&self, stream: u32, head: RequestHead, cx: &mut Context<'_>) {
        let RequestHead { request, id, peer } = head;
        let forwarded = Forwarded { id, peer };
        let mut answer = self
            .dispatcher
            .handle_forwarded(request, forwarded, &self.requests);
        let shared = &self.shared;
        let Poll::Ready(response) = Pin::new(&mut answer).poll(cx) else {
            return shared.spawn(stream, |flow| flow.answer(Rc::clone(shared), answer));
        };
        let Ok(response) = response;
        if let Some(rest) = shared.open(stream, response, cx) {
            shared.spawn(stream, |flow| flow.send(Rc::clone(shared), rest));
        }
    }
}

impl Shared {
    /// Says an answer's head, and what is there of its body. Returns the rest, if there is any.
    fn open(
        &self,
        stream: u32,
        response: Response<DispatchBody>,
        cx: &mut Context<'_>,
    ) -> Option<Rest> {
        let (parts, mut body) = response.into_parts();
        let length = body.size_hint().exact();
        let mut is_whole = body.is_end_stream();
        let mut data = Bytes::new();
        let mut next = None;
        if !is_whole && let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(cx) {
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => is_whole = true,
                Some(Ok(Ok(all))) if all.len() <= MOST_DATA => {
                    is_whole = body.is_end_stream();
                    data = all;
                }
                Some(Ok(Ok(long))) => next = Some(Ok(Frame::data(long))),
                Some(Ok(Err(other))) => next = Some(Ok(other)),
                Some(Err(error)) => next = Some(Err(error)),
            }
        }
        let head = ResponseHead {
            status: parts.status,
            headers: parts.headers,
            length,
        };
        let sent = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let mut outbox = self.outbox.borrow_mut();
        match outbox.response(stream, &head, data, is_whole) {
            Ok(()) => (!is_whole).then_some(Rest { body, next, sent }),
            Err(error) => {
                outbox.failed(stream, &error.to_string());
                None
            }
        }
    }

    fn spawn<F: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        stream: u32,
        work: impl FnOnce(Rc<Flow>) -> F,
    ) {
        let flow = Rc::new(Flow {
            stream,
            credit: Cell::new(WINDOW),
            is_cancelled: Cell::new(false),
            waker: RefCell::default(),
        });
        self.flows.borrow_mut().insert(stream, Rc::clone(&flow));
        let (shared, work) = (Rc::clone(self), work(Rc::clone(&flow)));
        tokio::task::spawn_local(async move {
            if !flow.unless_cancelled(work).await {
                let mut outbox = shared.outbox.borrow_mut();
                outbox.failed(flow.stream, "it was cancelled");
            }
            shared.flows.borrow_mut().remove(&flow.stream);
            shared.wake();
        });
    }

    fn tell(&self, stream: u32, what: impl FnOnce(&Flow)) {
        // It may have ended, which the supervisor had not heard yet.
        if let Some(flow) = self.flows.borrow().get(&stream) {
            what(flow);
            flow.wake();
        }
    }

    fn cancel_all(&self) {
        for flow in self.flows.borrow().values() {
            flow.is_cancelled.set(true);
            flow.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Flow {
    /// `false`: it was cancelled, and the work is gone.
    async fn unless_cancelled(&self, work: impl Future<Output = ()>) -> bool {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if self.is_cancelled.get() {
                return Poll::Ready(false);
            }
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|it| it.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            drop(waker);
            work.as_mut().poll(cx).map(|()| true)
        })
        .await
    }

    async fn answer(self: Rc<Self>, shared: Rc<Shared>, answer: Answer) {
        let Ok(response) = answer.await;
        let mut response = Some(response);
        let rest = poll_fn(|cx| {
            let rest = response
                .take()
                .and_then(|response| shared.open(self.stream, response, cx));
            Poll::Ready(rest)
        });
        if let Some(rest) = rest.await {
            shared.wake();
            self.send(shared, rest).await;
        }
    }

    async fn send(self: Rc<Self>, shared: Rc<Shared>, rest: Rest) {
        let Rest {
            mut body,
            mut next,
            sent,
        } = rest;
        self.credit.set(self.credit.get().saturating_sub(sent));
        loop {
            let frame = match next.take() {
                Some(frame) => Some(frame),
                None => poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await,
            };
            let frame = match frame.transpose() {
                Ok(Some(frame)) => frame.into_data(),
                Ok(None) => {
                    let mut outbox = shared.outbox.borrow_mut();
                    return outbox.data(self.stream, Bytes::new(), true);
                }
                Err(error) => {
                    let mut outbox = shared.outbox.borrow_mut();
                    return outbox.failed(self.stream, &error.to_string());
                }
            };
            match frame {
                Ok(data) => {
                    if self.send_data(&shared, &mut body, data).await {
                        return;
                    }
                }
                Err(other) => {
                    let mut outbox = shared.outbox.borrow_mut();
                    let trailers = other.into_trailers().unwrap_or_default();
                    if let Err(error) = outbox.trailers(self.stream, &trailers) {
                        outbox.failed(self.stream, &error.to_string());
                    }
                    return;
                }
            }
        }
    }

    /// Sends data as far as it is credited for. `true`: it was the last, or the body is cut.
    async fn send_data(&self, shared: &Shared, body: &mut DispatchBody, mut data: Bytes) -> bool {
        while !data.is_empty() {
            let has_credit = poll_fn(|cx| {
                if self.credit.get() > 0 {
                    return Poll::Ready(true);
                }
                // Its reader may never read on.
                body.poll_cut(cx).map(|()| false)
            });
            if !has_credit.await {
                let mut outbox = shared.outbox.borrow_mut();
                outbox.failed(self.stream, "the drain deadline passed");
                return true;
            }
            let credit = self.credit.get();
            let length = data.len().min(MOST_DATA).min(credit as usize);
            self.credit
                .set(credit.saturating_sub(u32::try_from(length).unwrap_or(u32::MAX)));
            let piece = data.split_to(length);
            let is_last = data.is_empty() && body.is_end_stream();
            shared.outbox.borrow_mut().data(self.stream, piece, is_last);
            shared.wake();
            if is_last {
                return true;
            }
        }
        false
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
