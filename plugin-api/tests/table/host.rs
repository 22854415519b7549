//! As much of a host as the tests need.

use std::{
    ffi::c_void,
    ptr,
    sync::{Mutex, PoisonError},
};

use replug_plugin::{abi, glue::bytes::adopt};

use crate::{
    asked,
    message::{Call, Failed, Task},
};

/// The table of a plugin whose app is this function.
macro_rules! plugin {
    ($app:path) => {{
        unsafe extern "C" fn setup(
            args: *const replug_plugin::abi::SetupArgs,
            outcome: *mut replug_plugin::abi::SetupOutcome,
        ) -> replug_plugin::abi::Status {
            // SAFETY: handed on to the caller.
            unsafe {
                replug_plugin::__private::setup(args, outcome, |setup| {
                    replug_plugin::__private::start($app, setup)
                })
            }
        }
        replug_plugin::__private::plugin_table(setup)
    }};
}
pub(crate) use plugin;

/// What the plugin is told.
pub(crate) const CONTEXT: u64 = 77;
pub(crate) const TIMEOUT_MS: u64 = 300;

/// A started app. It is to be stopped; a test that fails leaves it running.
pub(crate) struct App {
    table: abi::PluginTable,
    pub(crate) this: *mut c_void,
}

impl App {
    pub(crate) fn start(table: abi::PluginTable) -> Self {
        Self::try_start(table, "{}").unwrap()
    }

    pub(crate) fn try_start(table: abi::PluginTable, settings: &str) -> Result<Self, Failed> {
        Self::start_in(&HOST, table, settings, CONTEXT)
    }

    /// The same in a host of ABI 1.0.
    pub(crate) fn start_in_old_host(table: abi::PluginTable) -> Result<Self, Failed> {
        Self::start_in(&OLD_HOST, table, "{}", CONTEXT)
    }

    /// The same in a host that leaves out what it may.
    pub(crate) fn start_in_sparse_host(table: abi::PluginTable) -> Result<Self, Failed> {
        Self::start_in(&SPARSE_HOST, table, "{}", CONTEXT)
    }

    /// The same with a number of its own with the host.
    pub(crate) fn start_as(table: abi::PluginTable, context: u64) -> Result<Self, Failed> {
        Self::start_in(&HOST, table, "{}", context)
    }

    fn start_in(
        host: &'static abi::HostTable,
        table: abi::PluginTable,
        settings: &str,
        context: u64,
    ) -> Result<Self, Failed> {
        let lend = |text: &'static str| abi::Slice::lend(text.as_bytes());
        let args = abi::SetupArgs {
            size: size_of::<abi::SetupArgs>(),
            host,
            context,
            name: lend("tested"),
            path: lend("/srv/libtested.so"),
            mount: lend("/mounted"),
            group: lend("blue"),
            settings: abi::Slice::lend(settings.as_bytes()),
            generation: 3,
            mode: abi::MODE_DAEMON,
            worker: 2,
            max_level: 5,
        };
        let mut outcome = abi::SetupOutcome {
            size: size_of::<abi::SetupOutcome>(),
            app: ptr::null_mut(),
            failure: abi::Failure::EMPTY,
            threads_left: 0,
        };
        // SAFETY: both live through the call, and are filled as the ABI says.
        match unsafe { (table.setup)(&raw const args, &raw mut outcome) } {
            abi::READY => Ok(Self {
                table,
                this: outcome.app,
            }),
            status => Err(Failed::new(status, outcome.failure)),
        }
    }

    /// Calls `GET uri` without headers or a body.
    pub(crate) fn get(&self, uri: &str) -> Call {
        self.call("GET", uri, &[], abi::Body::EMPTY).unwrap()
    }

