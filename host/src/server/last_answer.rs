//! Telling an HTTP/1.1 client that an answer is its connection's last.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use http::{HeaderValue, StatusCode, header};

use super::connection::Helm;
use crate::dispatch::Answer;

/// An answer that says, if so it is when it is ready, that the connection ends with it. A client
/// that knows sends no request that would meet a closed connection.
pub(super) struct LastAnswer {
    answer: Answer,
    helm: Rc<Helm>,
}

impl LastAnswer {
    pub(super) fn new(answer: Answer, helm: Rc<Helm>) -> Self {
        Self { answer, helm }
    }
}

impl Future for LastAnswer {
    type Output = <Answer as Future>::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut polled = Pin::new(&mut self.answer).poll(cx);
        if let Poll::Ready(Ok(response)) = &mut polled
            && self.helm.says_last()
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        polled
    }
}
