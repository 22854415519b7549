//! A trunk from a worker's supervisor: many requests at the same time on one connection.
//!
//! A request is begun as soon as it was read, in this connection's task; one that is not answered at
//! once, or not in one piece, goes on in a task of its own.

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Buf as _;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

mod flows;

use super::orders::Orders;
use crate::{
    dispatch::{Connection, Dispatcher},
    loader::Peer,
    process::Watermark,
    proxy::Forwarded,
    trunk::{self, Ask, Inbox, Malformed, RequestHead},
};
use flows::Shared;

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
        if self.is_leaving && is_all_said && self.shared.is_idle() {
            return Poll::Ready(());
        }
        self.shared.waker.register(cx.waker());
        Poll::Pending
    }

    /// Reads once. `false`: the supervisor has ended it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if !ready!(self.inbox.poll_read(cx, &mut self.connection)) {
            return Poll::Ready(false);
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
        outbox.write(cx, &mut self.connection).is_ok()
    }

    /// Takes all that was read.
    fn take(&mut self, cx: &mut Context<'_>) -> Result<(), Malformed> {
        while let Some(raw) = self.inbox.take()? {
            let (stream, ask) = Ask::read(raw)?;
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
                Ask::Unreadable(error) => {
                    self.taken += 1;
                    if !self.is_leaving {
                        self.watermark.set(self.taken);
                    }
                    let mut outbox = self.shared.outbox.borrow_mut();
                    outbox.failed(stream, &error.to_string());
                }
                Ask::Cancel => self.shared.cancel(stream),
                Ask::Credit(bytes) => self.shared.credit(stream, bytes),
            }
        }
        Ok(())
    }

    fn begin(&self, stream: u32, head: RequestHead, cx: &mut Context<'_>) {
        let RequestHead { request, id, peer } = head;
        let forwarded = Forwarded { id, peer };
        let answer = self
            .dispatcher
            .handle_forwarded(request, forwarded, &self.requests);
        self.shared.begin(stream, answer, cx);
    }
}
