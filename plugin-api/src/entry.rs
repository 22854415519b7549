//! The functions of a plugin's table: from raw messages to the [`Instance`] and back.
//!
//! Each goes through [`guard::catch`].

#![expect(unsafe_code, reason = "ABI entry points")]

use std::{
    ffi::c_void,
    future::Future,
    mem,
    pin::Pin,
    ptr,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Uri, Version};

mod errands;

use crate::{
    Body, BoxError, Reason, Setup, abi, forward,
    glue::{
        body::{copy_headers, error_chain},
        bytes::{SHORT, owned},
        guard::{self, Caught},
        headers::LentHeaders,
        waker,
    },
    instance::{Instance, SetupInput, StartError},
    link::Link,
    outgoing::{self, Alive, Outset},
    request::{Mode, Peer, RequestInfo},
    service::{ResponseFuture, Started},
    tunnel::Tunnel,
};

/// The table that `export_app!` exports.
#[doc(hidden)]
#[must_use]
pub const fn plugin_table(
    setup: unsafe extern "C" fn(*const abi::SetupArgs, *mut abi::SetupOutcome) -> abi::Status,
) -> abi::PluginTable {
    abi::PluginTable {
        size: size_of::<abi::PluginTable>(),
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        setup,
        call,
        upgrade,
        shutdown,
        stop,
        save_state: Some(errands::save_state),
        run_schedule: Some(errands::run_schedule),
    }
}

/// What `export_app!`'s setup function does.
///
/// # Safety
/// `args` and `outcome` as the ABI says.
#[doc(hidden)]
pub unsafe fn setup<F>(
    args: *const abi::SetupArgs,
    outcome: *mut abi::SetupOutcome,
    start: F,
) -> abi::Status
where
    F: for<'a> FnOnce(&'a mut Setup) -> Pin<Box<dyn Future<Output = Started> + 'a>>,
{
    // SAFETY: the ABI: lent for this call.
    let args = unsafe { &*args };
    // SAFETY: the ABI: the caller's, for this call.
    let outcome = unsafe { &mut *outcome };
    let result = guard::catch(|| {
        // SAFETY: the slices are lent for this call.
        let input = unsafe { read_setup(args) };
        // SAFETY: each version of the host's table has this, and it lives as long as the process.
        let log = unsafe { (*args.host).log };
        forward::install(log, args.context, args.max_level);
        // SAFETY: the host's table lives as long as the process.
        let link = unsafe { Link::new(args.host, args.context) };
        Instance::start(input, link, start)
    });
    match result {
        Ok(Ok(instance)) => {
            outcome.app = Box::into_raw(Box::new(instance)).cast();
            abi::READY
        }
        Ok(Err(StartError { why, threads_left })) => {
            outcome.threads_left = threads_left;
            match why {
                Ok(error) => answer(Ok(Err(error)), &mut outcome.failure),
                Err(caught) => panicked(caught, &mut outcome.failure),
            }
        }
        Err(caught) => {
            // It is not known how far it came; better too many than a thread in unmapped code.
            outcome.threads_left = 1;
            panicked(caught, &mut outcome.failure)
        }
    }
}

/// # Safety
/// The slices in `args` must be valid.
unsafe fn read_setup(args: &abi::SetupArgs) -> SetupInput {
    // SAFETY: vouched for by the caller, here and below.
    let text = |slice: abi::Slice| unsafe { slice.to_text() };
    SetupInput {
        name: text(args.name),
        path: text(args.path).into(),
        mount: text(args.mount),
        generation: args.generation,
        mode: if args.mode == abi::MODE_DAEMON {
            Mode::Daemon {
                group: text(args.group),
                worker: args.worker,
            }
        } else {
            Mode::Embedded
        },
        settings: text(args.settings).into_bytes(),
    }
}

fn panicked(caught: Caught, into: &mut abi::Failure) -> abi::Status {
    *into = caught.into_failure();
    abi::PANICKED
}

/// A call's outcome as a status: `READY`, or the failure that is written to `failure`.
fn answer(result: Result<Result<(), BoxError>, Caught>, failure: &mut abi::Failure) -> abi::Status {
    match result {
        Ok(Ok(())) => abi::READY,
        Ok(Err(error)) => {
            *failure = abi::Failure::error(error_chain(&*error));
            abi::ERROR
        }
        Err(caught) => panicked(caught, failure),
    }
}

/// A request being answered.
struct InFlight {
    // `None` once it is dropped, which is done with the runtime entered.
    future: Option<ResponseFuture>,
    instance: Alive,
    request_id: u64,
    headers: LentHeaders,
    /// A short body, lent with the head.
    data: Bytes,
}

