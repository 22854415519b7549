//! A running app, shared: the calls through the ABI that requests make.

#![expect(unsafe_code, reason = "calls through the ABI")]

use std::{
    fmt,
    path::Path,
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use http::request::Parts;
use hyper::body::Incoming;
use replug_plugin::abi;
use tokio::io::DuplexStream;

use super::{
    Running, StopReason,
    call::{Call, CallError},
    request::{self, RequestInfo},
    stream,
};

/// A running app, shared by all that may run its code.
#[derive(Clone)]
pub struct Plugin(Arc<Shared>);

/// What has a plugin as a part of itself. A share of it is as good as a clone of the plugin, so
/// that a call counts one thing instead of two.
pub trait PluginOwner: Send + Sync + 'static {
    /// The plugin; `None`: this process does not have it loaded.
    fn plugin(&self) -> Option<&Plugin>;
}

type OnLast = Box<dyn FnOnce(Running) + Send>;

struct Shared {
    // `None` only in the destructor.
    running: Option<Running>,
    // A mutex only to be `Sync`: it is taken out once, by the destructor.
    on_last: Mutex<Option<OnLast>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let on_last = self
            .on_last
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let (Some(running), Some(on_last)) = (self.running.take(), on_last) {
            on_last(running);
        }
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Plugin").field(&self.staged_path()).finish()
    }
}

impl Running {
    /// Makes it callable. When the last clone of the plugin, and everything that came out of it,
    /// has been dropped, `on_last` gets the app back to stop it.
    pub fn share(self, on_last: impl FnOnce(Self) + Send + 'static) -> Plugin {
        let on_last: OnLast = Box::new(on_last);
        Plugin(Arc::new(Shared {
            running: Some(self),
            on_last: Mutex::new(Some(on_last)),
        }))
    }
}

impl Plugin {
    pub(super) fn running(&self) -> &Running {
        let Some(running) = &self.0.running else {
            unreachable!("taken out only when dropped")
        };
        running
    }

    /// The private copy that its code comes from.
    #[must_use]
    pub fn staged_path(&self) -> &Path {
        self.running().library.staged_path()
    }

    /// Hands the owner's plugin a request. What comes back keeps the owner, and `keep` with it; the
    /// request's body has `keep`, too.
    ///
    /// # Errors
    /// When it refuses the request, or panics.
    pub fn call<O: PluginOwner, K: Clone + Send + 'static>(
        owner: &Arc<O>,
        parts: &Parts,
        body: Incoming,
        info: &RequestInfo<'_>,
        keep: K,
    ) -> Result<Call<O, K>, CallError> {
        let plugin = owner.plugin().ok_or(CallError::Elsewhere)?;
        let body = request::export_body(body, &plugin.running().slots, &keep);
        Self::begin(owner, parts, body, info, keep)
    }

    /// The same for a request without a body.
    ///
    /// # Errors
    /// As there.
    pub fn call_without_body<O: PluginOwner, K>(
        owner: &Arc<O>,
        parts: &Parts,
        info: &RequestInfo<'_>,
        keep: K,
    ) -> Result<Call<O, K>, CallError> {
        Self::begin(owner, parts, abi::Body::EMPTY, info, keep)
    }

    fn begin<O: PluginOwner, K>(
        owner: &Arc<O>,
        parts: &Parts,
        body: abi::Body,
        info: &RequestInfo<'_>,
        keep: K,
    ) -> Result<Call<O, K>, CallError> {
        let running = owner.plugin().ok_or(CallError::Elsewhere)?.running();
        let table = running.library.table();
        let mut raw = abi::Call {
            this: ptr::null_mut(),
            table: ptr::null(),
        };
        let mut failure = abi::Failure::EMPTY;
        let status = request::with_message(parts, info, body, |message| {
            // SAFETY: the ABI: the app is running, and all messages live through the call.
            unsafe { (table.call)(running.app.0, message, &raw mut raw, &raw mut failure) }
        });
        if status == abi::READY && !raw.table.is_null() {
            // SAFETY: filled by the plugin for us. The owner lent it for as long as the owner is
            // borrowed, and it stays where it is, unchanged, while we have a share of it.
            return Ok(unsafe { Call::new(raw, Arc::clone(owner), keep) });
        }
        // SAFETY: filled by the plugin for us.
        Err(unsafe { CallError::of_no_call(status, failure) })
    }

    /// Hands it an upgrade request's connection: HTTP/1.1 is spoken on the other end of `io`,
    /// beginning with the request's head.
    ///
    /// # Errors
    /// When it refuses the request, or panics.
    pub fn upgrade(
        &self,
        parts: &Parts,
        io: DuplexStream,
        info: &RequestInfo<'_>,
    ) -> Result<(), CallError> {
        let running = self.running();
        let table = running.library.table();
        let mut failure = abi::Failure::EMPTY;
        let mut stream = stream::export(io, &running.slots);
        let status = request::with_message(parts, info, abi::Body::EMPTY, |message| {
            // SAFETY: the ABI: the app is running, and all messages live through the call.
            unsafe { (table.upgrade)(running.app.0, message, &raw mut stream, &raw mut failure) }
        });
        if status == abi::READY {
            return Ok(());
        }
        // SAFETY: filled by the plugin for us.
        Err(unsafe { CallError::adopt(status, failure) })
    }

    /// Tells it that draining has begun.
    pub fn shutdown(&self, reason: StopReason) {
        let running = self.running();
        // SAFETY: the ABI: the app is running.
        unsafe { (running.library.table().shutdown)(running.app.0, reason.to_abi()) }
    }
}
