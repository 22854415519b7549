//! The tables that the two sides hand each other, and how a plugin starts and stops.

#![allow(
    missing_debug_implementations,
    reason = "raw pointers have nothing to show"
)]

use std::ffi::c_void;

#[expect(unused_imports, reason = "what the documentation leads to")]
use super::{ABI_MAJOR, ABI_MINOR, END, ERROR, PANICKED, PENDING, PLUGIN_SYMBOL, READY};
use super::{Buf, Call, Failure, LogRecord, Request, Slice, Status, Stream, Waker};

/// What the host offers a plugin. Lives as long as the process. What came with a later version than
/// 1.0 may be null: the host has no such thing.
#[repr(C)]
pub struct HostTable {
    /// `size_of::<HostTable>()`
    pub size: usize,
    /// The host's [`ABI_MAJOR`].
    pub abi_major: u16,
    /// The host's [`ABI_MINOR`].
    pub abi_minor: u16,
    /// Logs a record for the generation of that context; from any thread.
    pub log: unsafe extern "C" fn(context: u64, record: *const LogRecord),

    // Since 1.1. All of it from any thread. [`ERROR`]: refused, and `failure` says why, for the
    // plugin's author. What is said to be for setup is refused later.
    /// Has the app reloaded when that file or directory changes: an absolute path, as bytes. For
    /// setup.
    pub track:
        Option<unsafe extern "C" fn(context: u64, path: Slice, failure: *mut Failure) -> Status>,
    /// Registers `(kind, key)` with a value, which is JSON, for when this generation serves. For
    /// setup.
    pub register_entry: Option<
        unsafe extern "C" fn(
            context: u64,
            kind: Slice,
            key: Slice,
            value: Slice,
            failure: *mut Failure,
        ) -> Status,
    >,
    /// What is registered under that kind, by all apps: a JSON array of objects with `key`, `value`
    /// and `owners`, in the order of first registration. The caller owns what it gets.
    pub registrations: Option<
        unsafe extern "C" fn(
            context: u64,
            kind: Slice,
            list: *mut Buf,
            failure: *mut Failure,
        ) -> Status,
    >,
    /// [`READY`] as soon as the registry's version is not `seen`: `version` is filled. [`PENDING`]
    /// keeps a clone of `waker`, one for each waiter `id` that a generation makes up for itself.
    pub poll_registry: Option<
        unsafe extern "C" fn(
            context: u64,
            id: u64,
            seen: u64,
            waker: *const Waker,
            version: *mut u64,
        ) -> Status,
    >,
    /// The waiter of that number waits no more.
    pub leave_registry: Option<unsafe extern "C" fn(context: u64, id: u64)>,
    /// Has [`PluginTable::run_schedule`] called by that name each time so many milliseconds have
    /// passed, while this generation serves. For setup.
    pub schedule: Option<
        unsafe extern "C" fn(
            context: u64,
            name: Slice,
            every_ms: u64,
            failure: *mut Failure,
        ) -> Status,
    >,
    /// What the generation before saved. Blocks while that finishes its requests; from then on
    /// requests wait until setup ends. [`READY`]: `state` is filled. [`END`]: there is none. For
    /// setup.
    pub previous_state: Option<unsafe extern "C" fn(context: u64, state: *mut State) -> Status>,
    /// Has the app reloaded, though its file be the same. Returns at once.
    pub request_reload: Option<unsafe extern "C" fn(context: u64)>,
    /// Has the whole host replace itself. Returns at once.
    pub request_restart: Option<unsafe extern "C" fn(context: u64)>,
}

/// An app's state, on its way from one generation to the next. The caller hands it in empty.
#[repr(C)]
pub struct State {
    /// `size_of::<State>()`
    pub size: usize,
    /// The version of its form: the app's own affair.
    pub schema: u32,
    /// The state; owned by the caller from then on.
    pub data: Buf,
    /// Why there is none.
    pub failure: Failure,
}

/// [`SetupArgs::mode`]: the plugin runs inside the host.
pub const MODE_EMBEDDED: u32 = 0;
/// [`SetupArgs::mode`]: the plugin runs in a worker process of a group.
pub const MODE_DAEMON: u32 = 1;

/// What a plugin is told when it starts. Slices are valid during the call only.
#[repr(C)]
pub struct SetupArgs {
    /// `size_of::<SetupArgs>()`
    pub size: usize,
    /// What the host offers.
    pub host: *const HostTable,
    /// The generation's number with the host's functions. A number, so that a late call of an
    /// old generation's thread finds nothing instead of freed memory.
    pub context: u64,
    /// The app's name.
    pub name: Slice,
    /// The artifact's absolute path, as the operator wrote it (not the private copy's).
    pub path: Slice,
    /// Where it is mounted: `/` or `/NAME`.
    pub mount: Slice,
    /// The process group; empty in embedded mode.
    pub group: Slice,
    /// The app's settings: a JSON object.
    pub settings: Slice,
    /// The generation's number, from 1.
    pub generation: u64,
    /// One of the `MODE_` constants.
    pub mode: u32,
    /// The worker's number in its group, from 0.
    pub worker: u32,
    /// The most detailed log level that the host wants, 0 (none) to 5 (trace).
    pub max_level: u32,
}

/// How a plugin's start ended. The caller hands it in empty.
#[repr(C)]
pub struct SetupOutcome {
    /// `size_of::<SetupOutcome>()`
    pub size: usize,
    /// The app; set when the status is [`READY`].
    pub app: *mut c_void,
    /// Why it failed.
    pub failure: Failure,
    /// When it failed: threads of its runtime that are still running, so that the library must
    /// stay mapped.
    pub threads_left: u32,
}

