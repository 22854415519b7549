//! The way from a plugin to the host that it runs in.

#![expect(unsafe_code, reason = "ABI glue: calls the host's functions")]

use std::{
    fmt,
    mem::offset_of,
    path::Path,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    State, abi,
    glue::{bytes::adopt, waker},
};

/// Why the host did not do what a plugin asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError(String);

impl HostError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HostError {}

/// The host's functions, for one generation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    host: *const abi::HostTable,
    context: u64,
}

// SAFETY: the host's table lives as long as the process, does not change, and its functions may be
// called from any thread.
unsafe impl Send for Link {}
// SAFETY: as above.
unsafe impl Sync for Link {}

/// One of the host's functions, if its table has it: an older host's is shorter, and another's may
/// leave it out.
macro_rules! function {
    ($link:expr, $name:ident) => {{
        let end = offset_of!(abi::HostTable, $name) + size_of::<usize>();
        // SAFETY: each version of the table begins with its size.
        let size = unsafe { (*$link.host).size };
        if size < end {
            Err(too_old(stringify!($name)))
        } else {
            // SAFETY: the field is within the table, and null is a value of it.
            unsafe { (*$link.host).$name }.ok_or_else(|| left_out(stringify!($name)))
        }
    }};
}

fn too_old(name: &str) -> HostError {
    HostError(format!(
        "this host is older than ABI {}.{}, which `{name}` came with; update replug",
        abi::ABI_MAJOR,
        abi::ABI_MINOR
    ))
}

fn left_out(name: &str) -> HostError {
    HostError(format!(
        "this host has no `{name}`; run the app in one that has"
    ))
}

fn lend(text: &str) -> abi::Slice {
    abi::Slice::lend(text.as_bytes())
}

impl Link {
    /// # Safety
    /// The table must live as long as the process.
    pub(crate) unsafe fn new(host: *const abi::HostTable, context: u64) -> Self {
        Self { host, context }
    }

    pub(crate) fn track(self, path: &Path) -> Result<(), HostError> {
        let track = function!(self, track)?;
        let path = abi::Slice::lend(path.as_os_str().as_encoded_bytes());
        // SAFETY: the host's function, with arguments that live through the call.
        outcome(|failure| unsafe { track(self.context, path, failure) })
    }

    pub(crate) fn register(self, kind: &str, key: &str, value: &str) -> Result<(), HostError> {
        let register = function!(self, register_entry)?;
        let (kind, key, value) = (lend(kind), lend(key), lend(value));
        // SAFETY: as above.
        outcome(|failure| unsafe { register(self.context, kind, key, value, failure) })
    }

    /// A JSON array.
    pub(crate) fn registrations(self, kind: &str) -> Result<Bytes, HostError> {
        let registrations = function!(self, registrations)?;
        let mut list = abi::Buf::EMPTY;
        // SAFETY: as above.
        outcome(|failure| unsafe {
            registrations(self.context, lend(kind), &raw mut list, failure)
        })?;
        // SAFETY: filled by the host for us.
        Ok(unsafe { adopt(list, ()) })
    }

    pub(crate) fn poll_registry(
        self,
        id: u64,
        seen: u64,
        cx: &Context<'_>,
    ) -> Poll<Result<u64, HostError>> {
        let poll = match function!(self, poll_registry) {
            Ok(poll) => poll,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let mut version = seen;
        let waker = waker::lend(cx.waker());
        // SAFETY: as above.
        match unsafe { poll(self.context, id, seen, waker.as_ptr(), &raw mut version) } {
            abi::PENDING => Poll::Pending,
            abi::READY => Poll::Ready(Ok(version)),
            _ => Poll::Ready(Err(HostError("this generation is over".to_owned()))),
        }
    }

    pub(crate) fn leave_registry(self, id: u64) {
        if let Ok(leave) = function!(self, leave_registry) {
            // SAFETY: as above.
            unsafe { leave(self.context, id) }
        }
    }

    pub(crate) fn schedule(self, name: &str, every: Duration) -> Result<(), HostError> {
        let schedule = function!(self, schedule)?;
        let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        // SAFETY: as above.
        outcome(|failure| unsafe { schedule(self.context, lend(name), every, failure) })
    }

    pub(crate) fn previous_state(self) -> Result<Option<State>, HostError> {
        let previous_state = function!(self, previous_state)?;
        let mut state = abi::State {
            size: size_of::<abi::State>(),
            schema: 0,
            data: abi::Buf::EMPTY,
            failure: abi::Failure::EMPTY,
        };
        // SAFETY: as above.
        match unsafe { previous_state(self.context, &raw mut state) } {
            abi::READY => {
                let data = std::mem::replace(&mut state.data, abi::Buf::EMPTY);
                // SAFETY: filled by the host for us.
                let bytes = unsafe { adopt(data, ()) };
                Ok(Some(State::new(state.schema, bytes)))
            }
            abi::END => Ok(None),
            // SAFETY: filled by the host for us.
            _ => Err(HostError(unsafe { state.failure.adopt() }.message)),
        }
    }

    pub(crate) fn request_reload(self) -> Result<(), HostError> {
        let request = function!(self, request_reload)?;
        // SAFETY: as above.
        unsafe { request(self.context) }
        Ok(())
    }

    pub(crate) fn request_restart(self) -> Result<(), HostError> {
        let request = function!(self, request_restart)?;
        // SAFETY: as above.
        unsafe { request(self.context) }
        Ok(())
    }
}

/// What a call came to that fails with a failure.
fn outcome(call: impl FnOnce(*mut abi::Failure) -> abi::Status) -> Result<(), HostError> {
    let mut failure = abi::Failure::EMPTY;
    match call(&raw mut failure) {
        abi::READY => Ok(()),
        // SAFETY: filled by the host for us.
        _ => Err(HostError(unsafe { failure.adopt() }.message)),
    }
}
