//! Names for the stack of a panic in a plugin.
//!
//! A plugin sends addresses (`replug_plugin::glue::frames` says why). Here they become names and
//! lines, from the private copy's symbols and debug information, on a thread of its own: that may
//! take longer than a request.

use std::{
    collections::HashMap,
    fs::File,
    os::fd::AsRawFd as _,
    path::PathBuf,
    sync::{
        LazyLock, Mutex, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use addr2line::Loader;
use replug_plugin::glue::guard::Caught;

use super::Footprint;
use crate::{
    id::{AppName, GenerationId},
    process,
};

/// A place that panics again and again is written once in so much time.
const AGAIN: Duration = Duration::from_secs(60);
/// Stacks that wait for their names; beyond it, further ones are dropped.
const WAITING: usize = 16;
const PLACES: usize = 256;

/// Who panicked.
#[derive(Clone, Debug)]
pub struct Panicked {
    /// The app.
    pub app: AppName,
    /// Its generation.
    pub generation: GenerationId,
    /// The request being answered; `None`: none.
    pub request: Option<u64>,
}

/// A stack without names.
struct Stack {
    who: Panicked,
    location: String,
    frames: Vec<usize>,
    file: File,
    name: String,
    base: usize,
}

/// Writes the panic's stack to the log, soon. The panic itself has been logged already.
pub fn log(who: Panicked, caught: &Caught, footprint: &Footprint) {
    let Some((path, base)) = footprint.code().filter(|_| !caught.frames.is_empty()) else {
        return;
    };
    if !is_due(base, &caught.location) {
        return;
    }
    // Opened here: the copy may be deleted before its turn comes.
    let Ok(file) = File::open(path) else { return };
    let name = path.file_name().unwrap_or_default();
    let stack = Stack {
        who,
        location: caught.location.clone(),
        frames: caught.frames.clone(),
        file,
        name: name.to_string_lossy().into_owned(),
        base,
    };
    static QUEUE: LazyLock<Option<SyncSender<Box<Stack>>>> = LazyLock::new(start);
    let sent = QUEUE
        .as_ref()
        .is_some_and(|queue| queue.try_send(Box::new(stack)).is_ok());
    if !sent {
        tracing::debug!("a panic's stack was not written: too many at once");
    }
}

fn is_due(base: usize, location: &str) -> bool {
    static LAST: Mutex<Option<HashMap<(usize, String), Instant>>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let last = last.get_or_insert_default();
    let now = Instant::now();
    if last.len() >= PLACES {
        last.retain(|_, when| now.duration_since(*when) < AGAIN);
    }
    let place = (base, location.to_owned());
    let due = last
        .get(&place)
        .is_none_or(|when| now.duration_since(*when) >= AGAIN);
    // A flood of places is not worth the memory.
    if due && last.len() < PLACES {
        last.insert(place, now);
        return true;
    }
    false
}

fn start() -> Option<SyncSender<Box<Stack>>> {
    let (sender, receiver) = sync_channel::<Box<Stack>>(WAITING);
    let work = move || {
        for stack in receiver {
            write(&stack);
        }
    };
    // It may be a plugin's thread that has just panicked.
    let thread = thread::Builder::new().name("backtrace".to_owned());
    process::as_host(|| thread.spawn(work)).ok()?;
    Some(sender)
}

fn write(stack: &Stack) {
    let lines = name(stack);
    tracing::error!(
        event = "backtrace",
        app = stack.who.app.as_str(),
        generation = stack.who.generation.get(),
        request = stack.who.request,
        location = stack.location,
        backtrace = lines.join("\n"),
        "the stack of the panic at {}",
        stack.location,
    );
}

/// A line for each call, the innermost first.
fn name(stack: &Stack) -> Vec<String> {
    // The path may be gone, the file is not.
    let path = PathBuf::from(format!("/proc/self/fd/{}", stack.file.as_raw_fd()));
    let loader = Loader::new(path);
    let size = stack.file.metadata().map_or(0, |meta| meta.len());
    let mut calls = Vec::new();
    for frame in &stack.frames {
        // An address to return to is the one after the call.
        let Some(at) = frame.checked_sub(stack.base + 1).map(|at| at as u64) else {
            continue;
        };
        // Other libraries' code, the host's among them. A library is not smaller than its file.
        if at >= size {
            continue;
        }
        let found = loader.as_ref().ok().map(|loader| calls_at(loader, at));
        match found.filter(|found| !found.is_empty()) {
            Some(found) => calls.extend(found),
            None => calls.push(Call {
                function: format!("{}+{at:#x}", stack.name),
                place: String::new(),
            }),
        }
    }
    let (first, end) = of_interest(&calls);
    calls[first..end]
        .iter()
        .map(|call| match &*call.place {
            "" => call.function.clone(),
            place => format!("{} at {place}", call.function),
        })
        .collect()
}

struct Call {
    function: String,
    place: String,
}

/// The calls at an address: more than one, where some were inlined.
fn calls_at(loader: &Loader, at: u64) -> Vec<Call> {
    let mut calls = Vec::new();
    if let Ok(mut frames) = loader.find_frames(at) {
        while let Ok(Some(frame)) = frames.next() {
            let Some(function) = &frame.function else {
                continue;
            };
            let Ok(function) = function.demangle() else {
                continue;
            };
            let place = frame.location.as_ref().and_then(|location| {
                let file = location.file?;
                Some(match location.line {
                    Some(line) => format!("{file}:{line}"),
                    None => file.to_owned(),
                })
            });
            calls.push(Call {
                function: without_hash(&function).to_owned(),
                place: place.unwrap_or_default(),
            });
        }
    }
    if calls.is_empty()
        && let Some(symbol) = loader.find_symbol(at)
    {
        let function = addr2line::demangle_auto(symbol.into(), None);
        calls.push(Call {
            function: without_hash(&function).to_owned(),
            place: String::new(),
        });
    }
    calls
}

/// `name::h0123456789abcdef` → `name`
fn without_hash(function: &str) -> &str {
    match function.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            name
        }
        _ => function,
    }
}

