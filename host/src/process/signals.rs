//! Signal handlers that point into a library.

use std::{collections::HashMap, mem::MaybeUninit, ptr, sync::OnceLock};

use libc::c_int;

/// The host's own handlers, and the defaults: what there was before any plugin.
static BEFORE: OnceLock<HashMap<c_int, libc::sigaction>> = OnceLock::new();

/// Notes the handlers that there are; the first call counts.
pub(super) fn remember() {
    BEFORE.get_or_init(|| {
        (1..=libc::SIGRTMAX())
            .filter_map(|signal| Some((signal, look(signal)?)))
            .collect()
    });
}

/// Puts back the host's own for each signal whose handler is in the library, since the next such
/// signal would jump into what is no longer there.
pub(super) fn put_back(is_its: impl Fn(usize) -> bool) {
    for signal in 1..=libc::SIGRTMAX() {
        let Some(action) = look(signal) else { continue };
        if !is_its(action.sa_sigaction) {
            continue;
        }
        let default = libc::sigaction {
            sa_sigaction: libc::SIG_DFL,
            ..action
        };
        let before = BEFORE.get().and_then(|before| before.get(&signal).copied());
        let action = before.unwrap_or(default);
        // SAFETY: a whole action, which was valid before; its code is the host's, or the default.
        unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        tracing::warn!(
            event = "signal-handler-left",
            signal,
            "a plugin left its handler of signal {signal}; the host's is back",
        );
    }
}

fn look(signal: c_int) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: only asks; signals that cannot be asked about are an error.
    let status = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: filled by the call above, when it says so.
    (status == 0).then(|| unsafe { action.assume_init() })
}