impl InFlight {
    /// Lends what is short, and will be copied; the other side gives back what is long.
    fn lend_or_give(&mut self, data: Bytes) -> abi::Buf {
        if data.len() > SHORT {
            return owned(data);
        }
        self.data = data;
        abi::Buf {
            ptr: self.data.as_ptr(),
            len: self.data.len(),
            ..abi::Buf::EMPTY
        }
    }
}

static CALL_TABLE: abi::CallTable = abi::CallTable {
    size: size_of::<abi::CallTable>(),
    poll: call_poll,
    drop: call_drop,
};

unsafe extern "C" fn call(
    app: *mut c_void,
    request: *mut abi::Request,
    out: *mut abi::Call,
    failure: *mut abi::Failure,
) -> abi::Status {
    // SAFETY: the ABI: our own instance, which outlives the call and its body.
    let instance = unsafe { Alive::new(app.cast()) };
    // SAFETY: the ABI: the caller's, for this call.
    let request = unsafe { &mut *request };
    // SAFETY: as above.
    let failure = unsafe { &mut *failure };
    let result = guard::catch(|| {
        let _entered = instance.runtime().enter();
        // SAFETY: the ABI: the body is ours from the call on.
        let body = unsafe { take_body(request) };
        let request_id = request.request_id;
        // SAFETY: the ABI: what the request points to is valid during the call.
        let request = unsafe { read_request(request, body, &instance) }?;
        let in_flight = InFlight {
            future: Some(forward::with_request(request_id, || {
                instance.handle(request)
            })),
            instance,
            request_id,
            headers: LentHeaders::default(),
            data: Bytes::new(),
        };
        let call = abi::Call {
            this: Box::into_raw(Box::new(in_flight)).cast(),
            table: &raw const CALL_TABLE,
        };
        // SAFETY: the ABI: the caller's, to be written once.
        unsafe { out.write(call) };
        Ok(())
    });
    answer(result, failure)
}

/// # Safety
/// `request.body` must be owned by the caller.
unsafe fn take_body(request: &mut abi::Request) -> Body {
    let body = mem::replace(&mut request.body, abi::Body::EMPTY);
    // SAFETY: vouched for by the caller, and taken out.
    unsafe { Body::import(body) }
}

