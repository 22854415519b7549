//! The functions that stand in for the C library's.
//!
//! They may be called before `main`, inside the dynamic linker, and by every library of the
//! process. So what is nobody's is passed on at the cost of one atomic load, and nothing here
//! panics or holds a lock while it calls out.

use std::{
    ffi::{CStr, c_int, c_void},
    mem,
    sync::atomic::{AtomicUsize, Ordering},
};

use libc::{pthread_attr_t, pthread_key_t, pthread_t};

use super::{
    destructors::{self, Destructor},
    keys,
    owners::{self, OwnerId},
    threads::{self, Start},
};

pub(super) use process_wide::{real_sigaction, real_timer_delete};

/// The C library's own function of a name, looked up once.
struct Real {
    name: &'static CStr,
    address: AtomicUsize,
}

impl Real {
    const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            address: AtomicUsize::new(0),
        }
    }

    fn address(&self) -> usize {
        let known = self.address.load(Ordering::Acquire);
        if known != 0 {
            return known;
        }
        // SAFETY: the next definition after ours; the name ends with a NUL.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) } as usize;
        if found == 0 {
            // glibc has all of them since 2.18; without one nothing can go on.
            // SAFETY: ends the process, with the code that an abort has in a shell.
            unsafe { libc::_exit(134) }
        }
        self.address.store(found, Ordering::Release);
        found
    }
}

static THREAD_ATEXIT: Real = Real::new(c"__cxa_thread_atexit_impl");
static KEY_CREATE: Real = Real::new(c"pthread_key_create");
static KEY_DELETE: Real = Real::new(c"pthread_key_delete");
static CREATE: Real = Real::new(c"pthread_create");

type ThreadAtexit = unsafe extern "C" fn(Destructor, *mut c_void, *mut c_void) -> c_int;
type KeyCreate = unsafe extern "C" fn(*mut pthread_key_t, Option<Destructor>) -> c_int;
type KeyDelete = unsafe extern "C" fn(pthread_key_t) -> c_int;
type Create =
    unsafe extern "C" fn(*mut pthread_t, *const pthread_attr_t, Start, *mut c_void) -> c_int;
unsafe extern "C" {
    /// Names this program to `__cxa_thread_atexit_impl`; every linked object has its own.
    static __dso_handle: u8;
}

/// Asks glibc to run a destructor at this thread's end.
///
/// # Safety
/// `destructor` must be code that is never unmapped.
pub(super) unsafe fn real_thread_atexit(destructor: Destructor, object: *mut c_void) -> c_int {
    // SAFETY: glibc's function of that name has this type.
    let real = unsafe { mem::transmute::<usize, ThreadAtexit>(THREAD_ATEXIT.address()) };
    // SAFETY: vouched for by the caller; the handle is this program's.
    unsafe {
        real(
            destructor,
            object,
            (&raw const __dso_handle).cast_mut().cast(),
        )
    }
}

pub(super) fn real_key_delete(key: pthread_key_t) -> c_int {
    // SAFETY: glibc's function of that name has this type.
    let real = unsafe { mem::transmute::<usize, KeyDelete>(KEY_DELETE.address()) };
    // SAFETY: a key that is none is refused.
    unsafe { real(key) }
}

/// Looks all of the C library's own functions up: some of them may be called where that cannot be
/// done, in a signal handler or while a library is opened.
pub(super) fn look_up() {
    for real in [&THREAD_ATEXIT, &KEY_CREATE, &KEY_DELETE, &CREATE]
        .into_iter()
        .chain(c11::REALS)
        .chain(process_wide::REALS)
    {
        real.address();
    }
}

/// Whether the dynamic linker hands our functions to plugins.
pub(super) fn are_exported() -> bool {
    let ours = [
        (
            c"__cxa_thread_atexit_impl",
            __cxa_thread_atexit_impl as *const () as usize,
        ),
        (c"pthread_create", pthread_create as *const () as usize),
        (
            c"pthread_key_create",
            pthread_key_create as *const () as usize,
        ),
        (
            c"pthread_key_delete",
            pthread_key_delete as *const () as usize,
        ),
    ];
    let mut all = ours
        .into_iter()
        .chain(c11::functions())
        .chain(process_wide::functions());
    all.all(|(name, address)| {
        // SAFETY: the first definition in the order of look-up; the name ends with a NUL.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as usize;
        found == address
    })
}

