//! How an upgraded connection reaches the plugin: as a stream of bytes.

use std::{
    ffi::c_void,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{Extension, Router, body::Body, extract::Request, response::Response, routing::get};
use hyper::rt::{Read, ReadBuf, Write};
use replug_plugin::{RequestInfo, Setup, abi, glue::waker};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::host::{App, logged, plugin};

/// Answers bytes with the same bytes once it is upgraded.
async fn echo(Extension(info): Extension<RequestInfo>, request: Request) -> Response {
    // A wait, so that what follows belongs to a later poll.
    tokio::task::yield_now().await;
    tracing::info!("an upgrade of the tests");
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(mut upgraded) = upgraded.await else {
            return;
        };
        let mut room = [0_u8; 64];
        loop {
            let mut buf = ReadBuf::new(&mut room);
            let read =
                std::future::poll_fn(|cx| Pin::new(&mut upgraded).poll_read(cx, buf.unfilled()));
            if read.await.is_err() || buf.filled().is_empty() {
                return;
            }
            // The answers of the tests are short enough for one write.
            let write =
                std::future::poll_fn(|cx| Pin::new(&mut upgraded).poll_write(cx, buf.filled()));
            if write.await.is_err() {
                return;
            }
        }
    });
    Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .header("x-request", info.request_id())
        .body(Body::empty())
        .unwrap()
}

fn app(_: &mut Setup) -> Router {
    Router::new().route("/echo", get(echo))
}

const HEAD: &str = "GET /echo HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

/// The client's end of a connection that has been handed over.
fn connect(app: &App, reactor: &tokio::runtime::Runtime) -> UnixStream {
    let (client, server) = UnixStream::pair().unwrap();
    server.set_nonblocking(true).unwrap();
    let _entered = reactor.enter();
    let server = tokio::net::UnixStream::from_std(server).unwrap();
    let stream = abi::Stream {
        this: Box::into_raw(Box::new(server)).cast(),
        table: &raw const TABLE,
    };
    app.upgrade("/echo", stream).unwrap();
    client
}

fn host_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_io()
        .build()
        .unwrap()
}

/// Reads until the text ends with `end`.
fn read_until(client: &mut UnixStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        text.push(byte[0].into());
    }
    text
}

#[test]
fn upgraded_connection_carries_bytes_both_ways() {
    let (app, reactor) = (App::start(plugin!(app)), host_runtime());
    let mut client = connect(&app, &reactor);
    client.write_all(HEAD.as_bytes()).unwrap();
    let head = read_until(&mut client, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("x-request: 9\r\n"), "{head}");
    client.write_all(b"ping").unwrap();
    assert_eq!(read_until(&mut client, "ping"), "ping");
    let events = logged("an upgrade of the tests");
    assert!(!events.is_empty());
    assert!(events.iter().all(|event| event.request_id == 9));
    drop(client);
    app.stop();
}

#[test]
fn stop_cuts_a_tunnel_that_is_left() {
    let (app, reactor) = (App::start(plugin!(app)), host_runtime());
    let mut client = connect(&app, &reactor);
    client.write_all(HEAD.as_bytes()).unwrap();
    read_until(&mut client, "\r\n\r\n");
    assert_eq!(app.stop().threads_left, 0);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

static TABLE: abi::StreamTable = abi::StreamTable {
    size: size_of::<abi::StreamTable>(),
    read,
    write,
    flush,
    shutdown,
    drop: drop_stream,
};

type Server = tokio::net::UnixStream;

/// # Safety
/// As the ABI says of a stream's functions.
unsafe fn polled<T>(
    this: *mut c_void,
    lent: *const abi::Waker,
    poll: impl FnOnce(Pin<&mut Server>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ready: impl FnOnce(T),
) -> abi::Status {
    // SAFETY: our own box, one call at a time.
    let server = unsafe { &mut *this.cast::<Server>() };
    // SAFETY: lent for this call.
    match unsafe { waker::with_context(lent, |cx| poll(Pin::new(server), cx)) } {
        Poll::Pending => abi::PENDING,
        Poll::Ready(Ok(value)) => {
            ready(value);
            abi::READY
        }
        Poll::Ready(Err(_)) => abi::ERROR,
    }
}

unsafe extern "C" fn read(
    this: *mut c_void,
    lent: *const abi::Waker,
    ptr: *mut u8,
    cap: usize,
    done: *mut usize,
) -> abi::Status {
    let mut room = vec![0; cap];
    let mut buf = tokio::io::ReadBuf::new(&mut room);
    // SAFETY: handed on to the caller.
    let status = unsafe {
        polled(
            this,
            lent,
            |server, cx| server.poll_read(cx, &mut buf),
            drop,
        )
    };
    let filled = buf.filled();
    // SAFETY: there is room for `cap` bytes at `ptr`.
    unsafe { ptr.copy_from_nonoverlapping(filled.as_ptr(), filled.len()) };
    // SAFETY: the caller's, for this call.
    unsafe { *done = filled.len() };
    status
}

unsafe extern "C" fn write(
    this: *mut c_void,
    lent: *const abi::Waker,
    ptr: *const u8,
    len: usize,
    done: *mut usize,
) -> abi::Status {
    // SAFETY: the caller's, for this call.
    let bytes = unsafe { std::slice::from_raw_parts(ptr, len) };
    // SAFETY: the caller's, for this call.
    let count = |written| unsafe { *done = written };
    // SAFETY: handed on to the caller.
    unsafe { polled(this, lent, |server, cx| server.poll_write(cx, bytes), count) }
}

unsafe extern "C" fn flush(this: *mut c_void, lent: *const abi::Waker) -> abi::Status {
    // SAFETY: handed on to the caller.
    unsafe { polled(this, lent, AsyncWrite::poll_flush, drop) }
}

unsafe extern "C" fn shutdown(this: *mut c_void, lent: *const abi::Waker) -> abi::Status {
    // SAFETY: handed on to the caller.
    unsafe { polled(this, lent, AsyncWrite::poll_shutdown, drop) }
}

unsafe extern "C" fn drop_stream(this: *mut c_void) {
    // SAFETY: our own box, once.
    drop(unsafe { Box::from_raw(this.cast::<Server>()) });
}
