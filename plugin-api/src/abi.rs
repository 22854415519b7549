//! The C ABI between the host and a plugin: data layouts and constants, no logic.
//!
//! Rules, which every later version keeps:
//!
//! - Tables and messages begin with their size in bytes and only grow at the end. Whoever reads
//!   one looks at the size first; whoever hands out an *out* message sets its size before the
//!   call, and the other side writes no field beyond it. The small value types ([`Slice`],
//!   [`Buf`], [`Header`], [`Field`], [`Peer`], [`Waker`], [`Body`], [`Stream`], [`Call`], [`Task`])
//!   have no size field: they are frozen for the whole of a major version. So is [`Failure`], which
//!   stands within other messages.
//! - Memory is freed by the side that made it, through the release function that comes with it.
//! - No function of either table may unwind. A panic is caught where it starts and comes back as
//!   [`PANICKED`] with a [`Failure`].
//! - Text is UTF-8 unless a field says otherwise; header values are bytes.
//!
//! `plugin-api/include/replug.h` is generated from this file; a test keeps the two the same.

#![allow(
    missing_debug_implementations,
    reason = "raw pointers have nothing to show"
)]

use std::ffi::{CStr, c_void};

mod layout;
mod tables;

pub use tables::*;

/// A host refuses a plugin of another major version.
pub const ABI_MAJOR: u16 = 1;
/// A newer minor version on either side works: it only appends.
pub const ABI_MINOR: u16 = 1;
/// The symbol of a plugin's [`PluginTable`].
pub const PLUGIN_SYMBOL: &str = "REPLUG_PLUGIN_1";

/// What a polled or plain call comes back with: one of the constants below.
pub type Status = u32;
/// Not ready; the waker handed in is woken when polling again makes sense.
pub const PENDING: Status = 0;
/// Done; the out message is filled.
pub const READY: Status = 1;
/// A body's last frame has been delivered before.
pub const END: Status = 2;
/// The frame holds trailers; nothing but [`END`] follows.
pub const TRAILERS: Status = 3;
/// It failed; the out message's [`Failure`] says why.
pub const ERROR: Status = 4;
/// The other side's code panicked; the [`Failure`] has message and location.
pub const PANICKED: Status = 5;
/// As [`READY`], and nothing follows: a body's last frame, or a response with all of its body.
pub const LAST: Status = 6;

/// Borrowed bytes, valid for the call they are handed to unless a field says otherwise.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slice {
    /// The first byte; may be null or dangling when `len` is 0.
    pub ptr: *const u8,
    /// Length in bytes.
    pub len: usize,
}

/// Owned bytes: whoever holds them calls `release(owner)` once when done with them.
#[repr(C)]
pub struct Buf {
    /// The first byte; may be null when `len` is 0.
    pub ptr: *const u8,
    /// Length in bytes.
    pub len: usize,
    /// What `release` is called with.
    pub owner: *mut c_void,
    /// Gives the bytes back, from any thread; null when there is nothing to give back.
    pub release: Option<unsafe extern "C" fn(owner: *mut c_void)>,
}

/// One header or trailer field.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Header {
    /// The name, in lower case.
    pub name: Slice,
    /// The value: bytes, not necessarily UTF-8.
    pub value: Slice,
}

/// A key and a value of a log record, both UTF-8.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Field {
    /// The key.
    pub key: Slice,
    /// The value, as text.
    pub value: Slice,
}

/// Why something failed.
#[repr(C)]
pub struct Failure {
    /// `size_of::<Failure>()`
    pub size: usize,
    /// For people.
    pub message: Buf,
    /// `file:line:column` of a panic; empty for an error.
    pub location: Buf,
    /// A panic's stack: addresses of the plugin's process, each as many bytes as a pointer has, the
    /// innermost call first. Empty for an error, or when it is not known.
    pub frames: Buf,
}

/// A waker that the other side made. Borrowed where it is passed by pointer; `clone` makes an
/// owned one.
#[repr(C)]
#[derive(Debug)]
pub struct Waker {
    /// The maker's.
    pub data: *const c_void,
    /// The maker's.
    pub extra: *const c_void,
    /// The maker's functions.
    pub table: *const WakerTable,
}

/// What can be done with a [`Waker`]; all of it from any thread.
#[repr(C)]
pub struct WakerTable {
    /// `size_of::<WakerTable>()`
    pub size: usize,
    /// Makes an owned copy.
    pub clone: unsafe extern "C" fn(waker: *const Waker) -> Waker,
    /// Wakes and keeps the waker.
    pub wake_by_ref: unsafe extern "C" fn(waker: *const Waker),
    /// Ends an owned copy.
    pub drop: unsafe extern "C" fn(waker: *mut Waker),
}

