//! The byte stream of an upgraded connection, as the plugin's end of the tunnel.

#![expect(unsafe_code, reason = "functions that plugins call through the ABI")]

use std::{
    ffi::c_void,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use replug_plugin::{abi, glue::guard};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::slots::{LazySlot, Slots};

struct Tunnel {
    io: DuplexStream,
    // Reading and writing may be waited for by two tasks.
    read: LazySlot,
    write: LazySlot,
}

static TABLE: abi::StreamTable = abi::StreamTable {
    size: size_of::<abi::StreamTable>(),
    read,
    write,
    flush,
    shutdown,
    drop: end,
};

/// Hands a stream over.
pub(super) fn export(io: DuplexStream, slots: &Arc<Slots>) -> abi::Stream {
    let tunnel = Tunnel {
        io,
        read: LazySlot::new(slots),
        write: LazySlot::new(slots),
    };
    abi::Stream {
        this: Box::into_raw(Box::new(tunnel)).cast(),
        table: &raw const TABLE,
    }
}

/// Runs one call of the plugin's.
///
/// # Safety
/// `this` and `waker` as the ABI says.
unsafe fn call(
    this: *mut c_void,
    waker: *const abi::Waker,
    f: impl FnOnce(&mut Tunnel, &abi::Waker) -> Poll<io::Result<()>>,
) -> abi::Status {
    // SAFETY: the ABI: our own box, one call at a time.
    let this = unsafe { &mut *this.cast::<Tunnel>() };
    // SAFETY: the ABI: lent for this call.
    let waker = unsafe { &*waker };
    match guard::catch(|| f(this, waker)) {
        Ok(Poll::Pending) => abi::PENDING,
        Ok(Poll::Ready(Ok(()))) => abi::READY,
        Ok(Poll::Ready(Err(_))) => abi::ERROR,
        Err(_) => abi::PANICKED,
    }
}

unsafe extern "C" fn read(
    this: *mut c_void,
    waker: *const abi::Waker,
    ptr: *mut u8,
    cap: usize,
    done: *mut usize,
) -> abi::Status {
    let poll = |tunnel: &mut Tunnel, waker: &abi::Waker| {
        // SAFETY: the ABI: room for `cap` bytes, possibly not initialised, for this call.
        let room = unsafe { std::slice::from_raw_parts_mut(ptr.cast(), cap) };
        let mut buf = ReadBuf::uninit(room);
        let io = Pin::new(&mut tunnel.io);
        let polled = tunnel.read.poll(waker, |cx| io.poll_read(cx, &mut buf));
        // SAFETY: the ABI: the caller's, for this call.
        unsafe { done.write(buf.filled().len()) };
        polled
    };
    // SAFETY: handed on to the plugin.
    unsafe { call(this, waker, poll) }
}

unsafe extern "C" fn write(
    this: *mut c_void,
    waker: *const abi::Waker,
    ptr: *const u8,
    len: usize,
    done: *mut usize,
) -> abi::Status {
    let poll = |tunnel: &mut Tunnel, waker: &abi::Waker| {
        // SAFETY: the ABI: `len` bytes, for this call.
        let bytes = unsafe { abi::Slice { ptr, len }.as_bytes() };
        let io = Pin::new(&mut tunnel.io);
        tunnel
            .write
            .poll(waker, |cx| io.poll_write(cx, bytes))
            .map_ok(|written| {
                // SAFETY: the ABI: the caller's, for this call.
                unsafe { done.write(written) }
            })
    };
    // SAFETY: handed on to the plugin.
    unsafe { call(this, waker, poll) }
}

unsafe extern "C" fn flush(this: *mut c_void, waker: *const abi::Waker) -> abi::Status {
    // SAFETY: handed on to the plugin.
    unsafe {
        call(this, waker, |tunnel, waker| {
            tunnel.poll_write_half(waker, AsyncWrite::poll_flush)
        })
    }
}

unsafe extern "C" fn shutdown(this: *mut c_void, waker: *const abi::Waker) -> abi::Status {
    // SAFETY: handed on to the plugin.
    unsafe {
        call(this, waker, |tunnel, waker| {
            tunnel.poll_write_half(waker, AsyncWrite::poll_shutdown)
        })
    }
}

impl Tunnel {
    fn poll_write_half(
        &mut self,
        waker: &abi::Waker,
        poll: fn(Pin<&mut DuplexStream>, &mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        let io = Pin::new(&mut self.io);
        self.write.poll(waker, |cx| poll(io, cx))
    }
}

unsafe extern "C" fn end(this: *mut c_void) {
    // SAFETY: the ABI: our own box, for the last time.
    let tunnel = unsafe { Box::from_raw(this.cast::<Tunnel>()) };
    guard::contain(move || drop(tunnel));
}
