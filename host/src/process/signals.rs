//! Signal handlers that point into a library.

use std::{mem::MaybeUninit, ptr};

use libc::c_int;

/// Puts back the default for each signal whose handler is in the library, since the next such
/// signal would jump into what is no longer there.
pub(super) fn put_back(is_its: impl Fn(usize) -> bool) {
    for signal in 1..=libc::SIGRTMAX() {
        let Some(action) = look(signal) else { continue };
        if is_its(action.sa_sigaction) {
            tracing::warn!(
                event = "signal-handler-left",
                signal,
                "a plugin left its handler of signal {signal}; the default is back",
            );
            let default = libc::sigaction {
                sa_sigaction: libc::SIG_DFL,
                ..action
            };
            // SAFETY: a whole action; the default is always valid.
            unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
        }
    }
}

fn look(signal: c_int) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: only asks; signals that cannot be asked about are an error.
    let status = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: filled by the call above, when it says so.
    (status == 0).then(|| unsafe { action.assume_init() })
}
