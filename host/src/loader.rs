//! `Inspected` → [`Plugin`]: the only `dlopen`, and the only calls through the ABI.
//!
//! A library passes through types, each with what can be done in that stage and nothing else:
//! [`Loaded`] can be set up; [`Running`] can be shared as a [`Plugin`], which answers requests;
//! when the last clone of it is gone the `Running` comes back and can be stopped; [`Stopped`] can
//! be unloaded. So nothing is stopped under a request, and nothing is closed that was not stopped.

#![expect(unsafe_code, reason = "opens libraries and calls them through the ABI")]

use std::{ffi::c_void, fmt, ptr, sync::Arc, time::Duration};

use replug_plugin::{abi, glue::guard::Caught};

pub mod backtrace;
mod call;
mod context;
mod errands;
mod footprint;
mod library;
mod linked;
mod plugin;
mod request;
mod services;
mod slots;
mod stream;

pub use call::{Call, CallError, ResponseBody};
pub use errands::{SaveError, Task};
pub use footprint::Footprint;
pub use library::{LoadError, Loaded, load};
pub use plugin::{Plugin, PluginOwner};
pub use request::{Peer, RequestInfo};
pub use services::{Registered, Services, Snapshot};

use crate::{
    id::{AppName, GenerationId},
    telemetry,
};
use context::Context;
use library::Library;
use slots::Slots;

/// What an app is told when it is set up.
#[derive(Clone, Debug)]
pub struct SetupFacts {
    /// The app's name.
    pub name: AppName,
    /// Where it is mounted.
    pub mount: String,
    /// Its generation.
    pub generation: GenerationId,
    /// Its settings: a JSON object.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// The worker that it is loaded in; `None`: the host itself.
    pub post: Option<Post>,
    /// What it may ask of the host.
    pub services: Arc<dyn Services>,
}

/// A worker's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Its process group.
    pub group: String,
    /// Its number in that, from 0.
    pub worker: u32,
}

/// Why an app could not be set up.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SetupError {
    /// Its setup function returned an error.
    #[error("its setup failed: {0}")]
    Failed(String),
    /// Its setup function panicked.
    #[error("its setup panicked at {}: {}", .0.location, .0.message)]
    Panicked(Caught),
}

/// Why an app stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum StopReason {
    /// A newer generation serves.
    Reload,
    /// Its artifact was removed.
    Removal,
    /// The host ends.
    HostShutdown,
    /// It was started, but never served.
    Abandoned,
    /// It used more memory than its limit allows, and a fresh generation serves.
    MemoryLimit,
    /// It did worse than the one before, which serves again; or somebody asked for that.
    Rollback,
    /// It has answered as many requests as it may, and a fresh generation serves.
    MaxRequests,
    /// It has served as long as it may, and a fresh generation serves.
    MaxAge,
    /// The host replaces itself.
    Restart,
    /// Its worker had no request for as long as it may, and ends until there is one.
    Inactivity,
    /// Somebody sent its worker a signal, and another takes its place.
    Signal,
}

impl StopReason {
    fn to_abi(self) -> u32 {
        match self {
            Self::Reload => abi::REASON_RELOAD,
            Self::Removal => abi::REASON_REMOVAL,
            Self::HostShutdown => abi::REASON_HOST_SHUTDOWN,
            Self::Abandoned => abi::REASON_ABANDONED,
            Self::MemoryLimit => abi::REASON_MEMORY_LIMIT,
            Self::Rollback => abi::REASON_ROLLBACK,
            Self::MaxRequests => abi::REASON_MAX_REQUESTS,
            Self::MaxAge => abi::REASON_MAX_AGE,
            Self::Restart => abi::REASON_RESTART,
            Self::Inactivity => abi::REASON_INACTIVITY,
            Self::Signal => abi::REASON_SIGNAL,
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reload => "reload",
            Self::Removal => "removal",
            Self::HostShutdown => "host-shutdown",
            Self::Abandoned => "abandoned",
            Self::MemoryLimit => "memory-limit",
            Self::Rollback => "rollback",
            Self::MaxRequests => "max-requests",
            Self::MaxAge => "max-age",
            Self::Restart => "restart",
            Self::Inactivity => "inactivity",
            Self::Signal => "signal",
        })
    }
}

