//! What the host offers a plugin: its table of functions, and who is calling.

#![expect(unsafe_code, reason = "functions that plugins call through the ABI")]

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use replug_plugin::{
    abi,
    glue::guard::{self, Caught},
};
use serde_json::{Map, json};

mod asked;
mod changes;

use super::{
    Footprint, Services,
    backtrace::{self, Panicked},
    slots::{LazySlot, Slots},
};
use crate::{
    id::{AppName, GenerationId},
    telemetry::{self, Level, Record},
};
use changes::Changes;

/// The host's table; one for all plugins.
pub(super) static HOST: abi::HostTable = abi::HostTable {
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

/// Who a context number stands for. Plugins hold the number and never a pointer, so that a thread
/// that outlives its generation finds nothing instead of freed memory.
static CONTEXTS: LazyLock<RwLock<HashMap<u64, Owner>>> = LazyLock::new(RwLock::default);
static NEXT: AtomicU64 = AtomicU64::new(1);

#[derive(Clone)]
struct Owner {
    app: AppName,
    generation: GenerationId,
    footprint: Footprint,
    services: Arc<dyn Services>,
    waiters: Arc<Waiters>,
}

/// Those of a generation who wait for the registry to change, each by the number it gave itself.
#[derive(Debug)]
struct Waiters {
    slots: Arc<Slots>,
    waiting: Mutex<HashMap<u64, Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    slot: LazySlot,
    changes: Changes,
}

/// A generation's number with the host's functions, for as long as this lives.
#[derive(Debug)]
pub(super) struct Context(u64);

impl Context {
    pub(super) fn new(
        app: AppName,
        generation: GenerationId,
        footprint: Footprint,
        services: Arc<dyn Services>,
        slots: &Arc<Slots>,
    ) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut contexts = CONTEXTS.write().unwrap_or_else(PoisonError::into_inner);
        let owner = Owner {
            app,
            generation,
            footprint,
            services,
            waiters: Arc::new(Waiters {
                slots: Arc::clone(slots),
                waiting: Mutex::default(),
            }),
        };
        contexts.insert(number, owner);
        Self(number)
    }

    pub(super) fn number(&self) -> u64 {
        self.0
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        CONTEXTS
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.0);
    }
}

/// Who that number stands for. No lock is held afterwards: what it is asked for may take long.
fn owner(context: u64) -> Option<Owner> {
    let contexts = CONTEXTS.read().unwrap_or_else(PoisonError::into_inner);
    contexts.get(&context).cloned()
}

unsafe extern "C" fn log(context: u64, record: *const abi::LogRecord) {
    let owner = owner(context);
    // SAFETY: the ABI: lent for this call.
    let raw = unsafe { &*record };
    // A record that panics here must not unwind into the plugin; it is lost, and nothing else.
    guard::contain(|| {
        // SAFETY: the ABI: what a record points to is valid during the call.
        let mut record = unsafe { read(raw) };
        if let Some(owner) = &owner {
            record.app = Some((owner.app.to_string(), Some(owner.generation.get())));
        }
        telemetry::write(&record);
        if let Some(owner) = owner.filter(|_| raw.frame_count > 0) {
            // SAFETY: the ABI: what a record points to is valid during the call.
            let frames = unsafe { std::slice::from_raw_parts(raw.frames, raw.frame_count) };
            log_stack(owner, &record, frames);
        }
    });
}

/// A panic that nothing in the plugin caught.
fn log_stack(owner: Owner, record: &Record, frames: &[usize]) {
    let fields = record.fields.get("fields");
    let location = fields.and_then(|fields| fields["location"].as_str());
    let caught = Caught {
        message: String::new(),
        location: location.unwrap_or_default().to_owned(),
        frames: frames.to_vec(),
    };
    let who = Panicked {
        app: owner.app,
        generation: owner.generation,
        request: record.request,
    };
    backtrace::log(who, &caught, &owner.footprint);
}

/// # Safety
/// What the record points to must be valid.
unsafe fn read(raw: &abi::LogRecord) -> Record {
    // SAFETY: vouched for by the caller, here and below.
    let text = |slice: abi::Slice| unsafe { slice.to_text() };
    let mut record = Record::new(Level::from_abi(raw.level), &text(raw.target));
    record.message = text(raw.message);
    record.request = (raw.request_id != 0).then_some(raw.request_id);
    let mut put = |key: &str, value: String| {
        if !value.is_empty() {
            record.fields.insert(key.to_owned(), json!(value));
        }
    };
    put("spans", text(raw.spans));
    put("file", text(raw.file));
    if raw.line != 0 {
        record.fields.insert("line".to_owned(), json!(raw.line));
    }
    if raw.field_count > 0 {
        // SAFETY: vouched for by the caller.
        let fields = unsafe { std::slice::from_raw_parts(raw.fields, raw.field_count) };
        let fields: Map<_, _> = fields
            .iter()
            .map(|field| (text(field.key), json!(text(field.value))))
            .collect();
        record.fields.insert("fields".to_owned(), fields.into());
    }
    record
}