    pub(crate) fn call(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &[u8])],
        body: abi::Body,
    ) -> Result<Call, Failed> {
        let headers: Vec<abi::Header> = headers
            .iter()
            .map(|(name, value)| abi::Header {
                name: abi::Slice::lend(name.as_bytes()),
                value: abi::Slice::lend(value),
            })
            .collect();
        let original_uri = format!("/mounted{uri}");
        let mut request = abi::Request {
            headers: headers.as_ptr(),
            header_count: headers.len(),
            body,
            ..request(method, uri, &original_uri)
        };
        let mut call = abi::Call {
            this: ptr::null_mut(),
            table: ptr::null(),
        };
        let mut failure = abi::Failure::EMPTY;
        // SAFETY: all of it lives through the call, and the body is given away.
        let status = unsafe {
            (self.table.call)(self.this, &raw mut request, &raw mut call, &raw mut failure)
        };
        if status == abi::READY {
            Ok(Call(call))
        } else {
            Err(Failed::new(status, failure))
        }
    }

    /// Hands an upgraded connection over.
    pub(crate) fn upgrade(&self, uri: &str, mut stream: abi::Stream) -> Result<(), Failed> {
        let mut request = request("", uri, uri);
        let mut failure = abi::Failure::EMPTY;
        // SAFETY: all of it lives through the call, and the stream is given away.
        let status = unsafe {
            (self.table.upgrade)(
                self.this,
                &raw mut request,
                &raw mut stream,
                &raw mut failure,
            )
        };
        if status == abi::READY {
            Ok(())
        } else {
            Err(Failed::new(status, failure))
        }
    }

    /// Has it save its state; `None`: it saves none.
    pub(crate) fn save(&self, limit: u64) -> Option<Result<(u32, Vec<u8>), Failed>> {
        let args = abi::SaveArgs {
            size: size_of::<abi::SaveArgs>(),
            limit,
            timeout_ms: TIMEOUT_MS,
        };
        let mut out = abi::State {
            size: size_of::<abi::State>(),
            schema: 0,
            data: abi::Buf::EMPTY,
            failure: abi::Failure::EMPTY,
        };
        let save = self.table.save_state.unwrap();
        // SAFETY: the app has not been stopped, and both live through the call.
        match unsafe { save(self.this, &raw const args, &raw mut out) } {
            abi::END => None,
            abi::READY => {
                // SAFETY: filled for us.
                let bytes = unsafe { adopt(out.data, ()) };
                Some(Ok((out.schema, bytes.to_vec())))
            }
            status => Some(Err(Failed::new(status, out.failure))),
        }
    }

    /// Begins a scheduled call.
    pub(crate) fn run(&self, name: &str) -> Result<Task, Failed> {
        let mut task = abi::Task {
            this: ptr::null_mut(),
            table: ptr::null(),
        };
        let mut failure = abi::Failure::EMPTY;
        let name = abi::Slice::lend(name.as_bytes());
        let run = self.table.run_schedule.unwrap();
        // SAFETY: the app has not been stopped, and all of it lives through the call.
        match unsafe { run(self.this, name, &raw mut task, &raw mut failure) } {
            abi::READY => Ok(Task(task)),
            status => Err(Failed::new(status, failure)),
        }
    }

    pub(crate) fn shutdown(&self, reason: u32) {
        // SAFETY: the app has not been stopped.
        unsafe { (self.table.shutdown)(self.this, reason) };
    }

    pub(crate) fn stop(self) -> abi::StopReport {
        let args = abi::StopArgs {
            size: size_of::<abi::StopArgs>(),
            reason: abi::REASON_RELOAD,
            timeout_ms: TIMEOUT_MS,
        };
        let mut report = abi::StopReport {
            size: size_of::<abi::StopReport>(),
            hooks_done: 0,
            hooks_failed: 0,
            threads_left: 0,
        };
        // SAFETY: once, with arguments that live through the call.
        let status = unsafe { (self.table.stop)(self.this, &raw const args, &raw mut report) };
        assert_eq!(status, abi::READY);
        report
    }
}

/// A request of number 9 from 127.0.0.1:80, by HTTP/2, without headers or a body.
fn request(method: &str, uri: &str, original_uri: &str) -> abi::Request {
    let mut ip = [0; 16];
    ip[..4].copy_from_slice(&[127, 0, 0, 1]);
    abi::Request {
        size: size_of::<abi::Request>(),
        method: abi::Slice::lend(method.as_bytes()),
        uri: abi::Slice::lend(uri.as_bytes()),
        original_uri: abi::Slice::lend(original_uri.as_bytes()),
        headers: ptr::null(),
        header_count: 0,
        version: 20,
        peer: abi::Peer {
            kind: abi::PEER_IPV4,
            port: 80,
            scope: 0,
            ip,
        },
        request_id: 9,
        body: abi::Body::EMPTY,
        mount: abi::Slice::lend(b"/mounted"),
    }
}

static HOST: abi::HostTable = abi::HostTable {
    size: size_of::<abi::HostTable>(),
    abi_major: abi::ABI_MAJOR,
    abi_minor: abi::ABI_MINOR,
    log,
    track: Some(asked::track),
    register_entry: Some(asked::register_entry),
    registrations: Some(asked::registrations),
    poll_registry: Some(asked::poll_registry),
    leave_registry: Some(asked::leave_registry),
    schedule: Some(asked::schedule),
    previous_state: Some(asked::previous_state),
    request_reload: Some(asked::request_reload),
    request_restart: Some(asked::request_restart),
};

/// A host of ABI 1.0: its table ends where that of 1.1 goes on.
static OLD_HOST: abi::HostTable = abi::HostTable {
    size: std::mem::offset_of!(abi::HostTable, track),
    abi_minor: 0,
    ..HOST
};

/// A host that speaks ABI 1.1, and has nothing of what that came with.
static SPARSE_HOST: abi::HostTable = abi::HostTable {
    track: None,
    register_entry: None,
    registrations: None,
    poll_registry: None,
    leave_registry: None,
    schedule: None,
    previous_state: None,
    request_reload: None,
    request_restart: None,
    ..HOST
};

/// A record as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) context: u64,
    pub(crate) level: u32,
    pub(crate) target: String,
    pub(crate) message: String,
    pub(crate) spans: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) request_id: u64,
}

static LOG: Mutex<Vec<Logged>> = Mutex::new(Vec::new());

/// The records so far that have this message.
pub(crate) fn logged(message: &str) -> Vec<Logged> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.iter()
        .filter(|record| record.message == message)
        .cloned()
        .collect()
}

unsafe extern "C" fn log(context: u64, record: *const abi::LogRecord) {
    // SAFETY: the caller's, for this call.
    let record = unsafe { &*record };
    // SAFETY: as above; here and below, the slices too.
    let text = |slice: abi::Slice| unsafe { slice.to_text() };
    let fields = match record.field_count {
        0 => &[],
        // SAFETY: the caller's, for this call.
        count => unsafe { std::slice::from_raw_parts(record.fields, count) },
    };
    let logged = Logged {
        context,
        level: record.level,
        target: text(record.target),
        message: text(record.message),
        spans: text(record.spans),
        fields: fields
            .iter()
            .map(|field| (text(field.key), text(field.value)))
            .collect(),
        request_id: record.request_id,
    };
    if logged.target == "panic" {
        // A failed assertion, perhaps: the plugin's hook for panics is the tests' here.
        #[expect(clippy::print_stderr, reason = "a test's output")]
        {
            eprintln!("{} {:?}", logged.message, logged.fields);
        }
    }
    LOG.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(logged);
}
