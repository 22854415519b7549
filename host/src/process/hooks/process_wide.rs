//! Hooks of what belongs to the process as a whole: signals, timers, its end.

use std::{
    ffi::{CStr, c_int, c_void},
    mem,
};

use libc::{clockid_t, sigevent, sighandler_t, timer_t};
use replug_plugin::abi;

use super::{
    super::{
        contained,
        exits::{self, AtExit},
        owners, signals, threads, timers,
    },
    Real,
};

static SIGACTION: Real = Real::new(c"sigaction");
static SIGNAL: Real = Real::new(c"signal");
static ABORT: Real = Real::new(c"abort");
static ON_EXIT: Real = Real::new(c"on_exit");
static TIMER_CREATE: Real = Real::new(c"timer_create");
static TIMER_DELETE: Real = Real::new(c"timer_delete");

pub(super) static REALS: [&Real; 6] = [
    &SIGACTION,
    &SIGNAL,
    &ABORT,
    &ON_EXIT,
    &TIMER_CREATE,
    &TIMER_DELETE,
];

type Sigaction = unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;
type Signal = unsafe extern "C" fn(c_int, sighandler_t) -> sighandler_t;
type OnExit = unsafe extern "C" fn(AtExit, *mut c_void) -> c_int;
type TimerCreate = unsafe extern "C" fn(clockid_t, *mut sigevent, *mut timer_t) -> c_int;
type TimerDelete = unsafe extern "C" fn(timer_t) -> c_int;

/// The functions here, by name.
pub(super) fn functions() -> [(&'static CStr, usize); 7] {
    [
        (c"abort", abort as *const () as usize),
        (c"on_exit", on_exit as *const () as usize),
        (abi::HEAP_SYMBOL, replug_heap_1 as *const () as usize),
        (c"sigaction", sigaction as *const () as usize),
        (c"signal", signal as *const () as usize),
        (c"timer_create", timer_create as *const () as usize),
        (c"timer_delete", timer_delete as *const () as usize),
    ]
}

with_caller!(sigaction, set_action, "mov rcx, [rsp]", "mov x3, x30");
with_caller!(signal, set_handler, "mov rdx, [rsp]", "mov x2, x30");
with_caller!(timer_create, make_timer, "mov rcx, [rsp]", "mov x3, x30");

unsafe extern "C" fn set_action(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
    caller: usize,
) -> c_int {
    // SAFETY: handed on as it came.
    let status = unsafe { real_sigaction(signal, new, old) };
    if status == 0 && !old.is_null() {
        // SAFETY: filled by the call above.
        let old = unsafe { &mut *old };
        signals::hide_from(owners::of(caller), signal, old);
    }
    status
}

/// glibc's own.
///
/// # Safety
/// As POSIX says.
pub(in super::super) unsafe fn real_sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: glibc's function of that name has this type.
    let real = unsafe { mem::transmute::<usize, Sigaction>(SIGACTION.address()) };
    // SAFETY: vouched for by the caller.
    unsafe { real(signal, new, old) }
}

unsafe extern "C" fn set_handler(
    signal: c_int,
    handler: sighandler_t,
    caller: usize,
) -> sighandler_t {
    // SAFETY: glibc's function of that name has this type.
    let real = unsafe { mem::transmute::<usize, Signal>(SIGNAL.address()) };
    // SAFETY: handed on as it came.
    let old = unsafe { real(signal, handler) };
    signals::handler_for(owners::of(caller), signal, old)
}

/// Stands in for glibc's: a plugin's destructor that aborts does not end the host.
#[unsafe(no_mangle)]
unsafe extern "C" fn abort() -> ! {
    contained::take_abort();
    threads::stay_if_ending();
    // SAFETY: glibc's function of that name has this type.
    let real = unsafe { mem::transmute::<usize, unsafe extern "C" fn() -> !>(ABORT.address()) };
    // SAFETY: ends the process.
    unsafe { real() }
}

/// Where the memory of the library at that address comes from: see [`abi::FindHeap`].
#[unsafe(no_mangle)]
unsafe extern "C" fn replug_heap_1(address: *const c_void) -> *const abi::Heap {
    owners::heap_of(address as usize)
}

/// Stands in for glibc's, which would call the function at the host's end, long after its code is
/// gone.
///
/// # Safety
/// As glibc's manual says.
#[unsafe(no_mangle)]
unsafe extern "C" fn on_exit(function: AtExit, argument: *mut c_void) -> c_int {
    if let Some(owner) = owners::of(function as usize) {
        exits::keep(owner, function, argument);
        return 0;
    }
    // SAFETY: glibc's function of that name has this type.
    let real = unsafe { mem::transmute::<usize, OnExit>(ON_EXIT.address()) };
    // SAFETY: handed on as it came.
    unsafe { real(function, argument) }
}

unsafe extern "C" fn make_timer(
    clock: clockid_t,
    event: *mut sigevent,
    timer: *mut timer_t,
    caller: usize,
) -> c_int {
    // SAFETY: glibc's function of that name has this type.
    let real = unsafe { mem::transmute::<usize, TimerCreate>(TIMER_CREATE.address()) };
    // SAFETY: the caller's, null or whole.
    let original = unsafe { event.as_ref() };
    let owner = owners::of(caller)
        .or_else(|| owners::of(timers::function_of(original)?))
        .or_else(owners::among_callers);
    let Some(owner) = owner else {
        // SAFETY: handed on as it came.
        return unsafe { real(clock, event, timer) };
    };
    let mut entry = timers::Entry::new(owner, original);
    // SAFETY: handed on as it came, but for the function that it calls.
    let status = unsafe { real(clock, entry.event_or(event), timer) };
    if status == 0 {
        // SAFETY: filled by the call above.
        entry.is_timer(unsafe { *timer });
    }
    status
}

/// Stands in for glibc's.
///
/// # Safety
/// As POSIX says.
#[unsafe(no_mangle)]
unsafe extern "C" fn timer_delete(timer: timer_t) -> c_int {
    timers::forget(timer);
    // SAFETY: handed on as it came.
    unsafe { real_timer_delete(timer) }
}

/// glibc's own.
///
/// # Safety
/// As POSIX says.
pub(in super::super) unsafe fn real_timer_delete(timer: timer_t) -> c_int {
    // SAFETY: glibc's function of that name has this type.
    let real = unsafe { mem::transmute::<usize, TimerDelete>(TIMER_DELETE.address()) };
    // SAFETY: vouched for by the caller.
    unsafe { real(timer) }
}
