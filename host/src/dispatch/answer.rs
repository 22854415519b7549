//! A request's answer, while it is awaited.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, ready},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;

use super::{
    Mark, body::DispatchBody, connection::Held, cut::CutWatch, failure::Failure, limit::Time,
};
use crate::{generation::Generation, loader::Call};

/// A request's answer, once it is there; an error is a response too. Dropping it cancels the
/// request.
pub struct Answer(State);

enum State {
    /// An app's, straight from its code. Small, since the server moves it about.
    App(Calling),
    /// Any other, which is rare.
    Other(Pin<Box<dyn Future<Output = Response<DispatchBody>>>>),
}

struct Calling {
    call: Call<Generation, Held>,
    cut: CutWatch,
    mark: Mark,
    time: Time,
}

impl Drop for Calling {
    fn drop(&mut self) {
        // Else it ends with its body.
        if let Some(generation) = self.call.owner() {
            self.mark.ended(generation);
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::App(calling) => f.debug_tuple("App").field(&calling.mark).finish(),
            State::Other(_) => f.write_str("Other"),
        }
    }
}

impl Answer {
    pub(super) fn app(call: Call<Generation, Held>, mark: Mark, time: Time) -> Self {
        Self(State::App(Calling {
            call,
            cut: CutWatch::default(),
            mark,
            time,
        }))
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
        let calling = match &mut self.0 {
            State::App(calling) => calling,
            State::Other(future) => return future.as_mut().poll(cx).map(Ok),
        };
        let Calling {
            call,
            cut,
            mark,
            time,
        } = calling;
        let mark = *mark;
        let polled = Pin::new(&mut *call).poll(cx);
        if let Poll::Ready(Ok(response)) = polled {
            if response.status().is_server_error() {
                mark.tally(&response.body().keep().0).failure();
            }
            let time = time.take();
            let response = response.map(|body| DispatchBody::plugin(body, mark).within(time));
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
        Poll::Ready(Ok(failure.into_response(generation, mark)))
    }
}
