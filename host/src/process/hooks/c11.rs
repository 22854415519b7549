//! Hooks of C11's threads and keys: in glibc they are pthreads', made without asking our hooks.

use std::{
    ffi::{CStr, c_int, c_void},
    mem,
};

use libc::{pthread_key_t, pthread_t};

use super::{
    super::{
        destructors::Destructor,
        keys,
        threads::{self, Start},
    },
    Real, remember_key, start_for, starter,
};

static CREATE: Real = Real::new(c"thrd_create");
static KEY_CREATE: Real = Real::new(c"tss_create");
static KEY_DELETE: Real = Real::new(c"tss_delete");

pub(super) static REALS: [&Real; 3] = [&CREATE, &KEY_CREATE, &KEY_DELETE];

type ThreadStart = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;
type Create = unsafe extern "C" fn(*mut pthread_t, ThreadStart, *mut c_void) -> c_int;
type KeyCreate = unsafe extern "C" fn(*mut pthread_key_t, Option<Destructor>) -> c_int;
type KeyDelete = unsafe extern "C" fn(pthread_key_t);

/// `thrd_error`, as glibc has it.
const ERROR: c_int = 2;

/// The functions here, by name.
pub(super) fn functions() -> [(&'static CStr, usize); 3] {
    [
        (c"thrd_create", thrd_create as *const () as usize),
        (c"tss_create", tss_create as *const () as usize),
        (c"tss_delete", tss_delete as *const () as usize),
    ]
}

with_caller!(thrd_create, create, "mov rcx, [rsp]", "mov x3, x30");
with_caller!(tss_create, key_create, "mov rdx, [rsp]", "mov x2, x30");

unsafe extern "C" fn create(
    thread: *mut pthread_t,
    start: ThreadStart,
    argument: *mut c_void,
    caller: usize,
) -> c_int {
    // SAFETY: glibc's function of that name has this type.
    let real = unsafe { mem::transmute::<usize, Create>(CREATE.address()) };
    let Some(owner) = starter(start as usize, caller) else {
        // SAFETY: handed on as it came.
        return unsafe { real(thread, start, argument) };
    };
    // SAFETY: both return in the same register, of which `run` takes the lower half again.
    let start = unsafe { mem::transmute::<ThreadStart, Start>(start) };
    start_for(owner, start, argument, ERROR, |entry| {
        // SAFETY: `run` takes the entry over, once.
        unsafe { real(thread, run, entry) }
    })
}

unsafe extern "C-unwind" fn run(beginning: *mut c_void) -> c_int {
    threads::run(beginning) as usize as c_int
}

unsafe extern "C" fn key_create(
    key: *mut pthread_key_t,
    destructor: Option<Destructor>,
    caller: usize,
) -> c_int {
    // SAFETY: glibc's function of that name has this type.
    let real = unsafe { mem::transmute::<usize, KeyCreate>(KEY_CREATE.address()) };
    // SAFETY: handed on as it came.
    let status = unsafe { real(key, destructor) };
    if status == 0 {
        // SAFETY: filled by the call above.
        remember_key(unsafe { *key }, destructor, caller);
    }
    status
}

/// Stands in for glibc's.
///
/// # Safety
/// As C11 says.
#[unsafe(no_mangle)]
unsafe extern "C" fn tss_delete(key: pthread_key_t) {
    keys::forget(key);
    // SAFETY: glibc's function of that name has this type.
    let real = unsafe { mem::transmute::<usize, KeyDelete>(KEY_DELETE.address()) };
    // SAFETY: handed on as it came.
    unsafe { real(key) }
}
