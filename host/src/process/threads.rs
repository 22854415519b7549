//! Threads that plugins start: the census.

use std::{
    cell::Cell,
    ffi::c_void,
    fs, io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{aborts, owners::OwnerId};

/// May be unwound through: `pthread_exit` does.
pub(super) type Start = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// A thread of a plugin's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginThread {
    /// Its name, as Linux keeps it: 15 bytes at most.
    pub name: String,
    /// Its id, as `ps -L` and `top -H` show it; 0: it has not begun to run.
    pub id: i32,
}

struct Entry {
    owner: OwnerId,
    /// Tells entries apart before there is an id.
    number: u64,
    id: i32,
    /// When it began, in the kernel's ticks: an id may be used again, but not at that time.
    since: Option<u64>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The plugin started it.
    Its,
    /// The host started it, to run the plugin's code for a while.
    Visitor,
}

struct Census {
    next: u64,
    entries: Vec<Entry>,
    /// At so many entries those of threads that have ended are removed.
    prune_at: usize,
}

const PRUNE_AT: usize = 64;

static CENSUS: Mutex<Census> = Mutex::new(Census {
    next: 1,
    entries: Vec::new(),
    prune_at: PRUNE_AT,
});

fn census() -> MutexGuard<'static, Census> {
    CENSUS.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// 0: this thread is the host's.
    static OWNER: Cell<OwnerId> = const { Cell::new(0) };
    /// The host's code is running, whoever has called it.
    static AS_HOST: Cell<bool> = const { Cell::new(false) };
    /// A plugin's thread whose work is done: only destructors are still run.
    static ENDING: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn this_is_a_plugins() -> bool {
    owner_of_this().is_some()
}

/// Whose thread this is; what it starts is the same plugin's, whoever's code starts it.
pub(super) fn owner_of_this() -> Option<OwnerId> {
    OWNER.try_with(Cell::get).ok().filter(|owner| *owner != 0)
}

/// Runs host code that a plugin has called: threads that it starts are the host's.
pub(super) fn as_host<R>(work: impl FnOnce() -> R) -> R {
    let before = AS_HOST.try_with(|flag| flag.replace(true));
    let result = work();
    if let Ok(before) = before {
        let _ = AS_HOST.try_with(|flag| flag.set(before));
    }
    result
}

/// Whether this thread is in [`as_host`].
pub(super) fn is_as_host() -> bool {
    AS_HOST.try_with(Cell::get).unwrap_or(false)
}

/// What a new thread is told.
pub(super) struct Beginning {
    owner: OwnerId,
    number: u64,
    start: Start,
    argument: *mut c_void,
}

/// In the census before it exists, so that it is missed at no time.
pub(super) fn begin(owner: OwnerId, start: Start, argument: *mut c_void) -> *mut Beginning {
    let number = push(&mut census(), owner, Kind::Its);
    Box::into_raw(Box::new(Beginning {
        owner,
        number,
        start,
        argument,
    }))
}

/// The system gave no thread.
pub(super) fn never_began(beginning: *mut Beginning) {
    // SAFETY: made by `begin`, and taken over by nobody.
    let beginning = unsafe { Box::from_raw(beginning) };
    census()
        .entries
        .retain(|entry| entry.number != beginning.number);
}

/// A plugin's thread, from its beginning. It leaves the census when the kernel no longer has it:
/// after its start function has returned it still runs the plugin's destructors.
pub(super) extern "C-unwind" fn run(beginning: *mut c_void) -> *mut c_void {
    // SAFETY: made by `begin` for this thread alone.
    let beginning = unsafe { Box::from_raw(beginning.cast::<Beginning>()) };
    let Beginning {
        owner,
        number,
        start,
        argument,
    } = *beginning;
    // It has inherited the name of the thread that started it, which may be the host's. A name that
    // its own code gives it comes later.
    // SAFETY: at most 16 bytes, and they end with a NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"unnamed".as_ptr()) };
    begins(owner, number);
    let result = start(argument);
    ends();
    result
}

/// This thread, which the C library has made for a plugin's function, is the plugin's from now on.
pub(super) fn enter(owner: OwnerId) {
    let number = push(&mut census(), owner, Kind::Its);
    begins(owner, number);
}

/// This thread of a plugin's has done its work: only destructors are still run.
pub(super) fn ends() {
    ENDING.set(true);
}

fn begins(owner: OwnerId, number: u64) {
    OWNER.set(owner);
    is_this(number);
}

/// The entry of that number is of the thread that calls.
fn is_this(number: u64) {
    // SAFETY: takes nothing.
    let id = unsafe { libc::gettid() };
    let since = began_at(id);
    if let Some(entry) = census()
        .entries
        .iter_mut()
        .find(|entry| entry.number == number)
    {
        entry.id = id;
        entry.since = since;
    }
}

