//! Response bodies on their way out, each with what keeps its maker alive.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use replug_plugin::{BoxError, glue::body::BodyError};

use super::{
    Begun, Mark,
    connection::Held,
    cut::CutWatch,
    limit::{Time, TimedBody},
};
use crate::{
    generation::{Generation, Lease},
    loader::ResponseBody,
    proxy::{self, ProxiedBody},
};

/// The body of a response of the host's.
#[derive(Debug)]
pub struct DispatchBody(Inner);

#[derive(Debug)]
enum Inner {
    /// The host's own page.
    Own(axum::body::Body),
    App(AppBody),
    /// The same, and its time is limited.
    Timed(TimedBody),
}

#[derive(Debug)]
pub(super) struct AppBody {
    source: Source,
    cut: CutWatch,
    mark: Mark,
    time: Time,
    /// It has failed, and the connection is not told yet: see [`AppBody::poll`].
    failed: Option<BoxError>,
}

/// An app's body with the lease that it came with, which is dropped last.
#[derive(Debug)]
enum Source {
    /// Straight from its code.
    Plugin(ResponseBody<Generation, Held>),
    /// A worker's.
    Worker(ProxiedBody, (Lease, Held)),
    /// Through an upgrade request's tunnel that was not upgraded.
    Tunnel(Incoming, Begun),
}

impl Source {
    fn generation(&self) -> &Generation {
        match self {
            Self::Plugin(body) => &body.keep().0,
            Self::Worker(_, (lease, _)) => lease,
            Self::Tunnel(_, begun) => &begun.lease,
        }
    }
}

impl Inner {
    fn ended() -> Self {
        Self::Own(axum::body::Body::empty())
    }
}

impl DispatchBody {
    /// A page of the host's own.
    #[must_use]
    pub fn own(body: axum::body::Body) -> Self {
        Self(Inner::Own(body))
    }

    fn of(source: Source, mark: Mark) -> Self {
        Self(Inner::App(AppBody {
            source,
            cut: CutWatch::default(),
            mark,
            time: Time::default(),
            failed: None,
        }))
    }

    pub(super) fn plugin(body: ResponseBody<Generation, Held>, mark: Mark) -> Self {
        Self::of(Source::Plugin(body), mark)
    }

    pub(super) fn proxied(body: ProxiedBody, of: (Lease, Held), mark: Mark) -> Self {
        Self::of(Source::Worker(body, of), mark)
    }

    pub(super) fn tunnel(body: Incoming, begun: Begun) -> Self {
        let mark = begun.mark;
        Self::of(Source::Tunnel(body, begun), mark)
    }

    /// The same, which is cut when its time is over.
    pub(super) fn within(mut self, time: Time) -> Self {
        if let Inner::App(body) = &mut self.0 {
            body.time = time;
        }
        self
    }

    /// Ready when its generation is cut, for who waits for something else than its next frame.
    pub fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Inner::App(body) = &mut self.0 else {
            return Poll::Pending;
        };
        body.cut.poll(body.source.generation(), cx)
    }

    /// From the first time that it is not ended at once: most are, and need no guard.
    fn guard(&mut self, cx: &Context<'_>) {
        if let Inner::App(body) = &mut self.0
            && let Some(due) = body.time.due()
            && !body.is_end_stream()
            && let Inner::App(body) = std::mem::replace(&mut self.0, Inner::ended())
        {
            self.0 = Inner::Timed(TimedBody::new(body, due, cx.waker()));
        }
    }
}

