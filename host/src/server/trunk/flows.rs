//! The requests of a trunk that are being answered.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::Response;
use http_body::{Body as _, Frame};
use replug_plugin::BoxError;

use crate::{
    dispatch::{Answer, DispatchBody},
    trunk::{MOST_DATA, Outbox, ResponseHead, WINDOW},
};

/// What the tasks of its requests have of it.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) outbox: RefCell<Outbox>,
    /// Requests with a task of their own.
    flows: RefCell<HashMap<u32, Rc<Flow>>>,
    /// Of the task that reads and writes.
    pub(super) waker: AtomicWaker,
}

/// A request's task, as the trunk sees it.
pub(super) struct Flow {
    stream: u32,
    /// How much of the body may be sent, in bytes.
    credit: Cell<u32>,
    is_cancelled: Cell<bool>,
    waker: AtomicWaker,
}

/// An answer that has begun, and is not all sent.
struct Rest {
    body: DispatchBody,
    /// What was taken of the body already.
    next: Option<Result<Frame<Bytes>, BoxError>>,
    /// How much of it was sent with the head, in bytes.
    sent: u32,
}

impl Shared {
    /// Begins to answer a request.
    pub(super) fn begin(self: &Rc<Self>, stream: u32, mut answer: Answer, cx: &mut Context<'_>) {
        let shared = Rc::clone(self);
        match self.poll(stream, &mut answer, cx) {
            Poll::Pending => self.spawn(stream, |flow| flow.answer(shared, answer)),
            Poll::Ready(Some(rest)) => self.spawn(stream, |flow| flow.send(shared, rest)),
            Poll::Ready(None) => {}
        }
    }

    /// Whether no request has a task of its own.
    pub(super) fn is_idle(&self) -> bool {
        self.flows.borrow().is_empty()
    }

    /// Nobody waits for a request's answer any more.
    pub(super) fn cancel(&self, stream: u32) {
        self.tell(stream, Flow::cancel);
    }

    /// So many more bytes of its body may be sent.
    pub(super) fn credit(&self, stream: u32, bytes: u32) {
        self.tell(stream, |flow| {
            flow.credit.update(|credit| credit.saturating_add(bytes));
        });
    }

    pub(super) fn cancel_all(&self) {
        for flow in self.flows.borrow().values() {
            flow.cancel();
        }
    }

    /// Asks for the answer; once it is there, says its head, and returns the rest.
    fn poll(&self, stream: u32, answer: &mut Answer, cx: &mut Context<'_>) -> Poll<Option<Rest>> {
        let Ok(response) = ready!(Pin::new(answer).poll(cx));
        Poll::Ready(self.open(stream, response, cx))
    }

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
            waker: AtomicWaker::new(),
        });
        self.flows.borrow_mut().insert(stream, Rc::clone(&flow));
        let (shared, work) = (Rc::clone(self), work(Rc::clone(&flow)));
        tokio::task::spawn_local(async move {
            if !flow.unless_cancelled(work).await {
                let mut outbox = shared.outbox.borrow_mut();
                outbox.failed(flow.stream, "it was cancelled");
            }
            shared.flows.borrow_mut().remove(&flow.stream);
            shared.waker.wake();
        });
    }

    fn tell(&self, stream: u32, what: impl FnOnce(&Flow)) {
        // It may have ended, which the supervisor had not heard yet.
        if let Some(flow) = self.flows.borrow().get(&stream) {
            what(flow);
            flow.waker.wake();
        }
    }
}

impl Flow {
    fn cancel(&self) {
        self.is_cancelled.set(true);
        self.waker.wake();
    }

    /// `false`: it was cancelled, and the work is gone.
    async fn unless_cancelled(&self, work: impl Future<Output = ()>) -> bool {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if self.is_cancelled.get() {
                return Poll::Ready(false);
            }
            self.waker.register(cx.waker());
            work.as_mut().poll(cx).map(|()| true)
        })
        .await
    }

    async fn answer(self: Rc<Self>, shared: Rc<Shared>, mut answer: Answer) {
        if let Some(rest) = poll_fn(|cx| shared.poll(self.stream, &mut answer, cx)).await {
            shared.waker.wake();
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
            shared.waker.wake();
            if is_last {
                return true;
            }
        }
        false
    }
}
