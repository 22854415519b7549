//! What outlasts a host's call: the instance that it is an answer of, and the answer's body.

#![expect(
    unsafe_code,
    reason = "ABI glue: borrows the instance for as long as the host promises"
)]

use std::{
    ops::Deref,
    ptr::NonNull,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::{
    BoxError, abi, forward,
    glue::{
        body::{BodySource, export as export_body},
        guard, waker,
    },
    instance::Instance,
    service::ResponseBody,
};

/// The instance, to what the host gives back before it stops it: calls and their bodies. Nothing
/// is counted for them, since the host counts already.
#[derive(Clone, Copy)]
pub(crate) struct Alive(NonNull<Instance>);

// SAFETY: as a shared reference would be, since an instance is `Sync`.
unsafe impl Send for Alive {}

impl Alive {
    /// # Safety
    /// The instance must stay where it is until this and all its copies are gone.
    pub(crate) unsafe fn new(instance: *mut Instance) -> Self {
        // SAFETY: vouched for by the caller.
        Self(unsafe { NonNull::new_unchecked(instance) })
    }
}

impl Deref for Alive {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        // SAFETY: vouched for by who made it.
        unsafe { self.0.as_ref() }
    }
}

/// A response's body, as far as it is known with its head.
pub(crate) enum Outset {
    /// All of it.
    Whole(Bytes),
    /// What it began with, if it was asked, and the rest.
    Open(First, ResponseBody),
}

/// What a body said when it was first asked.
type First = Option<Option<Result<Frame<Bytes>, BoxError>>>;

/// Asks a body whose length is known for what it begins with: most are one piece, and then all of
/// it can go with the head. A stream is left alone, whose head must not wait for it.
pub(crate) fn begin(mut body: ResponseBody, cx: &mut Context<'_>) -> Outset {
    if body.size_hint().exact().is_none() || body.is_end_stream() {
        return Outset::Open(None, body);
    }
    let Poll::Ready(first) = body.as_mut().poll_frame(cx) else {
        return Outset::Open(None, body);
    };
    match first {
        Some(Ok(frame)) if frame.is_data() && body.is_end_stream() => {
            Outset::Whole(frame.into_data().unwrap_or_default())
        }
        first => Outset::Open(Some(first), body),
    }
}

/// A response's body for the host to poll, with the runtime entered each time.
pub(crate) fn export(
    first: First,
    body: ResponseBody,
    instance: Alive,
    request_id: u64,
) -> abi::Body {
    export_body(Outgoing {
        first,
        body: Some(body),
        instance,
        request_id,
    })
}

struct Outgoing {
    first: First,
    // `None` once it is dropped, for which the runtime has to be entered.
    body: Option<ResponseBody>,
    instance: Alive,
    request_id: u64,
}

impl BodySource for Outgoing {
    fn poll(&mut self, waker: &abi::Waker) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(first);
        }
        let _entered = self.instance.runtime().enter();
        forward::with_request(self.request_id, || {
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            let polled = waker::with_lent(waker, |cx| body.as_mut().poll_frame(cx));
            if matches!(polled, Poll::Ready(None)) || body.is_end_stream() {
                // Now, while the runtime is entered anyway.
                let body = self.body.take();
                guard::contain(|| drop(body));
            }
            polled
        })
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self
            .body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |body| body.size_hint());
        let Some(Some(Ok(frame))) = &self.first else {
            return rest;
        };
        let first = frame.data_ref().map_or(0, |data| data.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(first));
        }
        hint.set_lower(rest.lower().saturating_add(first));
        hint
    }

    fn is_end(&self) -> bool {
        self.first.is_none() && self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        let _entered = self.instance.runtime().enter();
        forward::with_request(self.request_id, || drop(body));
    }
}