/// A message body that one side owns and the other polls, frame by frame.
///
/// Polling it is back-pressure, dropping it is cancellation.
#[repr(C)]
pub struct Body {
    /// The owner's state; null: an empty body, and `table` is null too.
    pub this: *mut c_void,
    /// The owner's functions.
    pub table: *const BodyTable,
    /// At least so many bytes of data are left.
    pub lower: u64,
    /// At most so many bytes of data are left; `u64::MAX`: not known.
    pub upper: u64,
}

/// What can be done with a [`Body`]; from any thread, one call at a time.
#[repr(C)]
pub struct BodyTable {
    /// `size_of::<BodyTable>()`
    pub size: usize,
    /// [`READY`] and [`LAST`]: `frame.data` is filled. [`TRAILERS`]: `frame.trailers` is. [`LAST`],
    /// [`END`], [`ERROR`] and [`PANICKED`] are final; [`PENDING`] keeps a clone of `waker` and wakes it.
    pub poll:
        unsafe extern "C" fn(this: *mut c_void, waker: *const Waker, frame: *mut Frame) -> Status,
    /// Ends it, read to its end or not.
    pub drop: unsafe extern "C" fn(this: *mut c_void),
}

/// What polling a [`Body`] gives. The caller hands it in empty.
#[repr(C)]
pub struct Frame {
    /// `size_of::<Frame>()`
    pub size: usize,
    /// Data; owned by the caller from then on.
    pub data: Buf,
    /// Trailers; valid until the body is polled again or dropped.
    pub trailers: *const Header,
    /// Number of trailers.
    pub trailer_count: usize,
    /// Why it failed.
    pub failure: Failure,
}

/// A duplex byte stream that the host owns and the plugin reads and writes: an upgraded
/// connection's tunnel.
#[repr(C)]
#[derive(Debug)]
pub struct Stream {
    /// The owner's state.
    pub this: *mut c_void,
    /// The owner's functions.
    pub table: *const StreamTable,
}

/// What can be done with a [`Stream`]; from any thread, one call at a time.
#[repr(C)]
pub struct StreamTable {
    /// `size_of::<StreamTable>()`
    pub size: usize,
    /// Reads up to `cap` bytes into `ptr`; [`READY`] with `done` 0 is the end of the stream.
    pub read: unsafe extern "C" fn(
        this: *mut c_void,
        waker: *const Waker,
        ptr: *mut u8,
        cap: usize,
        done: *mut usize,
    ) -> Status,
    /// Writes up to `len` bytes from `ptr`.
    pub write: unsafe extern "C" fn(
        this: *mut c_void,
        waker: *const Waker,
        ptr: *const u8,
        len: usize,
        done: *mut usize,
    ) -> Status,
    /// Passes on what was written.
    pub flush: unsafe extern "C" fn(this: *mut c_void, waker: *const Waker) -> Status,
    /// Ends the writing half.
    pub shutdown: unsafe extern "C" fn(this: *mut c_void, waker: *const Waker) -> Status,
    /// Ends both halves.
    pub drop: unsafe extern "C" fn(this: *mut c_void),
}

/// [`Peer::kind`]: not known.
pub const PEER_UNKNOWN: u16 = 0;
/// [`Peer::kind`]: an IPv4 address, in the first four bytes of [`Peer::ip`].
pub const PEER_IPV4: u16 = 1;
/// [`Peer::kind`]: an IPv6 address.
pub const PEER_IPV6: u16 = 2;
/// [`Peer::kind`]: a Unix socket; the other fields are 0.
pub const PEER_UNIX: u16 = 3;

/// Who sent a request.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Peer {
    /// One of the `PEER_` constants.
    pub kind: u16,
    /// The port, in the machine's byte order.
    pub port: u16,
    /// IPv6 scope; 0 otherwise.
    pub scope: u32,
    /// The address, in network byte order.
    pub ip: [u8; 16],
}

