//! Signal handlers that point into a library.

use std::{collections::HashMap, mem::MaybeUninit, ptr, sync::OnceLock};

use libc::{c_int, sighandler_t};

use super::{
    hooks,
    owners::{self, OwnerId},
};

/// The host's own handlers, and the defaults: what there was before any plugin.
static BEFORE: OnceLock<HashMap<c_int, libc::sigaction>> = OnceLock::new();

/// Notes the handlers that there are; the first call counts.
pub(super) fn remember() {
    hooks::look_up();
    BEFORE.get_or_init(|| {
        (1..=libc::SIGRTMAX())
            .filter_map(|signal| Some((signal, look(signal)?)))
            .collect()
    });
}

/// What a plugin that replaces a handler is told was there before. Never another generation's: it
/// would go on calling that after it is unmapped, as `signal-hook` and tokio do.
pub(super) fn hide_from(caller: Option<OwnerId>, signal: c_int, old: &mut libc::sigaction) {
    if is_anothers(caller, old.sa_sigaction) {
        *old = before(signal, old);
    }
}

/// The same for a handler alone.
pub(super) fn handler_for(
    caller: Option<OwnerId>,
    signal: c_int,
    old: sighandler_t,
) -> sighandler_t {
    if !is_anothers(caller, old) {
        return old;
    }
    BEFORE
        .get()
        .and_then(|before| before.get(&signal))
        .map_or(libc::SIG_DFL, |action| action.sa_sigaction)
}

fn is_anothers(caller: Option<OwnerId>, handler: usize) -> bool {
    caller.is_some_and(|caller| owners::of(handler).is_some_and(|owner| owner != caller))
}

/// The host's own action, or the default.
fn before(signal: c_int, now: &libc::sigaction) -> libc::sigaction {
    let default = libc::sigaction {
        sa_sigaction: libc::SIG_DFL,
        ..*now
    };
    let before = BEFORE.get().and_then(|before| before.get(&signal).copied());
    before.unwrap_or(default)
}

/// Puts back the host's own for each signal whose handler is in the library, since the next such
/// signal would jump into what is no longer there. Returns for how many.
pub(super) fn put_back(is_its: impl Fn(usize) -> bool) -> usize {
    let mut count = 0;
    for signal in 1..=libc::SIGRTMAX() {
        let Some(action) = look(signal) else { continue };
        if !is_its(action.sa_sigaction) {
            continue;
        }
        let action = harmless(signal, before(signal, &action));
        let mut taken = action;
        // SAFETY: a whole action, which was valid before; its code is the host's, or the default.
        unsafe { hooks::real_sigaction(signal, &raw const action, &raw mut taken) };
        if !is_its(taken.sa_sigaction) {
            // Another has just put its own there.
            // SAFETY: as it was a moment ago.
            unsafe { hooks::real_sigaction(signal, &raw const taken, ptr::null_mut()) };
            continue;
        }
        count += 1;
        tracing::warn!(
            event = "signal-handler-left",
            signal,
            "a plugin left its handler of signal {signal}; the host's is back",
        );
    }
    count
}

/// The default of these ends the process, and it is the plugin that brought them about: a timer of
/// its, or somebody who was told to signal its handler. They do nothing then. They are not ignored
/// (`SIG_IGN`), which child processes would inherit.
fn harmless(signal: c_int, action: libc::sigaction) -> libc::sigaction {
    unsafe extern "C" fn nothing(_: c_int) {}

    let brought_about = [
        libc::SIGALRM,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGIO,
    ];
    let is_real_time = (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&signal);
    if action.sa_sigaction != libc::SIG_DFL || !(is_real_time || brought_about.contains(&signal)) {
        return action;
    }
    libc::sigaction {
        sa_sigaction: nothing as *const () as usize,
        sa_flags: libc::SA_RESTART,
        ..action
    }
}

/// Signals that are ignored.
pub(super) fn ignored() -> Vec<c_int> {
    hooks::look_up();
    let ignores = |signal: &c_int| look(*signal).is_some_and(|it| it.sa_sigaction == libc::SIG_IGN);
    (1..=libc::SIGRTMAX()).filter(ignores).collect()
}

/// Signals that tell hosts things. A new image does anyway what some of them ask for: it is fresh, and
/// reads its configuration.
pub(super) const MEANT_FOR_HOSTS: [c_int; 5] = [
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGHUP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Actions that were changed for the next process image.
#[must_use]
pub(super) struct Undo(Vec<(c_int, libc::sigaction)>);

/// Handlers end with the image, but what is ignored stays so: all but `ignored` have their default
/// in the next image. Only [`MEANT_FOR_HOSTS`] are ignored until that one waits for them: they mean
/// what is being done, or little, and would end or stop the process.
pub(super) fn prepare_for_exec(ignored: &[c_int]) -> Undo {
    let mut undo = Undo(Vec::new());
    for signal in 1..=libc::SIGRTMAX() {
        let Some(now) = look(signal) else { continue };
        let ignore = MEANT_FOR_HOSTS.contains(&signal) || ignored.contains(&signal);
        let action = match (now.sa_sigaction == libc::SIG_IGN, ignore) {
            (true, false) => libc::SIG_DFL,
            (false, true) => libc::SIG_IGN,
            _ => continue,
        };
        set(
            signal,
            &libc::sigaction {
                sa_sigaction: action,
                sa_flags: 0,
                ..now
            },
        );
        undo.0.push((signal, now));
    }
    undo
}

impl Undo {
    /// There is no next image.
    pub(super) fn put_back(self) {
        for (signal, action) in self.0 {
            set(signal, &action);
        }
    }
}

fn set(signal: c_int, action: &libc::sigaction) {
    // SAFETY: a whole action: one that was in force, or one without a handler.
    unsafe { hooks::real_sigaction(signal, action, ptr::null_mut()) };
}

fn look(signal: c_int) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: only asks; signals that cannot be asked about are an error.
    let status = unsafe { hooks::real_sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: filled by the call above, when it says so.
    (status == 0).then(|| unsafe { action.assume_init() })
}
