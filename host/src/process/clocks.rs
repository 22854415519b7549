//! The process's interval timers (`setitimer(2)`, `alarm(2)`).
//!
//! They outlive `execve`, and the handlers of their signals do not: the next process image would be
//! ended by an alarm that a plugin of this one has set.

#![expect(unsafe_code, reason = "calls functions of the C library")]

use std::{mem, ptr};

use libc::{c_int, itimerval};

// The same on each system, and not in the libc crate.
const REAL: c_int = 0;
const VIRTUAL: c_int = 1;
const PROFILING: c_int = 2;

/// Clocks that were stopped while they ran.
#[must_use]
pub(super) struct Running(Vec<(c_int, itimerval)>);

/// Stops all.
pub(super) fn stop() -> Running {
    // SAFETY: plain data, for which zeros are a value: no time, which stops one.
    let none: itimerval = unsafe { mem::zeroed() };
    let stopped = [REAL, VIRTUAL, PROFILING].into_iter().filter_map(|clock| {
        let mut left = none;
        // SAFETY: `none` is whole, and `left` has room.
        let status = unsafe { libc::setitimer(clock, &raw const none, &raw mut left) };
        let ran = left.it_value.tv_sec != 0 || left.it_value.tv_usec != 0;
        (status == 0 && ran).then_some((clock, left))
    });
    Running(stopped.collect())
}

/// Has them go on where they were.
pub(super) fn go_on(running: Running) {
    for (clock, left) in running.0 {
        // SAFETY: `left` is what the system gave, and nothing is asked for.
        unsafe { libc::setitimer(clock, &raw const left, ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_stopped_does_not_tick_and_goes_on_where_it_was() {
        let seconds = |clock| {
            // SAFETY: plain data, for which zeros are a value.
            let mut left: itimerval = unsafe { mem::zeroed() };
            // SAFETY: `left` has room.
            assert_eq!(unsafe { libc::getitimer(clock, &raw mut left) }, 0);
            left.it_value.tv_sec
        };
        // One that other tests do not use, and that is far from its end.
        let clock = VIRTUAL;
        // SAFETY: plain data, for which zeros are a value.
        let mut hour: itimerval = unsafe { mem::zeroed() };
        hour.it_value.tv_sec = 3600;
        // SAFETY: `hour` is whole, and nothing is asked for.
        unsafe { libc::setitimer(clock, &raw const hour, ptr::null_mut()) };
        let running = stop();
        assert_eq!(seconds(clock), 0);
        go_on(running);
        assert!(seconds(clock) > 3000);
        drop(stop());
    }
}