fn push(census: &mut Census, owner: OwnerId, kind: Kind) -> u64 {
    // A plugin that starts a thread for each request would fill it without end.
    if census.entries.len() >= census.prune_at {
        census
            .entries
            .retain(|entry| entry.id == 0 || is_running(entry));
        census.prune_at = census.entries.len() * 2 + PRUNE_AT;
    }
    let number = census.next;
    census.next += 1;
    census.entries.push(Entry {
        owner,
        number,
        id: 0,
        since: None,
        kind,
    });
    number
}

/// Called in the place of `abort`. On a plugin's thread that is at its end a destructor has
/// panicked, and the standard library would end the host for it: the thread stays instead, for
/// ever, and with it the library. On any other thread it returns.
pub(super) fn stay_if_ending() {
    let ending = ENDING.try_with(Cell::get).unwrap_or(false);
    let Some(owner) = owner_of_this().filter(|_| ending) else {
        return;
    };
    // SAFETY: takes nothing.
    let id = unsafe { libc::gettid() };
    let name = name(id);
    aborts::remember(owner, format!("thread \"{name}\" ({id}) of its own"));
    loop {
        // SAFETY: waits for a signal, again and again.
        unsafe { libc::pause() };
    }
}

/// Notes that this thread of the host's, which is to end soon, runs an owner's code. To its very end
/// it has a part in the owner's heap: mimalloc crashes when one is destroyed while such a thread
/// ends (`_mi_theap_collect_abandon` looks at a heap that `mi_heap_destroy` takes away).
pub(super) fn visit(owner: OwnerId) {
    let number = push(&mut census(), owner, Kind::Visitor);
    is_this(number);
}

/// The threads of an owner's own.
pub(super) fn of(owner: OwnerId) -> Vec<PluginThread> {
    running(owner, Kind::Its)
}

/// The host's other threads that have run an owner's code and have not ended.
pub(super) fn visitors(owner: OwnerId) -> Vec<PluginThread> {
    // SAFETY: takes nothing.
    let this = unsafe { libc::gettid() };
    let mut visitors = running(owner, Kind::Visitor);
    visitors.retain(|thread| thread.id != this);
    visitors
}

fn running(owner: OwnerId, kind: Kind) -> Vec<PluginThread> {
    let mut census = census();
    census
        .entries
        .retain(|entry| entry.id == 0 || is_running(entry));
    census
        .entries
        .iter()
        .filter(|entry| entry.owner == owner && entry.kind == kind)
        .map(|entry| PluginThread {
            name: name(entry.id),
            id: entry.id,
        })
        .collect()
}

/// Anything but a clear no is a yes: a library must not be closed because a file could not be read.
fn is_running(entry: &Entry) -> bool {
    // SAFETY: signal 0 is never sent; it only asks whether the thread is there.
    let status = unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), entry.id, 0) };
    if status == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH) {
        return false;
    }
    match (began_at(entry.id), entry.since) {
        (Some(now), Some(then)) => now == then,
        _ => true,
    }
}

/// When a thread of this process began, in ticks since the machine did; `None`: not known.
fn began_at(id: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/self/task/{id}/stat")).ok()?;
    // The name, in parentheses, may have spaces and parentheses of its own. See proc(5): the time
    // is field 22, and what follows the name begins with field 3.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

fn name(id: i32) -> String {
    fs::read_to_string(format!("/proc/self/task/{id}/comm"))
        .map_or_else(|_| "?".to_owned(), |name| name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_is_waited_for_until_it_has_ended_but_not_by_itself() {
        const OWNER: OwnerId = OwnerId::MAX;
        let thread = std::thread::spawn(|| {
            visit(OWNER);
            assert_eq!(visitors(OWNER), []);
            // SAFETY: takes nothing.
            unsafe { libc::gettid() }
        });
        thread.join().unwrap();
        let (done, ended) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            visit(OWNER);
            let _: Result<(), _> = ended.recv();
        });
        while visitors(OWNER).is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(of(OWNER), []);
        drop(done);
        waiting.join().unwrap();
        assert_eq!(visitors(OWNER), []);
    }

    #[test]
    fn a_thread_is_in_the_census_until_the_kernel_has_it_no_more() {
        // SAFETY: takes nothing.
        let id = unsafe { libc::gettid() };
        let now = began_at(id);
        assert!(now.is_some());
        let entry = |since| Entry {
            owner: 1,
            number: 0,
            id,
            since,
            kind: Kind::Its,
        };
        assert!(is_running(&entry(now)));
        // The same id, used again.
        assert!(!is_running(&entry(Some(0))));
        let nobody = Entry {
            id: i32::MAX,
            ..entry(None)
        };
        assert!(!is_running(&nobody));
        // Nothing is known of its beginning: rather too many than too few.
        assert!(is_running(&entry(None)));
    }
}