/// [`StopArgs::reason`] and [`PluginTable::shutdown`]: a newer generation serves.
pub const REASON_RELOAD: u32 = 1;
/// The artifact was removed.
pub const REASON_REMOVAL: u32 = 2;
/// The host ends.
pub const REASON_HOST_SHUTDOWN: u32 = 3;
/// It was started, but never served, because a later step of the reload failed.
pub const REASON_ABANDONED: u32 = 4;
/// It used more memory than its limit allows, and a fresh generation serves.
pub const REASON_MEMORY_LIMIT: u32 = 5;

/// It did worse than the one before, which serves again; or somebody asked for that.
pub const REASON_ROLLBACK: u32 = 6;
/// It has answered as many requests as it may, and a fresh generation serves.
pub const REASON_MAX_REQUESTS: u32 = 7;
/// It has served as long as it may, and a fresh generation serves.
pub const REASON_MAX_AGE: u32 = 8;
/// The host replaces itself.
pub const REASON_RESTART: u32 = 9;
/// Its worker process had no request for as long as it may, and ends until there is one.
pub const REASON_INACTIVITY: u32 = 10;
/// Somebody sent its worker process a signal; another worker takes its place.
pub const REASON_SIGNAL: u32 = 11;

/// How a plugin is to stop.
#[repr(C)]
pub struct StopArgs {
    /// `size_of::<StopArgs>()`
    pub size: usize,
    /// One of the `REASON_` constants.
    pub reason: u32,
    /// Time for all cleanup hooks together, and again for the runtime's threads to end, in
    /// milliseconds.
    pub timeout_ms: u64,
}

/// How a plugin stopped. The caller hands it in empty.
#[repr(C)]
pub struct StopReport {
    /// `size_of::<StopReport>()`
    pub size: usize,
    /// Cleanup hooks that ran to their end.
    pub hooks_done: u32,
    /// Cleanup hooks that panicked or ran out of time; each is logged by name.
    pub hooks_failed: u32,
    /// Threads of the plugin's runtime that did not end in time.
    pub threads_left: u32,
}

/// What a plugin exports under [`PLUGIN_SYMBOL`]. Lives as long as the library.
#[repr(C)]
pub struct PluginTable {
    /// `size_of::<PluginTable>()`
    pub size: usize,
    /// The plugin's [`ABI_MAJOR`].
    pub abi_major: u16,
    /// The plugin's [`ABI_MINOR`].
    pub abi_minor: u16,
    /// Starts the app; called once, on a thread of its own, and may take its time.
    pub setup: unsafe extern "C" fn(args: *const SetupArgs, outcome: *mut SetupOutcome) -> Status,
    /// Takes a request; from any thread, many at a time. [`READY`]: `call` is filled. Never
    /// blocks.
    pub call: unsafe extern "C" fn(
        app: *mut c_void,
        request: *mut Request,
        call: *mut Call,
        failure: *mut Failure,
    ) -> Status,
    /// Takes an upgrade request: HTTP/1.1 is spoken on `stream`, the request head first; the
    /// stream is the plugin's from then on. `request` says what the bytes cannot (peer, request
    /// id, original target); its method, headers and body are empty. [`READY`]: taken.
    pub upgrade: unsafe extern "C" fn(
        app: *mut c_void,
        request: *mut Request,
        stream: *mut Stream,
        failure: *mut Failure,
    ) -> Status,
    /// Tells the app that draining has begun. Never blocks.
    pub shutdown: unsafe extern "C" fn(app: *mut c_void, reason: u32),
    /// Runs the cleanup hooks, ends the runtime and frees the app; called once, after the last
    /// call, body and stream has been dropped, on a thread of its own.
    pub stop: unsafe extern "C" fn(
        app: *mut c_void,
        args: *const StopArgs,
        report: *mut StopReport,
    ) -> Status,

    // Since 1.1. Null: the plugin has no such thing.
    /// Saves the app's state, for the next generation. On a thread of its own, and may take its
    /// time; while no request is in flight, as a rule; and maybe again later, when the next
    /// generation did not come to serve. [`READY`]: `state` is filled. [`END`]: the app saves none.
    pub save_state: Option<
        unsafe extern "C" fn(app: *mut c_void, args: *const SaveArgs, state: *mut State) -> Status,
    >,
    /// Begins what was announced by [`HostTable::schedule`] under that name, on the plugin's own
    /// runtime. [`READY`]: `task` is filled. Never blocks.
    pub run_schedule: Option<
        unsafe extern "C" fn(
            app: *mut c_void,
            name: Slice,
            task: *mut Task,
            failure: *mut Failure,
        ) -> Status,
    >,
}

/// The bounds of [`PluginTable::save_state`].
#[repr(C)]
pub struct SaveArgs {
    /// `size_of::<SaveArgs>()`
    pub size: usize,
    /// At most so many bytes are taken.
    pub limit: u64,
    /// Time for it, in milliseconds.
    pub timeout_ms: u64,
}

/// Something that runs on the plugin's runtime, and that the host waits for.
#[repr(C)]
pub struct Task {
    /// The plugin's state.
    pub this: *mut c_void,
    /// The plugin's functions.
    pub table: *const TaskTable,
}

/// What can be done with a [`Task`]; from any thread, one call at a time.
#[repr(C)]
pub struct TaskTable {
    /// `size_of::<TaskTable>()`
    pub size: usize,
    /// [`READY`]: it has ended. [`ERROR`] and [`PANICKED`]: `failure` says how it failed. All three
    /// are final.
    pub poll: unsafe extern "C" fn(
        this: *mut c_void,
        waker: *const Waker,
        failure: *mut Failure,
    ) -> Status,
    /// Lets go of it; before it has ended, this aborts it.
    pub drop: unsafe extern "C" fn(this: *mut c_void),
}
