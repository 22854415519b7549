//! The layouts, pinned at compile time: both sides were compiled on their own.

use super::{
    Body, BodyTable, Buf, Call, CallTable, Failure, Field, Frame, Header, Heap, HostTable,
    LogRecord, Peer, PluginTable, Request, Response, SaveArgs, SetupArgs, SetupOutcome, Slice,
    State, StopArgs, StopReport, Stream, StreamTable, Task, TaskTable, Waker, WakerTable,
};

/// Pins a struct's size and its fields' offsets.
macro_rules! pin_layout {
    ($($name:ident: $size:literal { $($field:ident: $offset:literal),* $(,)? })*) => {
        #[cfg(target_pointer_width = "64")]
        const _: () = {
            $(
                assert!(size_of::<$name>() == $size, concat!("size of ", stringify!($name)));
                $(assert!(
                    std::mem::offset_of!($name, $field) == $offset,
                    concat!(stringify!($name), ".", stringify!($field)),
                );)*
            )*
        };
    };
}

pin_layout! {
    Slice: 16 { ptr: 0, len: 8 }
    Buf: 32 { ptr: 0, len: 8, owner: 16, release: 24 }
    Header: 32 { name: 0, value: 16 }
    Field: 32 { key: 0, value: 16 }
    Failure: 104 { size: 0, message: 8, location: 40, frames: 72 }
    Waker: 24 { data: 0, extra: 8, table: 16 }
    WakerTable: 32 { size: 0, clone: 8, wake_by_ref: 16, drop: 24 }
    Body: 32 { this: 0, table: 8, lower: 16, upper: 24 }
    BodyTable: 24 { size: 0, poll: 8, drop: 16 }
    Frame: 160 { size: 0, data: 8, trailers: 40, trailer_count: 48, failure: 56 }
    Stream: 16 { this: 0, table: 8 }
    StreamTable: 48 { size: 0, read: 8, write: 16, flush: 24, shutdown: 32, drop: 40 }
    Peer: 24 { kind: 0, port: 2, scope: 4, ip: 8 }
    Request: 160 {
        size: 0, method: 8, uri: 24, original_uri: 40, headers: 56, header_count: 64, version: 72,
        peer: 76, request_id: 104, body: 112, mount: 144,
    }
    Call: 16 { this: 0, table: 8 }
    CallTable: 24 { size: 0, poll: 8, drop: 16 }
    Response: 200 { size: 0, status: 8, header_count: 16, headers: 24, body: 32, failure: 64, data: 168 }
    LogRecord: 120 {
        size: 0, level: 8, line: 12, target: 16, message: 32, file: 48, spans: 64, fields: 80,
        field_count: 88, request_id: 96, frames: 104, frame_count: 112,
    }
    Heap: 48 { size: 0, heap: 8, alloc: 16, alloc_zeroed: 24, realloc: 32, free: 40 }
    HostTable: 96 {
        size: 0, abi_major: 8, abi_minor: 10, log: 16, track: 24, register_entry: 32, registrations: 40,
        poll_registry: 48, leave_registry: 56, schedule: 64, previous_state: 72,
        request_reload: 80, request_restart: 88,
    }
    State: 152 { size: 0, schema: 8, data: 16, failure: 48 }
    SetupArgs: 128 {
        size: 0, host: 8, context: 16, name: 24, path: 40, mount: 56, group: 72, settings: 88,
        generation: 104, mode: 112, worker: 116, max_level: 120,
    }
    SetupOutcome: 128 { size: 0, app: 8, failure: 16, threads_left: 120 }
    StopArgs: 24 { size: 0, reason: 8, timeout_ms: 16 }
    StopReport: 24 { size: 0, hooks_done: 8, hooks_failed: 12, threads_left: 16 }
    PluginTable: 72 {
        size: 0, abi_major: 8, abi_minor: 10, setup: 16, call: 24, upgrade: 32, shutdown: 40,
        stop: 48, save_state: 56, run_schedule: 64,
    }
    SaveArgs: 24 { size: 0, limit: 8, timeout_ms: 16 }
    Task: 16 { this: 0, table: 8 }
    TaskTable: 24 { size: 0, poll: 8, drop: 16 }
}
