//! Response bodies on their way out, each with what keeps its maker alive.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use replug_plugin::{BoxError, glue::body::BodyError};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::connection::Held;
use crate::{generation::Lease, loader::ResponseBody};

/// The body of a response of the host's.
#[derive(Debug)]
pub struct DispatchBody(Inner);

#[derive(Debug)]
enum Inner {
    /// The host's own page.
    Own(axum::body::Body),
    /// An app's, straight from its code.
    Plugin(Leased<ResponseBody<Held>>),
    /// An app's, through an upgrade request's tunnel that was not upgraded.
    Tunnel(Leased<Incoming>),
}

/// A body and the lease it came with; the lease is dropped last.
struct Leased<B> {
    body: B,
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    lease: Lease,
    request: u64,
}

impl<B> fmt::Debug for Leased<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leased")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl<B> Leased<B> {
    /// Whether the drain deadline has passed; wakes when it does. Asked only when the body itself
    /// is not ready, so that most responses never register anywhere.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let cut = self
            .cut
            .get_or_insert_with(|| Box::pin(self.lease.cut().token().clone().cancelled_owned()));
        cut.as_mut().poll(cx)
    }
}

impl DispatchBody {
    /// A page of the host's own.
    #[must_use]
    pub fn own(body: axum::body::Body) -> Self {
        Self(Inner::Own(body))
    }

    fn is_cut(&self) -> bool {
        match &self.0 {
            Inner::Own(_) => false,
            Inner::Plugin(leased) => leased.lease.cut().is_done(),
            Inner::Tunnel(leased) => leased.lease.cut().is_done(),
        }
    }

    pub(super) fn plugin(body: ResponseBody<Held>, lease: Lease, request: u64) -> Self {
        Self(Inner::Plugin(Leased {
            body,
            cut: None,
            lease,
            request,
        }))
    }

    pub(super) fn tunnel(body: Incoming, lease: Lease, request: u64) -> Self {
        Self(Inner::Tunnel(Leased {
            body,
            cut: None,
            lease,
            request,
        }))
    }
}

/// An app's body that failed; the connection is cut, so that the client sees that it is not whole.
fn log_failure(lease: &Lease, request: u64, error: &BodyError) {
    let (app, generation) = (lease.app.as_str(), lease.id.get());
    match error {
        BodyError::Panicked(caught) => {
            tracing::error!(
                event = "handler-panicked",
                app,
                generation,
                request,
                location = caught.location,
                "panicked in a response's body: {}",
                caught.message,
            );
            super::log_stack(lease, request, caught);
        }
        BodyError::Failed(reason) => tracing::warn!(
            event = "body-failed",
            app,
            generation,
            request,
            "a response's body failed: {reason}",
        ),
    }
}

impl Body for DispatchBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // A body that is always ready, and a reader that never is, are cut here.
        if self.is_cut() {
            return Poll::Ready(Some(Err(cut_error())));
        }
        let polled = match &mut self.0 {
            Inner::Own(body) => return Pin::new(body).poll_frame(cx).map_err(Into::into),
            Inner::Plugin(leased) => match leased.body.poll_frame(cx) {
                Poll::Ready(Some(Err(error))) => {
                    log_failure(&leased.lease, leased.request, &error);
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
                Poll::Pending => leased.poll_cut(cx).map(|()| Some(Err(cut_error()))),
            },
            Inner::Tunnel(leased) => match Pin::new(&mut leased.body).poll_frame(cx) {
                Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
                Poll::Pending => leased.poll_cut(cx).map(|()| Some(Err(cut_error()))),
            },
        };
        // The lease goes with the last frame, and not only when hyper lets go of the body.
        if let Poll::Ready(None) = polled {
            self.0 = Inner::Own(axum::body::Body::empty());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Own(body) => body.is_end_stream(),
            Inner::Plugin(leased) => leased.body.is_end(),
            Inner::Tunnel(leased) => leased.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Own(body) => body.size_hint(),
            Inner::Plugin(leased) => leased.body.size_hint(),
            Inner::Tunnel(leased) => leased.body.size_hint(),
        }
    }
}

fn cut_error() -> BoxError {
    "the drain deadline passed".into()
}

pin_project! {
    /// A future that ends early, with `None`, when its generation is cut.
    pub(super) struct Cut<'a, F> {
        #[pin]
        future: F,
        lease: &'a Lease,
        cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    }
}

impl<'a, F> Cut<'a, F> {
    pub(super) fn new(lease: &'a Lease, future: F) -> Self {
        Self {
            future,
            lease,
            cut: None,
        }
    }
}

impl<F: Future> Future for Cut<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        let lease = *this.lease;
        let cut = this
            .cut
            .get_or_insert_with(|| Box::pin(lease.cut().token().clone().cancelled_owned()));
        pin!(cut).as_mut().poll(cx).map(|()| None)
    }
}
