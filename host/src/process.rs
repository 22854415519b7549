//! What a library leaves behind in the process besides its memory, and taking it back.
//!
//! `dlclose` alone does not unload Rust code. Destructors of thread-locals that plugin code
//! registered on the host's threads pin the library for as long as those threads live
//! (rust-lang/rust#59629); each copy of the standard library makes a pthread key and never deletes
//! it, so that load 1,024 aborts the process; and a key's destructor that runs after unmapping
//! crashes (rust-lang/rust#91979). So the program defines functions of the C library's, and
//! exports them to the dynamic linker, which hands them to plugins. Each finds out by address
//! which [`Owner`] is calling, and passes on everything that is nobody's:
//!
//! | hook | what it does for a plugin |
//! |---|---|
//! | `__cxa_thread_atexit_impl` | keeps destructors of the host's threads in lists of our own |
//! | `pthread_key_create`, `pthread_key_delete`, `tss_create`, `tss_delete` | remembers whose a key is |
//! | `pthread_create`, `thrd_create` | remembers whose a thread is |
//! | `sigaction`, `signal` | hands no generation the handler of another |
//! | `timer_create`, `timer_delete` | remembers whose a timer is, and calls its function itself |
//! | `on_exit` | calls the function before the library is closed |
//! | `abort` | a destructor that panics at a thread's end does not end the host |
//!
//! A program that embeds this crate without exporting them is found out by [`unloading_is_off`]; its
//! generations are quarantined instead of unloaded. So they are by design on everything but Linux
//! with glibc on x86-64 and AArch64: `SUPPORTED` says so, and nothing else does.
//!
//! The method, and what each step prevents, is measured in the design's spike; the standard
//! library promises none of it (rust-lang/unsafe-code-guidelines#526), so each unload is verified.

#![expect(unsafe_code, reason = "stands in for functions of the C library")]

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

mod aborts;
pub mod cgroup;
pub mod child;
mod clocks;
mod contained;
mod descriptors;
mod destructors;
mod ending;
mod environment;
mod exits;
mod heap;
mod hooks;
mod host_threads;
mod image;
mod inherited;
mod keys;
mod mappings;
mod owners;
mod parent;
mod passing;
mod signals;
mod threads;
mod timers;
mod title;
mod unread;
mod vitals;
mod watermark;

pub use descriptors::{Before, Ending, OpenedBy};
pub use ending::is_ending;
pub(crate) use heap::Heap;
pub use heap::{Usage, count_alone};
pub use host_threads::{Errand, Errands, HostThreads};
pub use image::{Execution, Origin};
pub use inherited::{adopt, take_variable};
pub use mappings::is_mapped;
pub use owners::Owner;
pub use parent::Parent;
pub(crate) use passing::{receive_with, send_with};
pub use threads::PluginThread;
pub use title::set_title;
pub use unread::has_unread;
pub use vitals::{Vitals, vitals};
pub use watermark::Watermark;

/// Whether this platform lets a library go at all.
const SUPPORTED: bool = cfg!(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
));

/// Why libraries cannot be unloaded here; `None`: they can.
#[must_use]
pub fn unloading_is_off() -> Option<&'static str> {
    if !SUPPORTED {
        return Some(
            "unloading works on Linux with glibc only; here every generation stays loaded",
        );
    }
    if !hooks::are_exported() {
        return Some(
            "the program does not export Replug's process hooks (link it as `replug` is, see \
             host/build.rs), so every generation stays loaded",
        );
    }
    None
}

/// Notes the signal handlers that are the host's own. To be called when they are in place, and
/// before the first library is opened.
pub fn remember_signals() {
    signals::remember();
}

/// Opens a library as `owner`: what its constructors register is the owner's already.
pub(crate) fn open_as<R>(owner: &Owner, path: &Path, open: impl FnOnce() -> R) -> R {
    owners::while_loading(owner, path, open)
}

/// How often destructors are run that make the other kind's anew. glibc, too, gives up at some
/// point (`PTHREAD_DESTRUCTOR_ITERATIONS`).
const ROUNDS: usize = 8;

impl Owner {
    /// Runs, on this thread, the owner's destructors of thread-locals and keys. Afterwards nothing
    /// of this thread's points into the library; if that cannot be, [`Owner::aborted`] or
    /// [`Owner::threads_to_leave`] tell.
    pub fn leave_this_thread(&self) {
        if !destructors::has(self.id()) && !keys::has(self.id()) {
            return;
        }
        let mut work = || {
            for _ in 0..ROUNDS {
                if destructors::run(self.id()) + keys::run(self.id()) == 0 {
                    return;
                }
            }
        };
        // Those that are left after one has aborted are run all the same.
        while contained::run(&mut work).is_err() {
            destructors::aborted();
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("?");
            aborts::remember(self.id(), format!("thread \"{name}\" of the host"));
        }
    }

    /// The thread on which the destructor of a thread-local of the owner's panicked, or called
    /// `abort` by itself, if one did.
    #[must_use]
    pub fn aborted(&self) -> Option<String> {
        aborts::of(self.id())
    }

    /// To be called on a thread of the host's that runs the owner's code and then ends: the library
    /// is closed only after that.
    pub(crate) fn visit(&self) {
        threads::visit(self.id());
    }

    /// Threads that have visited, and have not ended.
    pub(crate) fn visitors(&self) -> Vec<PluginThread> {
        threads::visitors(self.id())
    }

    /// The owner's threads that are still running.
    #[must_use]
    pub fn threads(&self) -> Vec<PluginThread> {
        threads::of(self.id())
    }

    /// How many of the host's threads still have destructors of the owner's to run.
    #[must_use]
    pub fn threads_to_leave(&self) -> usize {
        destructors::threads_with(self.id())
    }

    /// Calls what the owner wants called at the process's end, and gives the process texts of its
    /// own for those of the owner's in the environment.
    pub(crate) fn finish(&self, heap: &Heap) {
        exits::run(self.id());
        environment::copy_texts(|address| self.has(address) || heap.has(address));
    }

    /// Deletes the owner's timers.
    pub(crate) fn stop_timers(&self) {
        timers::delete(self.id());
    }

    /// Puts back the process's signal handlers that point into the library. Returns how many did:
    /// one may be running at this very moment.
    pub(crate) fn put_signals_back(&self) -> usize {
        signals::put_back(|address| self.has(address))
    }

    /// Its library is unmapped: gives up its addresses, since the next may be mapped there.
    pub(crate) fn unmapped(&self) {
        destructors::forget(self.id());
        keys::delete(self.id());
        self.release();
    }
}

/// The libraries that are loaded, by the names that the dynamic linker has for them.
pub(crate) fn loaded() -> HashSet<PathBuf> {
    owners::loaded()
}

/// Runs host code that a plugin has called, and whose threads are not the plugin's.
pub fn as_host<R>(work: impl FnOnce() -> R) -> R {
    threads::as_host(work)
}

/// How many pthread keys plugins have now; the process has 1,024 in all.
#[must_use]
pub fn plugin_keys() -> usize {
    keys::count()
}