/// Stands in for glibc's: `dso` is an address in the library that calls.
///
/// # Safety
/// As the C++ ABI says.
#[unsafe(no_mangle)]
unsafe extern "C" fn __cxa_thread_atexit_impl(
    destructor: Destructor,
    object: *mut c_void,
    dso: *mut c_void,
) -> c_int {
    if let Some(owner) = owners::of(dso as usize)
        && !threads::this_is_a_plugins()
        && destructors::keep(owner, destructor, object)
    {
        return 0;
    }
    // SAFETY: glibc's function of that name has this type.
    let real = unsafe { mem::transmute::<usize, ThreadAtexit>(THREAD_ATEXIT.address()) };
    // SAFETY: handed on as it came.
    unsafe { real(destructor, object, dso) }
}

/// Defines a hook that also gets the address it was called from, which is the only thing that
/// tells whose a call without a pointer to code is.
macro_rules! with_caller {
    ($name:ident, $to:ident, $x86:literal, $arm:literal) => {
        /// # Safety
        /// As POSIX says.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            #[cfg(target_arch = "x86_64")]
            std::arch::naked_asm!($x86, "jmp {to}", to = sym $to);
            #[cfg(target_arch = "aarch64")]
            std::arch::naked_asm!($arm, "b {to}", to = sym $to);
        }
    };
}

mod c11;
mod process_wide;

with_caller!(
    pthread_key_create,
    key_create,
    "mov rdx, [rsp]",
    "mov x2, x30"
);
with_caller!(pthread_create, create, "mov r8, [rsp]", "mov x4, x30");

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

fn remember_key(key: pthread_key_t, destructor: Option<Destructor>, caller: usize) {
    let owner = destructor
        .and_then(|destructor| owners::of(destructor as usize))
        .or_else(|| owners::of(caller))
        .or_else(|| owners::of_constructor(caller));
    if let Some(owner) = owner {
        keys::remember(owner, key, destructor);
    }
}

/// Stands in for glibc's.
///
/// # Safety
/// As POSIX says.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_key_delete(key: pthread_key_t) -> c_int {
    keys::forget(key);
    real_key_delete(key)
}

/// Whose thread that is going to be. Another library may start it on a plugin's behalf, as the C++
/// library does: then the plugin is among those who called.
fn starter(start: usize, caller: usize) -> Option<OwnerId> {
    if threads::is_as_host() {
        return None;
    }
    owners::of(start)
        .or_else(|| owners::of(caller))
        .or_else(threads::owner_of_this)
        .or_else(owners::among_callers)
}

unsafe extern "C" fn create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    start: Start,
    argument: *mut c_void,
    caller: usize,
) -> c_int {
    // SAFETY: glibc's function of that name has this type.
    let real = unsafe { mem::transmute::<usize, Create>(CREATE.address()) };
    let Some(owner) = starter(start as usize, caller) else {
        // SAFETY: handed on as it came.
        return unsafe { real(thread, attributes, start, argument) };
    };
    start_for(owner, start, argument, libc::EAGAIN, |entry| {
        // SAFETY: `run` takes the entry over, once.
        unsafe { real(thread, attributes, threads::run, entry) }
    })
}

/// Starts a thread that is in the census from its beginning. `make` has the C library make it, with
/// a function that hands its argument to [`threads::run`].
fn start_for(
    owner: OwnerId,
    start: Start,
    argument: *mut c_void,
    refusal: c_int,
    make: impl FnOnce(*mut c_void) -> c_int,
) -> c_int {
    if owners::is_closing(owner) {
        // By an exit handler, within `dlclose`: its code is about to be unmapped.
        return refusal;
    }
    let entry = threads::begin(owner, start, argument);
    let status = make(entry.cast());
    if status != 0 {
        threads::never_began(entry);
    }
    status
}