/// What is not the machinery of panics at one end, and of the ABI or of threads at the other.
fn of_interest(calls: &[Call]) -> (usize, usize) {
    const PANICKING: [&str; 6] = [
        "rust_begin_unwind",
        "rust_panic_with_hook",
        "core::panicking::",
        "std::panicking::panic",
        "replug_plugin::glue::frames::",
        "__rust_end_short_backtrace",
    ];
    const OUTSIDE: [&str; 4] = [
        "replug_plugin::glue::guard::catch",
        "__rust_begin_short_backtrace",
        "catch_unwind",
        "__rust_try",
    ];
    let is = |call: &Call, of: &[&str]| of.iter().any(|part| call.function.contains(part));
    let first = calls
        .iter()
        .take_while(|call| !is(call, &OUTSIDE))
        .enumerate()
        .filter(|(_, call)| is(call, &PANICKING))
        .last()
        .map_or(0, |(at, _)| at + 1);
    let end = calls[first..]
        .iter()
        .position(|call| is(call, &OUTSIDE))
        .map_or(calls.len(), |at| first + at);
    (first, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(names: &[&str]) -> Vec<Call> {
        let call = |name: &&str| Call {
            function: (*name).to_owned(),
            place: String::new(),
        };
        names.iter().map(call).collect()
    }

    #[test]
    fn machinery_is_left_out_at_both_ends() {
        let all = calls(&[
            "replug_plugin::glue::frames::capture",
            "std::panicking::panic_with_hook",
            "core::panicking::panic_fmt",
            "app::deep",
            "app::handler",
            "std::panicking::catch_unwind::do_call",
            "replug_plugin::glue::guard::catch",
            "core::panicking::assert_failed",
            "replug::dispatch",
        ]);
        assert_eq!(of_interest(&all), (3, 5));
        assert_eq!(of_interest(&calls(&["a", "b"])), (0, 2));
    }

    #[test]
    fn hashes_are_no_part_of_a_name() {
        assert_eq!(without_hash("app::f::h0123456789abcdef"), "app::f");
        assert_eq!(without_hash("app::hello"), "app::hello");
    }
}
