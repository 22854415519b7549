//! Functions that plugins want called at the process's end.
//!
//! Those of `atexit` the C library itself calls when the library is closed. Those of `on_exit` it
//! keeps for the end; so they are called before the library is closed instead.

use std::{
    ffi::{c_int, c_void},
    sync::{Mutex, PoisonError},
};

use super::owners::OwnerId;

pub(super) type AtExit = unsafe extern "C" fn(c_int, *mut c_void);

struct Exit {
    owner: OwnerId,
    function: AtExit,
    argument: *mut c_void,
}

// SAFETY: only handed back to the function that it came with, whose thread is not promised.
unsafe impl Send for Exit {}

static EXITS: Mutex<Vec<Exit>> = Mutex::new(Vec::new());

pub(super) fn keep(owner: OwnerId, function: AtExit, argument: *mut c_void) {
    let mut exits = EXITS.lock().unwrap_or_else(PoisonError::into_inner);
    exits.push(Exit {
        owner,
        function,
        argument,
    });
}

/// Calls an owner's, the last kept first.
pub(super) fn run(owner: OwnerId) {
    // Taken out one by one, and called without the lock: one may keep another.
    while let Some(exit) = {
        let mut exits = EXITS.lock().unwrap_or_else(PoisonError::into_inner);
        let last = exits.iter().rposition(|exit| exit.owner == owner);
        last.map(|at| exits.remove(at))
    } {
        // SAFETY: of code that is still mapped, called once.
        unsafe { (exit.function)(0, exit.argument) };
    }
}
