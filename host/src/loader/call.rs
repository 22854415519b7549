//! A request being answered by a plugin.

#![expect(unsafe_code, reason = "calls through the ABI")]

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Response, StatusCode};
use replug_plugin::{
    abi,
    glue::{
        body::{Imported, copy_headers},
        guard::Caught,
        waker,
    },
};

/// Why a plugin gave no response.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// Its service returned an error.
    #[error("the app's service failed: {0}")]
    Failed(String),
    /// Its code panicked.
    #[error("the app panicked at {}: {}", .0.location, .0.message)]
    Panicked(Caught),
    /// It was asked of a process that does not have the app loaded.
    #[error("the app is loaded in another process")]
    Elsewhere,
    /// What it returned is no HTTP response.
    #[error("the app's response is not valid: {0}")]
    Invalid(String),
}

impl CallError {
    /// # Safety
    /// The failure must be owned by the caller and not be used again.
    pub(super) unsafe fn adopt(status: abi::Status, failure: abi::Failure) -> Self {
        // SAFETY: vouched for by the caller.
        let caught = unsafe { failure.adopt() };
        if status == abi::PANICKED {
            Self::Panicked(caught)
        } else {
            Self::Failed(caught.message)
        }
    }

    /// The same where the plugin was to hand something out that is polled, and did not.
    ///
    /// # Safety
    /// As for [`CallError::adopt`].
    pub(super) unsafe fn of_no_call(status: abi::Status, failure: abi::Failure) -> Self {
        // SAFETY: handed on to the caller.
        match unsafe { Self::adopt(status, failure) } {
            Self::Failed(_) if status == abi::READY => {
                Self::Failed("it says that it has begun, and hands nothing out".to_owned())
            }
            error => error,
        }
    }
}

/// A response's body: the plugin's, polled by the host. Keeps its owner `O`, which has the plugin,
/// and `K` with it, until it and all of its data are gone.
pub type ResponseBody<O, K> = Imported<(Arc<O>, K)>;

/// A future of the plugin's, polled by the host. Dropping it cancels the request.
pub struct Call<O, K>(Option<Open<O, K>>);

/// A call that is not answered yet.
struct Open<O, K> {
    raw: Raw,
    // After `raw`, whose destructor runs plugin code.
    keep: (Arc<O>, K),
}

/// The plugin's own part of a call, whose code stays loaded as long as this is there.
struct Raw(abi::Call);

// SAFETY: the ABI lets a call be polled and dropped from any thread, one at a time.
unsafe impl Send for Raw {}

impl<O, K> fmt::Debug for Call<O, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("answered", &self.0.is_none())
            .finish_non_exhaustive()
    }
}

impl<O, K> Call<O, K> {
    /// # Safety
    /// `raw` must be an owned call of the plugin that `owner` has.
    pub(super) unsafe fn new(raw: abi::Call, owner: Arc<O>, keep: K) -> Self {
        Self(Some(Open {
            raw: Raw(raw),
            keep: (owner, keep),
        }))
    }

    /// Who has the plugin; `None` once the response has it.
    #[must_use]
    pub fn owner(&self) -> Option<&Arc<O>> {
        self.0.as_ref().map(|open| &open.keep.0)
    }
}

impl Raw {
    fn poll(&mut self, cx: &Context<'_>, out: &mut abi::Response) -> abi::Status {
        let waker = waker::lend(cx.waker());
        // SAFETY: a call's table lives as long as the plugin.
        let table = unsafe { &*self.0.table };
        // SAFETY: the ABI: one call at a time, since we are borrowed mutably.
        unsafe { (table.poll)(self.0.this, waker.as_ptr(), out) }
    }

    /// The head of a response that was filled by this call.
    fn read(&self, out: &abi::Response) -> Result<Response<()>, String> {
        let status = u16::try_from(out.status)
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok());
        let mut response = Response::new(());
        *response.status_mut() = status.ok_or_else(|| format!("status {}", out.status))?;
        // SAFETY: the ABI: valid until the call is dropped.
        unsafe { copy_headers(out.headers, out.header_count, response.headers_mut()) }
            .map_err(|error| error.to_string())?;
        Ok(response)
    }
}

impl<O, K> Future for Call<O, K>
where
    O: Send + Sync + 'static,
    K: Clone + Send + Unpin + 'static,
{
    type Output = Result<Response<ResponseBody<O, K>>, CallError>;

    /// # Panics
    /// When it is polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut out = abi::Response {
            size: size_of::<abi::Response>(),
            status: 0,
            header_count: 0,
            headers: std::ptr::null(),
            body: abi::Body::EMPTY,
            failure: abi::Failure::EMPTY,
            data: abi::Buf::EMPTY,
        };
        let Some(open) = &mut self.0 else {
            unreachable!("polled after it was ready")
        };
        match open.raw.poll(cx, &mut out) {
            abi::PENDING => Poll::Pending,
            status @ (abi::READY | abi::LAST) => {
                let head = open.raw.read(&out);
                let import = |keep| {
                    if status == abi::LAST {
                        // SAFETY: filled by the plugin for us, whose owner we keep with it; what is
                        // lent is the call's, which is still there.
                        unsafe { Imported::whole(out.data, keep) }
                    } else {
                        // SAFETY: filled by the plugin for us, whose owner we keep with it.
                        unsafe { Imported::new(out.body, keep) }
                    }
                };
                let head = match head {
                    Ok(head) => head,
                    Err(error) => {
                        drop(import(open.keep.clone()));
                        return Poll::Ready(Err(CallError::Invalid(error)));
                    }
                };
                let Some(Open { raw, keep }) = self.0.take() else {
                    unreachable!("looked at above")
                };
                let body = import(keep);
                // Before what keeps its code loaded goes with the body.
                drop(raw);
                Poll::Ready(Ok(head.map(|()| body)))
            }
            // SAFETY: filled by the plugin for us.
            status => Poll::Ready(Err(unsafe { CallError::adopt(status, out.failure) })),
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: a call's table lives as long as the plugin.
        let table = unsafe { &*self.0.table };
        // SAFETY: owned, and dropped once.
        unsafe { (table.drop)(self.0.this) }
    }
}
