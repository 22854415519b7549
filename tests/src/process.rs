//! Processes that a host tells of, to be signalled.

use rustix::process::{Pid, Signal, kill_process};

/// The process of that number, as logs, status and apps say it.
///
/// # Panics
/// When none can have it.
#[must_use]
pub fn pid(number: u64) -> Pid {
    let number = i32::try_from(number).ok();
    number.and_then(Pid::from_raw).expect("a process's number")
}

/// Sends it a signal.
///
/// # Panics
/// When it is not there.
pub fn signal(number: u64, signal: Signal) {
    kill_process(pid(number), signal).unwrap();
}
