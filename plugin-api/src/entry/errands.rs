//! What the host wants of an app besides answers: its state, and its schedules.

#![expect(unsafe_code, reason = "ABI entry points")]

use std::{
    ffi::c_void,
    future::Future as _,
    pin::Pin,
    task::{Poll, ready},
    time::Duration,
};

use tokio::task::JoinHandle;

use super::{answer, panicked};
use crate::{
    abi,
    glue::{
        bytes::owned,
        guard::{self, Caught},
        waker,
    },
    instance::Instance,
};

pub(super) unsafe extern "C" fn save_state(
    app: *mut c_void,
    args: *const abi::SaveArgs,
    state: *mut abi::State,
) -> abi::Status {
    // SAFETY: the ABI: our own instance, alive until `stop`.
    let instance = unsafe { &*app.cast::<Instance>() };
    // SAFETY: the ABI: lent for this call.
    let args = unsafe { &*args };
    // SAFETY: the ABI: the caller's, for this call.
    let out = unsafe { &mut *state };
    let time = Duration::from_millis(args.timeout_ms);
    match guard::catch(|| instance.save(args.limit, time)) {
        Ok(None) => abi::END,
        Ok(Some(Ok((schema, bytes)))) => {
            out.schema = schema;
            out.data = owned(bytes);
            abi::READY
        }
        Ok(Some(Err(error))) => answer(Ok(Err(error)), &mut out.failure),
        Err(caught) => panicked(caught, &mut out.failure),
    }
}

/// A scheduled call, to the host.
struct Scheduled(JoinHandle<Result<(), Caught>>);

static TASK_TABLE: abi::TaskTable = abi::TaskTable {
    size: size_of::<abi::TaskTable>(),
    poll: task_poll,
    drop: task_drop,
};

pub(super) unsafe extern "C" fn run_schedule(
    app: *mut c_void,
    name: abi::Slice,
    task: *mut abi::Task,
    failure: *mut abi::Failure,
) -> abi::Status {
    // SAFETY: the ABI: our own instance, alive until `stop`.
    let instance = unsafe { &*app.cast::<Instance>() };
    // SAFETY: the ABI: the caller's, for this call.
    let failure = unsafe { &mut *failure };
    let result = guard::catch(|| {
        // SAFETY: the ABI: lent for this call.
        let name = unsafe { name.to_text() };
        let begun = instance.run_schedule(&name);
        let handle = begun.ok_or_else(|| format!("there is no schedule `{name}`"))?;
        let begun = abi::Task {
            this: Box::into_raw(Box::new(Scheduled(handle))).cast(),
            table: &raw const TASK_TABLE,
        };
        // SAFETY: the ABI: the caller's, to be written once.
        unsafe { task.write(begun) };
        Ok(())
    });
    answer(result, failure)
}

unsafe extern "C" fn task_poll(
    this: *mut c_void,
    waker: *const abi::Waker,
    failure: *mut abi::Failure,
) -> abi::Status {
    // SAFETY: the ABI: our own box, one call at a time.
    let this = unsafe { &mut *this.cast::<Scheduled>() };
    // SAFETY: the ABI: the caller's, for this call.
    let failure = unsafe { &mut *failure };
    // SAFETY: the ABI: lent for this call.
    let polled = guard::catch(|| unsafe {
        waker::with_context(waker, |cx| {
            let joined = ready!(Pin::new(&mut this.0).poll(cx));
            Poll::Ready(match joined {
                Ok(Ok(())) => Ok(Ok(Ok(()))),
                Ok(Err(caught)) => Err(caught),
                // Its runtime has ended.
                Err(error) => Ok(Ok(Err(error.into()))),
            })
        })
    });
    match polled {
        Ok(Poll::Pending) => abi::PENDING,
        Ok(Poll::Ready(Ok(result))) => answer(result, failure),
        Ok(Poll::Ready(Err(caught))) | Err(caught) => panicked(caught, failure),
    }
}

unsafe extern "C" fn task_drop(this: *mut c_void) {
    // SAFETY: the ABI: our own box, for the last time.
    let this = unsafe { Box::from_raw(this.cast::<Scheduled>()) };
    guard::contain(|| this.0.abort());
}
