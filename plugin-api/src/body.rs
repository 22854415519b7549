//! The request body that a plugin's service receives.

#![expect(unsafe_code, reason = "ABI glue: takes over the host's body")]

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::{
    abi,
    glue::body::{BoxError, Imported},
};

/// A request's body, read frame by frame as the client sends it.
///
/// Not reading it holds the client back; dropping it tells the host that the rest is not wanted.
/// It fails when the client goes away before the end, with the reason as text.
pub struct Body(Inner);

enum Inner {
    Host(Imported<()>),
    Local(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>),
    Full(Option<Bytes>),
}

impl Body {
    /// A body without data.
    #[must_use]
    pub fn empty() -> Self {
        Self(Inner::Full(None))
    }

    /// Any body; for tests and for services that call others.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Inner::Local(Box::pin(crate::service::Erased::new(body))))
    }

    /// Takes over the host's body.
    ///
    /// # Safety
    /// As for [`Imported::new`].
    pub(crate) unsafe fn import(raw: abi::Body) -> Self {
        // SAFETY: vouched for by the caller; the host's code stays as long as the process.
        Self(Inner::Host(unsafe { Imported::new(raw, ()) }))
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(data: Bytes) -> Self {
        Self(Inner::Full(Some(data).filter(|data| !data.is_empty())))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("size_hint", &http_body::Body::size_hint(self))
            .finish()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Inner::Host(body) => body.poll_frame(cx).map_err(Into::into),
            Inner::Local(body) => body.as_mut().poll_frame(cx),
            Inner::Full(data) => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Host(body) => body.is_end(),
            Inner::Local(body) => body.is_end_stream(),
            Inner::Full(data) => data.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Host(body) => body.size_hint(),
            Inner::Local(body) => body.size_hint(),
            Inner::Full(data) => {
                SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64))
            }
        }
    }
}
