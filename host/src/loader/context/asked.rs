//! What plugins ask of the host, from its raw form to [`Services`](super::Services).

#![expect(unsafe_code, reason = "functions that plugins call through the ABI")]

use std::{
    ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path, sync::PoisonError, task::Poll,
    time::Duration,
};

use replug_plugin::{
    abi,
    glue::{bytes::owned, guard},
};

use crate::process;

use super::{Changes, LazySlot, Owner, Waiter, owner};

/// What became of what was asked for, as a status.
fn answer(
    context: u64,
    failure: *mut abi::Failure,
    ask: impl FnOnce(&Owner) -> Result<(), String>,
) -> abi::Status {
    let over = || "this generation is over".to_owned();
    // A defect of the host's must not unwind into the plugin.
    let ask = || process::as_host(|| ask(&owner(context).ok_or_else(over)?));
    let result = guard::catch(ask).unwrap_or_else(|caught| Err(caught.to_string()));
    match result {
        Ok(()) => abi::READY,
        Err(reason) => {
            // SAFETY: the ABI: the caller's, for this call.
            unsafe { failure.write(abi::Failure::error(reason)) };
            abi::ERROR
        }
    }
}

/// # Safety
/// As for [`abi::Slice::to_text`].
unsafe fn text(slice: abi::Slice) -> Result<String, String> {
    // SAFETY: vouched for by the caller.
    let bytes = unsafe { slice.as_bytes() };
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text is not UTF-8".to_owned())
}

/// The beginning of a text that may be anything.
fn shown(text: &str) -> String {
    let beginning = text.chars().take(40);
    beginning.flat_map(char::escape_debug).collect()
}

pub(super) unsafe extern "C" fn track(
    context: u64,
    path: abi::Slice,
    failure: *mut abi::Failure,
) -> abi::Status {
    answer(context, failure, |owner| {
        // SAFETY: the ABI: lent for this call.
        let bytes = unsafe { path.as_bytes() };
        let path = Path::new(OsStr::from_bytes(bytes));
        owner.services.track(path)
    })
}

pub(super) unsafe extern "C" fn register_entry(
    context: u64,
    kind: abi::Slice,
    key: abi::Slice,
    value: abi::Slice,
    failure: *mut abi::Failure,
) -> abi::Status {
    answer(context, failure, |owner| {
        // SAFETY: the ABI: lent for this call, here and below.
        let kind = unsafe { text(kind) }?;
        // SAFETY: as above.
        let key = unsafe { text(key) }?;
        // SAFETY: as above.
        let value = unsafe { value.as_bytes() };
        let value = serde_json::from_slice(value)
            .map_err(|error| format!("the value of `{}` is no JSON: {error}", shown(&key)))?;
        owner.services.register(&kind, &key, &value)
    })
}

pub(super) unsafe extern "C" fn registrations(
    context: u64,
    kind: abi::Slice,
    list: *mut abi::Buf,
    failure: *mut abi::Failure,
) -> abi::Status {
    answer(context, failure, |owner| {
        // SAFETY: the ABI: lent for this call.
        let kind = unsafe { text(kind) }?;
        let found = owner.services.registrations(&kind);
        let found = serde_json::to_vec(&found).map_err(|error| error.to_string())?;
        // SAFETY: the ABI: the caller's, to be written once.
        unsafe { list.write(owned(found.into())) };
        Ok(())
    })
}

pub(super) unsafe extern "C" fn poll_registry(
    context: u64,
    id: u64,
    seen: u64,
    waker: *const abi::Waker,
    version: *mut u64,
) -> abi::Status {
    let polled = guard::catch(|| {
        let owner = owner(context)?;
        // Taken out for as long as it is polled: no lock is held while the plugin's waker is
        // cloned or dropped.
        let known = owner.waiters.take(id);
        let mut waiter = known.unwrap_or_else(|| Waiter {
            slot: LazySlot::new(&owner.waiters.slots),
            changes: Changes::new(owner.services.registry_changes(), seen),
        });
        if waiter.changes.seen() != seen {
            waiter.changes = Changes::new(owner.services.registry_changes(), seen);
        }
        // SAFETY: the ABI: lent for this call.
        let waker = unsafe { &*waker };
        let Waiter { slot, changes } = &mut waiter;
        let polled = slot.poll_kept(waker, |cx| changes.poll(cx));
        if polled.is_pending() {
            owner.waiters.put(id, waiter);
        }
        Some(polled)
    });
    match polled {
        Ok(Some(Poll::Ready(now))) => {
            // SAFETY: the ABI: the caller's, to be written once.
            unsafe { version.write(now) };
            abi::READY
        }
        Ok(Some(Poll::Pending)) => abi::PENDING,
        Ok(None) | Err(_) => abi::ERROR,
    }
}

pub(super) unsafe extern "C" fn leave_registry(context: u64, id: u64) {
    guard::contain(|| {
        if let Some(owner) = owner(context) {
            drop(owner.waiters.take(id));
        }
    });
}

impl super::Waiters {
    fn take(&self, id: u64) -> Option<Waiter> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&id)
    }

    fn put(&self, id: u64, waiter: Waiter) {
        let before = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.insert(id, waiter)
        };
        drop(before);
    }
}

pub(super) unsafe extern "C" fn schedule(
    context: u64,
    name: abi::Slice,
    every_ms: u64,
    failure: *mut abi::Failure,
) -> abi::Status {
    answer(context, failure, |owner| {
        // SAFETY: the ABI: lent for this call.
        let name = unsafe { text(name) }?;
        let every = Duration::from_millis(every_ms);
        owner.services.schedule(&name, every)
    })
}

pub(super) unsafe extern "C" fn previous_state(
    context: u64,
    state: *mut abi::State,
) -> abi::Status {
    let mut found = None;
    // SAFETY: the ABI: the caller's, for this call.
    let state = unsafe { &mut *state };
    let status = answer(context, &raw mut state.failure, |owner| {
        found = owner.services.previous_state()?;
        Ok(())
    });
    let Some(snapshot) = found else {
        return if status == abi::READY {
            abi::END
        } else {
            status
        };
    };
    state.schema = snapshot.schema;
    state.data = owned(snapshot.bytes);
    abi::READY
}

pub(super) unsafe extern "C" fn request_reload(context: u64) {
    guard::contain(|| {
        if let Some(owner) = owner(context) {
            owner.services.request_reload();
        }
    });
}

pub(super) unsafe extern "C" fn request_restart(context: u64) {
    guard::contain(|| {
        if let Some(owner) = owner(context) {
            owner.services.request_restart();
        }
    });
}
