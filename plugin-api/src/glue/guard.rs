//! The one place where panics stop.
//!
//! Every function that the other side can call runs its work through [`catch`], since unwinding
//! into another library's frames ends the process, and another standard library's payload cannot
//! even be caught (rust-lang/rust#102721).

use std::{
    any::Any,
    cell::{Cell, RefCell},
    error::Error,
    fmt,
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::OnceLock,
};

use crate::{
    abi,
    glue::{bytes::owned, frames},
};

/// A panic that was caught, as text: the payload stays where it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caught {
    /// The panic's message.
    pub message: String,
    /// `file:line:column`; empty when no hook of ours was there to see it.
    pub location: String,
    /// The stack, as addresses of the library that panicked; empty when it is not known.
    pub frames: Vec<usize>,
}

impl Caught {
    /// The same for the other side.
    #[must_use]
    pub fn into_failure(self) -> abi::Failure {
        let frames: Vec<u8> = self
            .frames
            .iter()
            .flat_map(|frame| frame.to_ne_bytes())
            .collect();
        abi::Failure {
            size: size_of::<abi::Failure>(),
            message: owned(self.message.into_bytes().into()),
            location: owned(self.location.into_bytes().into()),
            frames: owned(frames.into()),
        }
    }
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked at {}: {}", self.location, self.message)
    }
}

impl Error for Caught {}

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Where the panic that is being caught began, and its stack.
    static ORIGIN: RefCell<(String, Vec<usize>)> = const {
        RefCell::new((String::new(), Vec::new()))
    };
}

/// Runs `work`, and turns a panic in it into a value.
///
/// # Errors
/// When `work` panicked.
pub fn catch<R>(work: impl FnOnce() -> R) -> Result<R, Caught> {
    let depth = |change: i32| {
        // On a thread that is ending, the cell may be gone: then nobody asks for it any more.
        let _ = DEPTH.try_with(|depth| depth.set(depth.get().saturating_add_signed(change)));
    };
    depth(1);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    depth(-1);
    result.map_err(|payload| {
        let message = take_message(payload);
        let (location, frames) = ORIGIN.try_with(RefCell::take).unwrap_or_default();
        Caught {
            message,
            location,
            frames,
        }
    })
}

/// Where panics go that nobody can be told of by a status.
static REPORT: OnceLock<Report> = OnceLock::new();

type Report = Box<dyn Fn(&Caught) + Send + Sync>;

/// Runs `work` where a panic can be told to nobody, as in a destructor: it is reported like one
/// that was not caught, and goes no further.
pub fn contain(work: impl FnOnce()) {
    if let Err(caught) = catch(work)
        && let Some(report) = REPORT.get()
    {
        report(&caught);
    }
}

fn take_message(payload: Box<dyn Any + Send>) -> String {
    let message = message_of(&*payload).to_owned();
    // A payload may panic in its own destructor; then it is left alone for good.
    if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        #[expect(
            clippy::mem_forget,
            reason = "dropping it might panic again, without end"
        )]
        std::mem::forget(second);
    }
    message
}

fn message_of(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

/// Replaces the panic hook of this library's standard library: a caught panic is remembered for
/// [`catch`], any other (in a task or thread of the plugin's) goes to `report`. The first call
/// counts.
///
/// The stack is taken as addresses, and the other side finds the names: see [`frames`].
pub fn install_hook(report: impl Fn(&Caught) + Send + Sync + 'static) {
    if REPORT.set(Box::new(report)).is_err() {
        return;
    }
    panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let frames = frames::capture();
        if DEPTH.try_with(Cell::get).unwrap_or(0) > 0 {
            let _ = ORIGIN.try_with(|slot| slot.replace((location, frames)));
        } else if let Some(report) = REPORT.get() {
            report(&Caught {
                message: message_of(info.payload()).to_owned(),
                location,
                frames,
            });
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        let caught = catch(|| panic!("no {}", "way")).unwrap_err();
        assert_eq!(caught.message, "no way");
        assert_eq!(catch(|| 7), Ok(7));
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_survived() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        let caught = catch(|| panic::panic_any(Bomb)).unwrap_err();
        assert_eq!(caught.message, "a panic without a message");
    }
}
