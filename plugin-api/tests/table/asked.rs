//! What a plugin asks of its host: here, a host that writes it down.

use std::sync::Mutex;

use replug_plugin::{abi, glue::bytes::owned};

/// What was asked for, by the plugin's number with the host.
static ASKED: Mutex<Vec<(u64, String)>> = Mutex::new(Vec::new());
/// The registry's version.
static VERSION: Mutex<u64> = Mutex::new(1);

/// What that plugin has asked for so far.
pub(crate) fn asked(context: u64) -> Vec<String> {
    let asked = ASKED.lock().unwrap();
    let of = asked.iter().filter(|(by, _)| *by == context);
    of.map(|(_, what)| what.clone()).collect()
}

pub(crate) fn change_the_registry() {
    *VERSION.lock().unwrap() += 1;
}

fn note(context: u64, what: String) {
    ASKED.lock().unwrap().push((context, what));
}

/// # Safety
/// As for `to_text`.
unsafe fn text(slice: abi::Slice) -> String {
    // SAFETY: vouched for by the caller.
    unsafe { slice.to_text() }
}

/// What contains "bad" is refused.
fn answer(what: &str, failure: *mut abi::Failure) -> abi::Status {
    if !what.contains("bad") {
        return abi::READY;
    }
    // SAFETY: the caller's, for this call.
    unsafe { failure.write(abi::Failure::error(format!("the host refuses {what}"))) };
    abi::ERROR
}

pub(crate) unsafe extern "C" fn track(
    context: u64,
    path: abi::Slice,
    failure: *mut abi::Failure,
) -> abi::Status {
    // SAFETY: lent for this call, here and below.
    let what = format!("track {}", unsafe { text(path) });
    note(context, what.clone());
    answer(&what, failure)
}

pub(crate) unsafe extern "C" fn register_entry(
    context: u64,
    kind: abi::Slice,
    key: abi::Slice,
    value: abi::Slice,
    failure: *mut abi::Failure,
) -> abi::Status {
    // SAFETY: as above.
    let [kind, key, value] = [kind, key, value].map(|slice| unsafe { text(slice) });
    let what = format!("register {kind} {key} {value}");
    note(context, what.clone());
    answer(&what, failure)
}

pub(crate) unsafe extern "C" fn registrations(
    _context: u64,
    kind: abi::Slice,
    list: *mut abi::Buf,
    failure: *mut abi::Failure,
) -> abi::Status {
    // SAFETY: as above.
    let kind = unsafe { text(kind) };
    let entries = format!(
        r#"[{{"kind":"{kind}","key":"one","value":7,"owners":["a","b"],"new-in-1.2":true}}]"#
    );
    // SAFETY: the caller's, to be written once.
    unsafe { list.write(owned(entries.into_bytes().into())) };
    answer(&kind, failure)
}

pub(crate) unsafe extern "C" fn poll_registry(
    context: u64,
    _id: u64,
    seen: u64,
    waker: *const abi::Waker,
    version: *mut u64,
) -> abi::Status {
    let now = *VERSION.lock().unwrap();
    if now == seen {
        note(context, "waits".to_owned());
        // SAFETY: lent for this call. It is asked again at once, as a host may have it done.
        let waker_ref = unsafe { &*waker };
        // SAFETY: as above.
        let table = unsafe { &*waker_ref.table };
        // SAFETY: as above.
        unsafe { (table.wake_by_ref)(waker) };
        return abi::PENDING;
    }
    // SAFETY: the caller's, to be written once.
    unsafe { version.write(now) };
    abi::READY
}

pub(crate) unsafe extern "C" fn leave_registry(context: u64, _id: u64) {
    note(context, "leaves".to_owned());
}

pub(crate) unsafe extern "C" fn schedule(
    context: u64,
    name: abi::Slice,
    every_ms: u64,
    failure: *mut abi::Failure,
) -> abi::Status {
    // SAFETY: lent for this call.
    let what = format!("schedule {} {every_ms}", unsafe { text(name) });
    note(context, what.clone());
    answer(&what, failure)
}

/// Odd numbers have a state, multiples of ten a failure, others none.
pub(crate) unsafe extern "C" fn previous_state(
    context: u64,
    state: *mut abi::State,
) -> abi::Status {
    // SAFETY: the caller's, for this call.
    let state = unsafe { &mut *state };
    if context.is_multiple_of(10) {
        state.failure = abi::Failure::error("it could not save it".to_owned());
        return abi::ERROR;
    }
    if context.is_multiple_of(2) {
        return abi::END;
    }
    state.schema = 4;
    state.data = owned(bytes::Bytes::from_static(b"saved"));
    abi::READY
}

pub(crate) unsafe extern "C" fn request_reload(context: u64) {
    note(context, "reload".to_owned());
}

pub(crate) unsafe extern "C" fn request_restart(context: u64) {
    note(context, "restart".to_owned());
}
