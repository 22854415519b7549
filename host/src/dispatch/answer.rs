//! A request's answer, while it is awaited.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, ready},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;

use super::{body::DispatchBody, connection::Held, cut::CutWatch, failure::Failure, limit::Time};
use crate::{generation::Generation, loader::Call};

/// A request's answer, once it is there; an error is a response too. Dropping it cancels the
/// request.
pub struct Answer(State);

enum State {
    /// An app's, straight from its code. Small, since the server moves it about.
    App {
        call: Call<Generation, Held>,
        cut: CutWatch,
        request: u64,
        time: Time,
    },
    /// Any other, which is rare.
    Other(Pin<Box<dyn Future<Output = Response<DispatchBody>>>>),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::App { request, .. } => f.debug_tuple("App").field(request).finish(),
            State::Other(_) => f.write_str("Other"),
        }
    }
}

impl Answer {
    pub(super) fn app(call: Call<Generation, Held>, request: u64, time: Time) -> Self {
        Self(State::App {
            call,
            cut: CutWatch::default(),
            request,
            time,
        })
    }

    pub(super) fn other(future: impl Future<Output = Response<DispatchBody>> + 'static) -> Self {
        Self(State::Other(Box::pin(future)))
    }

    pub(super) fn now(response: Response<DispatchBody>) -> Self {
        Self::other(ready(response))
    }
}

impl Future for Answer {
    type Output = Result<Response<DispatchBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (call, cut, request, time) = match &mut self.0 {
            State::App {
                call,
                cut,
                request,
                time,
            } => (call, cut, *request, time),
            State::Other(future) => return future.as_mut().poll(cx).map(Ok),
        };
        let polled = Pin::new(&mut *call).poll(cx);
        if let Poll::Ready(Ok(response)) = polled {
            if response.status().is_server_error() {
                response.body().keep().0.tally.failure();
            }
            let time = time.take();
            let response = response.map(|body| DispatchBody::plugin(body, request).within(time));
            return Poll::Ready(Ok(response));
        }
        let Some(generation) = call.owner() else {
            unreachable!("gone only with a response")
        };
        let failure = match polled {
            Poll::Ready(Err(error)) => Failure::Call(error),
            _ if time.poll(cx).is_ready() => Failure::TimedOut,
            _ => {
                ready!(cut.poll(generation, cx));
                Failure::Cut
            }
        };
        Poll::Ready(Ok(failure.into_response(generation, request)))
    }
}
