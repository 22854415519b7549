//! Destructors of thread-locals that plugins register on the host's threads.
//!
//! glibc would keep the library mapped until such a thread ends, and an HTTP thread ends with the
//! host. So they stand in a list of ours, one for each thread, and are run on that thread before
//! the library is closed; or when the thread ends, whichever is first. Threads of a plugin's own
//! are left to glibc: they end before the library is closed anyway.

use std::{
    cell::RefCell,
    collections::HashMap,
    ffi::c_void,
    ptr,
    sync::{Mutex, PoisonError},
};

use super::{contained, hooks, owners::OwnerId};

pub(super) type Destructor = unsafe extern "C" fn(*mut c_void);

struct Entry {
    owner: OwnerId,
    destructor: Destructor,
    object: *mut c_void,
}

/// This thread's list. Not dropped by the standard library, whose own destructors come through
/// the very hook that fills it.
struct List {
    entries: Vec<Entry>,
    /// Whose destructor is being run just now: still counted, though no entry may be left.
    running: Vec<OwnerId>,
    /// Whether glibc has been asked to run what is left at the thread's end.
    at_exit: bool,
}

thread_local! {
    static LIST: RefCell<std::mem::ManuallyDrop<List>> = const {
        RefCell::new(std::mem::ManuallyDrop::new(List {
            entries: Vec::new(),
            running: Vec::new(),
            at_exit: false,
        }))
    };
}

/// On how many threads an owner has entries.
static THREADS: Mutex<Option<HashMap<OwnerId, usize>>> = Mutex::new(None);

fn count(owner: OwnerId, change: isize) {
    let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    let threads = threads.get_or_insert_default();
    let number = threads.entry(owner).or_default();
    *number = number.saturating_add_signed(change);
    if *number == 0 {
        threads.remove(&owner);
    }
}

pub(super) fn threads_with(owner: OwnerId) -> usize {
    let threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    threads
        .as_ref()
        .and_then(|threads| threads.get(&owner).copied())
        .unwrap_or(0)
}

/// Keeps a destructor for this thread. False: glibc must keep it.
pub(super) fn keep(owner: OwnerId, destructor: Destructor, object: *mut c_void) -> bool {
    let kept = LIST.try_with(|list| {
        let Ok(mut list) = list.try_borrow_mut() else {
            return false;
        };
        if !list.at_exit {
            // SAFETY: runs what is left on this very thread, from code that is never unmapped.
            list.at_exit = unsafe { hooks::real_thread_atexit(run_all, ptr::null_mut()) } == 0;
        }
        if !list.at_exit {
            return false;
        }
        if !list.has(owner) {
            count(owner, 1);
        }
        list.entries.push(Entry {
            owner,
            destructor,
            object,
        });
        true
    });
    kept.unwrap_or(false)
}

/// The destructor that this thread was running has aborted.
pub(super) fn aborted() {
    // Its thread stays counted: its code may be referred to from the stack that it left.
    let _ = LIST.try_with(|list| list.try_borrow_mut().map(|mut list| list.running.pop()));
}

/// Whether the owner has any on this thread.
pub(super) fn has(owner: OwnerId) -> bool {
    LIST.try_with(|list| list.try_borrow().is_ok_and(|list| list.has(owner)))
        .unwrap_or(false)
}

/// Runs an owner's destructors on this thread, the last registered first, and those that they
/// register. Returns how many.
pub(super) fn run(owner: OwnerId) -> usize {
    run_those(|entry| entry.owner == owner)
}

/// Forgets what an owner's last code, run by `dlclose`, has registered on this thread: it is
/// unmapped now.
pub(super) fn forget(owner: OwnerId) {
    let had = LIST.try_with(|list| {
        list.try_borrow_mut().is_ok_and(|mut list| {
            let had = list.has(owner);
            list.entries.retain(|entry| entry.owner != owner);
            had
        })
    });
    if had == Ok(true) {
        count(owner, -1);
    }
}

unsafe extern "C" fn run_all(_: *mut c_void) {
    // One that aborts is left behind, and the rest goes on.
    while contained::run(&mut || {
        run_those(|_| true);
    })
    .is_err()
    {
        aborted();
    }
    // What a later destructor of this thread registers needs a new request to glibc.
    let _ = LIST.try_with(|list| {
        if let Ok(mut list) = list.try_borrow_mut() {
            list.at_exit = false;
            list.entries = Vec::new();
        }
    });
}

fn run_those(wanted: impl Fn(&Entry) -> bool) -> usize {
    let mut done = 0;
    // Taken out one by one, and run without a borrow: a destructor may register another.
    while let Ok(Some(entry)) = LIST.try_with(|list| {
        let mut list = list.try_borrow_mut().ok()?;
        let at = list.entries.iter().rposition(&wanted)?;
        let entry = list.entries.remove(at);
        list.running.push(entry.owner);
        Some(entry)
    }) {
        // SAFETY: registered for this thread by code that is still mapped, and run once.
        unsafe { (entry.destructor)(entry.object) };
        done += 1;
        let left = LIST.try_with(|list| {
            list.try_borrow_mut().is_ok_and(|mut list| {
                list.running.pop();
                list.has(entry.owner)
            })
        });
        // Only now: until here its code was running.
        if left == Ok(false) {
            count(entry.owner, -1);
        }
    }
    done
}

impl List {
    fn has(&self, owner: OwnerId) -> bool {
        self.running.contains(&owner) || self.entries.iter().any(|entry| entry.owner == owner)
    }
}
