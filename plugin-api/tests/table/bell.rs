//! A waker that is not of the plugin's making.

use std::{
    ptr,
    sync::{Arc, Condvar, Mutex},
    thread::{self, ThreadId},
    time::Duration,
};

use replug_plugin::abi;

/// Rung by wakers, waited for by tests.
#[derive(Default)]
pub(crate) struct Bell {
    rung_by: Mutex<Option<ThreadId>>,
    changed: Condvar,
}

impl Bell {
    /// A waker to lend.
    pub(crate) fn waker(self: &Arc<Self>) -> abi::Waker {
        abi::Waker {
            data: Arc::as_ptr(self).cast(),
            extra: ptr::null(),
            table: &raw const TABLE,
        }
    }

    /// Waits until it is rung, and tells which thread did it.
    pub(crate) fn wait(&self) -> ThreadId {
        let rung_by = self.rung_by.lock().unwrap();
        let (mut rung_by, _) = self
            .changed
            .wait_timeout_while(rung_by, Duration::from_secs(30), |rung| rung.is_none())
            .unwrap();
        rung_by.take().expect("never woken")
    }
}

static TABLE: abi::WakerTable = abi::WakerTable {
    size: size_of::<abi::WakerTable>(),
    clone,
    wake_by_ref,
    drop,
};

unsafe extern "C" fn clone(waker: *const abi::Waker) -> abi::Waker {
    // SAFETY: the caller's, for this call.
    let waker = unsafe { &*waker };
    // SAFETY: its data is a bell's, kept by the waker that is cloned.
    unsafe { Arc::increment_strong_count(waker.data.cast::<Bell>()) };
    abi::Waker {
        data: waker.data,
        extra: waker.extra,
        table: waker.table,
    }
}

unsafe extern "C" fn wake_by_ref(waker: *const abi::Waker) {
    // SAFETY: the caller's, for this call.
    let waker = unsafe { &*waker };
    // SAFETY: its data is a bell's, kept by the waker.
    let bell = unsafe { &*waker.data.cast::<Bell>() };
    *bell.rung_by.lock().unwrap() = Some(thread::current().id());
    bell.changed.notify_all();
}

unsafe extern "C" fn drop(waker: *mut abi::Waker) {
    // SAFETY: the caller's, for this call.
    let waker = unsafe { &*waker };
    // SAFETY: what `clone` added.
    unsafe { Arc::decrement_strong_count(waker.data.cast::<Bell>()) };
}