/// # Safety
/// What the request points to must be valid.
unsafe fn read_request(
    raw: &abi::Request,
    body: Body,
    instance: &Instance,
) -> Result<Request<Body>, BoxError> {
    let mut request = Request::new(body);
    // SAFETY: vouched for by the caller, here and below.
    *request.method_mut() = Method::from_bytes(unsafe { raw.method.as_bytes() })?;
    // SAFETY: as above.
    *request.uri_mut() = Uri::try_from(unsafe { raw.uri.as_bytes() })?;
    *request.version_mut() = match raw.version {
        9 => Version::HTTP_09,
        10 => Version::HTTP_10,
        20 => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    // SAFETY: as above.
    let info = unsafe { read_info(raw, request.uri(), instance) }?;
    request.extensions_mut().insert(info);
    // SAFETY: as above.
    unsafe { copy_headers(raw.headers, raw.header_count, request.headers_mut()) }?;
    Ok(request)
}

/// # Safety
/// What the request points to must be valid.
unsafe fn read_info(
    raw: &abi::Request,
    uri: &Uri,
    instance: &Instance,
) -> Result<RequestInfo, BoxError> {
    let facts = instance.facts();
    // SAFETY: vouched for by the caller.
    let original = unsafe { raw.original_uri.as_bytes() };
    // A host of ABI 1.0 knows of one mount only.
    let since_1_1 = mem::offset_of!(abi::Request, mount) + size_of::<abi::Slice>();
    let other = if raw.size >= since_1_1 {
        // SAFETY: vouched for by the caller.
        let mount = unsafe { raw.mount.as_bytes() };
        let mount = (mount != facts.mount.as_bytes()).then(|| String::from_utf8_lossy(mount));
        mount.map(|mount| Arc::<str>::from(&*mount))
    } else {
        None
    };
    let whole = other.as_deref().unwrap_or(&facts.mount) == "/";
    Ok(RequestInfo {
        peer: Peer::from_abi(&raw.peer),
        original_uri: if whole {
            uri.clone()
        } else {
            Uri::try_from(original)?
        },
        mount: other,
        request_id: raw.request_id,
        facts: Arc::clone(facts),
    })
}

unsafe extern "C" fn call_poll(
    this: *mut c_void,
    waker: *const abi::Waker,
    response: *mut abi::Response,
) -> abi::Status {
    // SAFETY: the ABI: our own box, one call at a time.
    let this = unsafe { &mut *this.cast::<InFlight>() };
    // SAFETY: the ABI: the caller's, for this call.
    let out = unsafe { &mut *response };
    let result = guard::catch(|| {
        let _entered = this.instance.runtime().enter();
        let slot = &mut this.future;
        // SAFETY: the ABI: lent for this call.
        let polled = forward::with_request(this.request_id, || unsafe {
            waker::with_context(waker, |cx| {
                let Some(future) = slot else {
                    return Poll::Ready(Err("polled again after it was ready".into()));
                };
                let result = ready!(future.as_mut().poll(cx));
                *slot = None;
                Poll::Ready(result.map(|response| {
                    let (parts, body) = response.into_parts();
                    (parts, outgoing::begin(body, cx))
                }))
            })
        });
        let (parts, body) = match ready!(polled) {
            Ok(answered) => answered,
            Err(error) => return Poll::Ready(Err(error)),
        };
        out.status = u32::from(parts.status.as_u16());
        (out.headers, out.header_count) = this.headers.lend(parts.headers);
        Poll::Ready(Ok(match body {
            Outset::Whole(data) => {
                out.data = this.lend_or_give(data);
                abi::LAST
            }
            Outset::Open(first, body) => {
                out.body = outgoing::export(first, body, this.instance, this.request_id);
                abi::READY
            }
        }))
    });
    match result {
        Ok(Poll::Pending) => abi::PENDING,
        Ok(Poll::Ready(Ok(status))) => status,
        Ok(Poll::Ready(Err(error))) => answer(Ok(Err(error)), &mut out.failure),
        Err(caught) => panicked(caught, &mut out.failure),
    }
}

unsafe extern "C" fn call_drop(this: *mut c_void) {
    // SAFETY: the ABI: our own box, for the last time.
    let mut this = unsafe { Box::from_raw(this.cast::<InFlight>()) };
    // One that was answered has been dropped with its last poll.
    let Some(future) = this.future.take() else {
        return;
    };
    forward::with_request(this.request_id, || {
        guard::contain(|| {
            let _entered = this.instance.runtime().enter();
            drop(future);
        });
    });
}

unsafe extern "C" fn upgrade(
    app: *mut c_void,
    request: *mut abi::Request,
    stream: *mut abi::Stream,
    failure: *mut abi::Failure,
) -> abi::Status {
    // SAFETY: the ABI: our own instance, alive until `stop`.
    let instance = unsafe { &*app.cast::<Instance>() };
    // SAFETY: the ABI: the caller's, for this call.
    let request = unsafe { &mut *request };
    // SAFETY: as above.
    let failure = unsafe { &mut *failure };
    // SAFETY: the ABI: handed over by this pointer, and read once.
    let stream = unsafe { ptr::read(stream) };
    // SAFETY: the ABI: the stream is ours from the call on.
    let tunnel = unsafe { Tunnel::adopt(stream) };
    let result = guard::catch(|| {
        // SAFETY: the ABI: what the request points to is valid during the call.
        let uri = Uri::try_from(unsafe { request.uri.as_bytes() })?;
        // SAFETY: as above.
        let info = unsafe { read_info(request, &uri, instance) }?;
        instance.serve_tunnel(tunnel, info);
        Ok(())
    });
    answer(result, failure)
}

unsafe extern "C" fn shutdown(app: *mut c_void, reason: u32) {
    // SAFETY: the ABI: our own instance, alive until `stop`.
    let instance = unsafe { &*app.cast::<Instance>() };
    guard::contain(|| instance.shutdown(Reason::from_abi(reason)));
}

unsafe extern "C" fn stop(
    app: *mut c_void,
    args: *const abi::StopArgs,
    report: *mut abi::StopReport,
) -> abi::Status {
    // SAFETY: the ABI: our own instance, for the last time.
    let instance = unsafe { Box::from_raw(app.cast::<Instance>()) };
    // SAFETY: the ABI: lent for this call.
    let args = unsafe { &*args };
    // SAFETY: the ABI: the caller's, for this call.
    let report = unsafe { &mut *report };
    let timeout = Duration::from_millis(args.timeout_ms);
    let reason = Reason::from_abi(args.reason);
    match guard::catch(move || instance.stop(reason, timeout)) {
        Ok(stopped) => {
            report.hooks_done = stopped.hooks.done;
            report.hooks_failed = stopped.hooks.failed;
            report.threads_left = stopped.threads_left;
            abi::READY
        }
        Err(caught) => {
            forward::report_panic("stopping panicked", &caught);
            abi::PANICKED
        }
    }
}
