//! POSIX timers that plugins make.
//!
//! One that nobody deletes goes on when the library is gone, and glibc calls its function
//! (`SIGEV_THREAD`) on threads that it makes without asking anyone. So such a timer is given a
//! function of ours and a number, by which that finds the plugin's, if it is still there.

use std::{
    ffi::{c_int, c_void},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use libc::{sigevent, timer_t};

use super::{hooks, owners::OwnerId, threads};

type Notify = unsafe extern "C-unwind" fn(*mut c_void);

/// glibc's `struct sigevent`, as `SIGEV_THREAD` has it; the libc crate names another part of its
/// union.
#[repr(C)]
#[derive(Clone, Copy)]
struct ThreadEvent {
    value: *mut c_void,
    signal: c_int,
    notify: c_int,
    function: Option<Notify>,
    attributes: *mut c_void,
    rest: [u8; 32],
}

const _: () = assert!(size_of::<ThreadEvent>() == size_of::<sigevent>());
const _: () =
    assert!(mem::offset_of!(ThreadEvent, notify) == mem::offset_of!(sigevent, sigev_notify));

struct Timer {
    owner: OwnerId,
    number: usize,
    /// `None`: it is not made yet.
    timer: Option<usize>,
    call: Option<(Notify, usize)>,
}

struct Timers {
    next: usize,
    all: Vec<Timer>,
}

static TIMERS: Mutex<Timers> = Mutex::new(Timers {
    next: 1,
    all: Vec::new(),
});

fn timers() -> MutexGuard<'static, Timers> {
    TIMERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A timer that is about to be made. Forgotten again when dropped, unless it was.
pub(super) struct Entry {
    number: usize,
    event: Option<ThreadEvent>,
    made: bool,
}

impl Entry {
    pub(super) fn new(owner: OwnerId, event: Option<&sigevent>) -> Self {
        let event = event.and_then(thread_event);
        let mut timers = timers();
        let number = timers.next;
        timers.next += 1;
        timers.all.push(Timer {
            owner,
            number,
            timer: None,
            call: event.and_then(|event| Some((event.function?, event.value as usize))),
        });
        let event = event.map(|event| ThreadEvent {
            value: number as *mut c_void,
            function: Some(notify),
            ..event
        });
        Self {
            number,
            event,
            made: false,
        }
    }

    /// What to make it with.
    pub(super) fn event_or(&mut self, original: *mut sigevent) -> *mut sigevent {
        match &mut self.event {
            Some(event) => (&raw mut *event).cast(),
            None => original,
        }
    }

    pub(super) fn is_timer(&mut self, timer: timer_t) {
        let mut timers = timers();
        if let Some(entry) = timers.all.iter_mut().find(|it| it.number == self.number) {
            entry.timer = Some(timer as usize);
            self.made = true;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.made {
            timers().all.retain(|timer| timer.number != self.number);
        }
    }
}

/// Somebody deletes it.
pub(super) fn forget(timer: timer_t) {
    timers()
        .all
        .retain(|other| other.timer != Some(timer as usize));
}

/// Deletes an owner's. What their functions have begun by then is in the census of threads.
pub(super) fn delete(owner: OwnerId) {
    let its: Vec<Timer> = timers()
        .all
        .extract_if(.., |it| it.owner == owner)
        .collect();
    for timer in its.into_iter().filter_map(|its| its.timer) {
        // SAFETY: made by the owner, and not deleted so far.
        unsafe { hooks::real_timer_delete(timer as timer_t) };
    }
}

/// The function of a timer that calls one.
pub(super) fn function_of(event: Option<&sigevent>) -> Option<usize> {
    Some(thread_event(event?)?.function? as usize)
}

fn thread_event(event: &sigevent) -> Option<ThreadEvent> {
    // SAFETY: the same structure, see above; the kind says which part of the union it has.
    (event.sigev_notify == libc::SIGEV_THREAD)
        .then(|| unsafe { *(&raw const *event).cast::<ThreadEvent>() })
}

/// Called by glibc in the plugin's stead, on a thread that it has made for this.
unsafe extern "C-unwind" fn notify(number: *mut c_void) {
    let found = {
        let timers = timers();
        let timer = timers.all.iter().find(|it| it.number == number as usize);
        let found = timer.and_then(|timer| Some((timer.owner, timer.call?)));
        if let Some((owner, _)) = found {
            // Under the lock, so that the library is not closed in between. To its very end: keys'
            // destructors are still to come when the function has returned.
            threads::enter(owner);
        }
        found
    };
    if let Some((_, (function, value))) = found {
        // SAFETY: of code that stays mapped as long as this thread is there, with the plugin's own
        // value.
        unsafe { function(value as *mut c_void) };
        threads::ends();
    }
}