/// A request. What its slices point to is valid during the call it is handed to.
#[repr(C)]
pub struct Request {
    /// `size_of::<Request>()`
    pub size: usize,
    /// `GET` and so on.
    pub method: Slice,
    /// What the plugin is to route on: the request target with the mount taken off.
    pub uri: Slice,
    /// The request target as it came in.
    pub original_uri: Slice,
    /// The header fields.
    pub headers: *const Header,
    /// Number of header fields.
    pub header_count: usize,
    /// HTTP version: 9, 10, 11 or 20.
    pub version: u32,
    /// Who sent it.
    pub peer: Peer,
    /// The host's number for this request; unique in one run of the host.
    pub request_id: u64,
    /// The body; the plugin's from the call on, whatever the call comes back with.
    pub body: Body,
    /// What was taken off the target: one of the app's mounts. Since 1.1.
    pub mount: Slice,
}

/// A request being answered: a future that the host polls.
#[repr(C)]
pub struct Call {
    /// The plugin's state.
    pub this: *mut c_void,
    /// The plugin's functions.
    pub table: *const CallTable,
}

/// What can be done with a [`Call`]; from any thread, one call at a time.
#[repr(C)]
pub struct CallTable {
    /// `size_of::<CallTable>()`
    pub size: usize,
    /// [`READY`]: `response` is filled. [`LAST`]: so it is, with the whole body in its `data`.
    /// [`ERROR`] and [`PANICKED`]: its failure is. All four are final.
    pub poll: unsafe extern "C" fn(
        this: *mut c_void,
        waker: *const Waker,
        response: *mut Response,
    ) -> Status,
    /// Ends it; before it is ready, this is cancellation.
    pub drop: unsafe extern "C" fn(this: *mut c_void),
}

/// A response's head and body. The caller hands it in empty.
#[repr(C)]
pub struct Response {
    /// `size_of::<Response>()`
    pub size: usize,
    /// 100 to 999.
    pub status: u32,
    /// Number of header fields.
    pub header_count: usize,
    /// The header fields; valid until the call is dropped.
    pub headers: *const Header,
    /// The body; owned by the caller from then on.
    pub body: Body,
    /// Why it failed.
    pub failure: Failure,
    /// With [`LAST`]: all of the body, which is empty then. Owned by the caller from then on; without
    /// a release function it is valid until the call is dropped.
    pub data: Buf,
}

/// One log record or tracing event of a plugin. All of it is valid during the call only.
#[repr(C)]
pub struct LogRecord {
    /// `size_of::<LogRecord>()`
    pub size: usize,
    /// 1 error, 2 warn, 3 info, 4 debug, 5 trace.
    pub level: u32,
    /// Source line; 0: not known.
    pub line: u32,
    /// Usually the module path.
    pub target: Slice,
    /// The message.
    pub message: Slice,
    /// Source file; may be empty.
    pub file: Slice,
    /// The spans the event stands in, outermost first: `name{key=value}:name`.
    pub spans: Slice,
    /// The event's fields.
    pub fields: *const Field,
    /// Number of fields.
    pub field_count: usize,
    /// The request being answered; 0: none.
    pub request_id: u64,
    /// The stack of a panic that nothing caught, as in [`Failure::frames`].
    pub frames: *const usize,
    /// Number of frames; 0: no panic, or not known.
    pub frame_count: usize,
}

/// The symbol of the host program's [`FindHeap`]. A plugin looks it up when it first allocates,
/// which may be before its table is read, in a constructor; without it, or when it gives null, the
/// plugin uses the C library's allocator.
pub const HEAP_SYMBOL: &CStr = c"replug_heap_1";

/// `address` is one of the calling library's own. Null: no heap is kept for that library.
pub type FindHeap = unsafe extern "C" fn(address: *const c_void) -> *const Heap;

/// The memory of one generation. Lives until its library has been unmapped, and is freed with all
/// that is left in it then. All functions from any thread; `align` is a power of two.
#[repr(C)]
pub struct Heap {
    /// `size_of::<Heap>()`
    pub size: usize,
    /// What the functions are called with.
    pub heap: *mut c_void,
    /// Null: there is no memory.
    pub alloc: unsafe extern "C" fn(heap: *mut c_void, size: usize, align: usize) -> *mut u8,
    /// The same, filled with zeros.
    pub alloc_zeroed: unsafe extern "C" fn(heap: *mut c_void, size: usize, align: usize) -> *mut u8,
    /// Null: there is no memory, and the old block is as it was.
    pub realloc: unsafe extern "C" fn(
        heap: *mut c_void,
        block: *mut u8,
        old_size: usize,
        align: usize,
        new_size: usize,
    ) -> *mut u8,
    /// `size` and `align` as the block was allocated with.
    pub free: unsafe extern "C" fn(heap: *mut c_void, block: *mut u8, size: usize, align: usize),
}
