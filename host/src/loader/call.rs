//! A request being answered by a plugin.

#![expect(unsafe_code, reason = "calls through the ABI")]

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderMap, Response, StatusCode};
use replug_plugin::{
    abi,
    glue::{
        body::{Imported, copy_headers},
        guard::Caught,
        waker,
    },
};

use super::Plugin;

/// Why a plugin gave no response.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// Its service returned an error.
    #[error("the app's service failed: {0}")]
    Failed(String),
    /// Its code panicked.
    #[error("the app panicked at {}: {}", .0.location, .0.message)]
    Panicked(Caught),
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
}

/// A response's body: the plugin's, polled by the host. Keeps the plugin loaded, and `K` with it,
/// until it and all of its data are gone.
pub type ResponseBody<K> = Imported<(Plugin, K)>;

/// A future of the plugin's, polled by the host. Dropping it cancels the request.
pub struct Call<K> {
    raw: abi::Call,
    // After `raw`, whose destructor runs plugin code.
    keep: (Plugin, K),
}

// SAFETY: the ABI lets a call be polled and dropped from any thread, one at a time.
unsafe impl<K: Send> Send for Call<K> {}

impl<K> fmt::Debug for Call<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("plugin", &self.keep.0)
            .finish_non_exhaustive()
    }
}

impl<K> Call<K> {
    /// # Safety
    /// `raw` must be an owned call of that plugin.
    pub(super) unsafe fn new(raw: abi::Call, plugin: Plugin, keep: K) -> Self {
        Self {
            raw,
            keep: (plugin, keep),
        }
    }

    fn read(&self, out: &abi::Response) -> Result<Response<()>, String> {
        let status = u16::try_from(out.status)
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok());
        let mut response = Response::new(());
        *response.status_mut() = status.ok_or_else(|| format!("status {}", out.status))?;
        let mut headers = HeaderMap::new();
        // SAFETY: the ABI: valid until the call is dropped.
        unsafe { copy_headers(out.headers, out.header_count, &mut headers) }
            .map_err(|error| error.to_string())?;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

impl<K: Clone + Send + Unpin + 'static> Future for Call<K> {
    type Output = Result<Response<ResponseBody<K>>, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut out = abi::Response {
            size: size_of::<abi::Response>(),
            status: 0,
            header_count: 0,
            headers: std::ptr::null(),
            body: abi::Body::EMPTY,
            failure: abi::Failure::EMPTY,
        };
        let waker = waker::lend(cx.waker());
        // SAFETY: a call's table lives as long as the plugin, which we hold.
        let table = unsafe { &*self.raw.table };
        // SAFETY: the ABI: one call at a time, since we are borrowed mutably.
        let status = unsafe { (table.poll)(self.raw.this, waker.as_ptr(), &raw mut out) };
        match status {
            abi::PENDING => Poll::Pending,
            abi::READY => {
                let head = self.read(&out);
                // SAFETY: filled by the plugin for us, which we keep with it.
                let body = unsafe { Imported::new(out.body, self.keep.clone()) };
                Poll::Ready(
                    head.map(|head| head.map(|()| body))
                        .map_err(CallError::Invalid),
                )
            }
            // SAFETY: filled by the plugin for us.
            status => Poll::Ready(Err(unsafe { CallError::adopt(status, out.failure) })),
        }
    }
}

impl<K> Drop for Call<K> {
    fn drop(&mut self) {
        // SAFETY: a call's table lives as long as the plugin, which we hold.
        let table = unsafe { &*self.raw.table };
        // SAFETY: owned, and dropped once.
        unsafe { (table.drop)(self.raw.this) }
    }
}