impl Loaded {
    /// Runs the app's setup function. May take long: for a thread of its own, never an HTTP
    /// thread.
    ///
    /// # Errors
    /// When the function fails or panics; with what is left of it, to be unloaded.
    pub fn setup(self, facts: &SetupFacts) -> Result<Running, Box<(SetupError, Stopped)>> {
        self.library.owner().visit();
        let footprint = Footprint::of(&self.library);
        let slots = Arc::default();
        let context = Context::new(
            facts.name.clone(),
            facts.generation,
            footprint.clone(),
            Arc::clone(&facts.services),
            &slots,
        );
        let path = self
            .library
            .source()
            .as_ref()
            .to_string_lossy()
            .into_owned();
        let settings = serde_json::Value::Object(facts.settings.clone()).to_string();
        let lend = |text: &str| abi::Slice::lend(text.as_bytes());
        let args = abi::SetupArgs {
            size: size_of::<abi::SetupArgs>(),
            host: &raw const context::HOST,
            context: context.number(),
            name: lend(facts.name.as_str()),
            path: lend(&path),
            mount: lend(&facts.mount),
            group: facts
                .post
                .as_ref()
                .map_or(abi::Slice::EMPTY, |post| lend(&post.group)),
            settings: lend(&settings),
            generation: facts.generation.get(),
            mode: match facts.post {
                Some(_) => abi::MODE_DAEMON,
                None => abi::MODE_EMBEDDED,
            },
            worker: facts.post.as_ref().map_or(0, |post| post.worker),
            max_level: telemetry::max_level() as u32,
        };
        let mut outcome = abi::SetupOutcome {
            size: size_of::<abi::SetupOutcome>(),
            app: ptr::null_mut(),
            failure: abi::Failure::EMPTY,
            threads_left: 0,
        };
        let setup = self.library.table().setup;
        // SAFETY: the ABI: called once, with messages that live through the call.
        let status = unsafe { setup(&raw const args, &raw mut outcome) };
        if status == abi::READY {
            // This thread ends; nothing of the plugin's may be left for its end to run.
            self.library.owner().leave_this_thread();
            return Ok(Running {
                app: App(outcome.app),
                slots,
                library: self.library,
                context,
            });
        }
        // SAFETY: filled by the plugin for us.
        let caught = unsafe { outcome.failure.adopt() };
        self.library.owner().leave_this_thread();
        let error = if status == abi::PANICKED {
            let who = backtrace::Panicked {
                app: facts.name.clone(),
                generation: facts.generation,
                request: None,
            };
            backtrace::log(who, &caught, &footprint);
            SetupError::Panicked(caught)
        } else {
            SetupError::Failed(caught.message)
        };
        let stopped = Stopped {
            slots,
            library: self.library,
            context,
        };
        Err(Box::new((error, stopped)))
    }
}

/// The plugin's own pointer to its app.
#[derive(Debug)]
struct App(*mut c_void);

// SAFETY: the ABI lets requests be handed in from any thread, many at a time.
unsafe impl Send for App {}
// SAFETY: as above.
unsafe impl Sync for App {}

/// An app that has been set up. Not clonable: who owns it may stop it.
#[derive(Debug)]
pub struct Running {
    app: App,
    slots: Arc<Slots>,
    library: Library,
    context: Context,
}

/// How an app stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct StopReport {
    /// Cleanup hooks that ran to their end.
    pub hooks_done: u32,
    /// Cleanup hooks that panicked or ran out of time.
    pub hooks_failed: u32,
    /// Threads of its runtime that did not end in time.
    pub threads_left: u32,
    /// Stopping itself panicked.
    pub panicked: bool,
}

impl Running {
    /// What it has in the process.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        Footprint::of(&self.library)
    }

    /// Runs the cleanup hooks, ends the plugin's runtime and frees the app. Takes up to twice
    /// `timeout`: for a thread of its own.
    #[must_use]
    pub fn stop(self, reason: StopReason, timeout: Duration) -> (Stopped, StopReport) {
        let Self {
            app,
            slots,
            library,
            context,
        } = self;
        library.owner().visit();
        let args = abi::StopArgs {
            size: size_of::<abi::StopArgs>(),
            reason: reason.to_abi(),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        };
        let mut out = abi::StopReport {
            size: size_of::<abi::StopReport>(),
            hooks_done: 0,
            hooks_failed: 0,
            threads_left: 0,
        };
        // SAFETY: the ABI: called once, when no call is left, which `Plugin` sees to.
        let status = unsafe { (library.table().stop)(app.0, &raw const args, &raw mut out) };
        library.owner().leave_this_thread();
        let report = StopReport {
            hooks_done: out.hooks_done,
            hooks_failed: out.hooks_failed,
            threads_left: out.threads_left,
            panicked: status != abi::READY,
        };
        (
            Stopped {
                slots,
                library,
                context,
            },
            report,
        )
    }
}

/// A stopped app: nothing but its library is left.
#[derive(Debug)]
pub struct Stopped {
    slots: Arc<Slots>,
    library: Library,
    context: Context,
}

/// Why a library stays loaded.
#[derive(Debug)]
pub struct Quarantine {
    /// The reason.
    pub reason: String,
    /// To be tried again; `None`: it stays for good.
    pub again: Option<Box<Stopped>>,
}

impl Stopped {
    /// What it still has in the process.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        Footprint::of(&self.library)
    }

    /// What the threads that have run its code have to do before it can be unloaded.
    pub fn leaving(&self) -> impl Fn() + Send + Sync + 'static {
        let owner = Arc::clone(self.library.owner());
        move || owner.leave_this_thread()
    }

    /// Closes the library, makes sure that it is gone, and deletes its private copy.
    ///
    /// # Errors
    /// When something of it is still in use. Nothing is ever unmapped under running code.
    pub fn unload(self) -> Result<(), Quarantine> {
        let Self {
            slots,
            library,
            context,
        } = self;
        // The body of a task that was dropped, or a connection of hyper's, may hold a waker. A thread
        // that waits for such a body needs it to come to its end.
        match library.close(|| slots.revoke()) {
            // What it logs until its end can be told from others: the context goes last.
            Ok(()) => {
                drop(context);
                Ok(())
            }
            Err((Some(library), reason)) => Err(Quarantine {
                reason,
                again: Some(Box::new(Self {
                    slots,
                    library: *library,
                    context,
                })),
            }),
            Err((None, reason)) => {
                #[expect(clippy::mem_forget, reason = "its code may log until the host ends")]
                std::mem::forget(context);
                Err(Quarantine {
                    reason,
                    again: None,
                })
            }
        }
    }
}
