//! What the host wants of an app besides answers: its state, and its schedules.

#![expect(unsafe_code, reason = "calls through the ABI")]

use std::{
    fmt,
    future::Future,
    pin::Pin,
    ptr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use replug_plugin::{
    abi,
    glue::{bytes::adopt, guard::Caught, waker},
};

use super::{CallError, Plugin, PluginOwner, Running, Snapshot};

/// Why an app's state could not be saved.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SaveError {
    /// Its code failed, took too long, or made too much of it.
    #[error("it did not save its state: {0}")]
    Failed(String),
    /// Its code panicked.
    #[error("it panicked while it saved its state, at {}: {}", .0.location, .0.message)]
    Panicked(Caught),
    /// What it gave is more than it may be.
    #[error("its state has {bytes} bytes, and may have {limit}")]
    TooBig {
        /// How many.
        bytes: u64,
        /// At most.
        limit: u64,
    },
}

impl Running {
    /// Has the app save its state for its next generation; `None`: it saves none. Takes up to
    /// `time`: for a thread of its own.
    ///
    /// # Errors
    /// When its code fails, panics or takes too long, or its state has more than `limit` bytes.
    pub fn save_state(&self, limit: u64, time: Duration) -> Result<Option<Snapshot>, SaveError> {
        let Some(save) = self.library.table().save_state else {
            return Ok(None);
        };
        self.library.owner().visit();
        let args = abi::SaveArgs {
            size: size_of::<abi::SaveArgs>(),
            limit,
            timeout_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        };
        let mut out = abi::State {
            size: size_of::<abi::State>(),
            schema: 0,
            data: abi::Buf::EMPTY,
            failure: abi::Failure::EMPTY,
        };
        // SAFETY: the ABI: the app is running, and the messages live through the call.
        let status = unsafe { save(self.app.0, &raw const args, &raw mut out) };
        let saved = match status {
            abi::END => Ok(None),
            abi::READY => {
                // SAFETY: filled by the plugin for us.
                let data = unsafe { adopt(out.data, ()) };
                let bytes = data.len() as u64;
                if bytes <= limit {
                    // Its memory is the plugin's, which is about to go.
                    Ok(Some(Snapshot {
                        schema: out.schema,
                        bytes: Bytes::copy_from_slice(&data),
                    }))
                } else {
                    Err(SaveError::TooBig { bytes, limit })
                }
            }
            status => {
                // SAFETY: filled by the plugin for us.
                let caught = unsafe { out.failure.adopt() };
                Err(if status == abi::PANICKED {
                    SaveError::Panicked(caught)
                } else {
                    SaveError::Failed(caught.message)
                })
            }
        };
        self.library.owner().leave_this_thread();
        saved
    }
}

impl Plugin {
    /// As [`Running::save_state`], while requests are still in flight.
    ///
    /// # Errors
    /// As there.
    pub fn save_state(&self, limit: u64, time: Duration) -> Result<Option<Snapshot>, SaveError> {
        self.running().save_state(limit, time)
    }

    /// Begins what the app has announced as a schedule of that name.
    ///
    /// # Errors
    /// When there is none of that name, or it panics at once.
    pub fn run_schedule<O: PluginOwner>(owner: &Arc<O>, name: &str) -> Result<Task<O>, CallError> {
        let running = owner.plugin().ok_or(CallError::Elsewhere)?.running();
        let Some(run) = running.library.table().run_schedule else {
            return Err(CallError::Failed("its ABI has no schedules".to_owned()));
        };
        let mut raw = abi::Task {
            this: ptr::null_mut(),
            table: ptr::null(),
        };
        let mut failure = abi::Failure::EMPTY;
        let name = abi::Slice::lend(name.as_bytes());
        // SAFETY: the ABI: the app is running, and all messages live through the call.
        let status = unsafe { run(running.app.0, name, &raw mut raw, &raw mut failure) };
        if status == abi::READY && !raw.table.is_null() {
            return Ok(Task {
                raw: RawTask(raw),
                owner: Arc::clone(owner),
            });
        }
        // SAFETY: filled by the plugin for us.
        Err(unsafe { CallError::of_no_call(status, failure) })
    }
}

/// A scheduled call that is under way on the plugin's runtime. Dropping it aborts it.
pub struct Task<O> {
    raw: RawTask,
    // After `raw`, whose destructor runs plugin code.
    owner: Arc<O>,
}

struct RawTask(abi::Task);

// SAFETY: the ABI lets a task be polled and dropped from any thread, one at a time.
unsafe impl Send for RawTask {}

impl<O: fmt::Debug> fmt::Debug for Task<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl<O: Send + Sync + 'static> Future for Task<O> {
    type Output = Result<(), CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut failure = abi::Failure::EMPTY;
        let waker = waker::lend(cx.waker());
        let raw = &self.raw.0;
        // SAFETY: a task's table lives as long as the plugin.
        let table = unsafe { &*raw.table };
        // SAFETY: the ABI: one call at a time, since we are borrowed mutably.
        match unsafe { (table.poll)(raw.this, waker.as_ptr(), &raw mut failure) } {
            abi::PENDING => Poll::Pending,
            abi::READY => Poll::Ready(Ok(())),
            // SAFETY: filled by the plugin for us.
            status => Poll::Ready(Err(unsafe { CallError::adopt(status, failure) })),
        }
    }
}

impl Drop for RawTask {
    fn drop(&mut self) {
        // SAFETY: a task's table lives as long as the plugin.
        let table = unsafe { &*self.0.table };
        // SAFETY: owned, and dropped once.
        unsafe { (table.drop)(self.0.this) }
    }
}