/// An app's body that failed; the connection is cut, so that the client sees that it is not whole.
fn log_failure(of: &Generation, mark: Mark, error: &BodyError) {
    let request = mark.id;
    let (app, generation) = (of.app.as_str(), of.id.get());
    match error {
        BodyError::Panicked(caught) => {
            mark.tally(of).panic();
            tracing::error!(
                event = "handler-panicked",
                app,
                generation,
                request,
                location = caught.location,
                "panicked in a response's body: {}",
                caught.message,
            );
            super::failure::log_stack(of, request, caught);
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

/// A worker's body that broke; the connection is cut, too.
fn log_broken(of: &Generation, mark: Mark, failure: &proxy::BodyFailure) {
    let request = mark.id;
    let (app, generation) = (of.app.as_str(), of.id.get());
    if matches!(failure.error, proxy::BodyError::Client) {
        tracing::debug!(app, generation, request, "{failure}");
        return;
    }
    mark.tally(of).failure();
    tracing::error!(
        event = "body-broken",
        app,
        generation,
        request,
        worker = failure.worker.number,
        pid = failure.worker.pid,
        code = failure.error.code(),
        "a response was cut: {failure}",
    );
}

impl Drop for AppBody {
    fn drop(&mut self) {
        // What else there is says so itself.
        if let Source::Plugin(body) = &self.source {
            self.mark.ended(&body.keep().0);
        }
    }
}

impl AppBody {
    /// It has taken longer than it may.
    pub(super) fn log_timed_out(&self) {
        let (of, request) = (self.source.generation(), self.mark.id);
        let error = proxy::BodyError::RequestTimeout;
        let (app, generation, code) = (of.app.as_str(), of.id.get(), error.code());
        self.mark.tally(of).failure();
        tracing::error!(
            event = "body-broken",
            app,
            generation,
            request,
            code,
            "a response was cut: {error}",
        );
    }

    /// The next frame. A failure comes one turn late: what hyper has not written by the time it is
    /// told of one is thrown away, be it the head, and the client would see no response at all if
    /// the body fails at once, and the beginning of one if it fails later.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match self.poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => {
                self.failed = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            polled => polled,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // A body that is always ready, and a reader that never is, are cut here.
        if self.source.generation().cut().is_done() {
            return Poll::Ready(Some(Err(cut_error())));
        }
        let polled = match &mut self.source {
            Source::Plugin(body) => match body.poll_frame(cx) {
                Poll::Ready(Some(Err(error))) => {
                    log_failure(&body.keep().0, self.mark, &error);
                    Poll::Ready(Some(Err(error.into())))
                }
                other => other.map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            },
            Source::Worker(body, (lease, _)) => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Err(error))) => {
                    log_broken(lease, self.mark, &error);
                    Poll::Ready(Some(Err(error.into())))
                }
                other => other.map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            },
            Source::Tunnel(body, _) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        };
        if polled.is_pending() {
            let generation = self.source.generation();
            return self
                .cut
                .poll(generation, cx)
                .map(|()| Some(Err(cut_error())));
        }
        polled
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match &self.source {
            // What comes is an error.
            _ if self.failed.is_some() => false,
            Source::Plugin(body) => body.is_end(),
            Source::Worker(body, _) => body.is_end_stream(),
            Source::Tunnel(body, _) => body.is_end_stream(),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.source {
            _ if self.failed.is_some() => SizeHint::new(),
            Source::Plugin(body) => body.size_hint(),
            Source::Worker(body, _) => body.size_hint(),
            Source::Tunnel(body, _) => body.size_hint(),
        }
    }
}

impl Body for DispatchBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = match &mut self.0 {
            Inner::Own(body) => return Pin::new(body).poll_frame(cx).map_err(Into::into),
            Inner::App(body) => body.poll(cx),
            Inner::Timed(body) => body.poll_frame(cx),
        };
        match &polled {
            // The lease goes with the last frame, and not only when hyper lets go of the body.
            Poll::Ready(None) => self.0 = Inner::ended(),
            Poll::Ready(Some(Err(_))) => {}
            _ => self.guard(cx),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Own(body) => body.is_end_stream(),
            Inner::App(body) => body.is_end_stream(),
            Inner::Timed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Own(body) => body.size_hint(),
            Inner::App(body) => body.size_hint(),
            Inner::Timed(body) => body.size_hint(),
        }
    }
}

fn cut_error() -> BoxError {
    "the drain deadline passed".into()
}
