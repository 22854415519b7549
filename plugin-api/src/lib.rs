//! Write HTTP applications that Replug loads, swaps and unloads while it serves.
//!
//! A plugin is a library crate of the type `cdylib` that names one function. Whatever
//! [`tower_service::Service`] that function returns answers the plugin's requests: an axum router
//! of any version, tonic routes, a tower stack, or a service written by hand.
//!
//! ```
//! use axum::{Router, routing::get};
//! use replug_plugin::{Setup, export_app};
//!
//! # mod plugin { use super::*;
//! export_app!(app);
//! # }
//!
//! fn app(setup: &mut Setup) -> Router {
//!     setup.on_cleanup(|| println!("bye"));
//!     Router::new().route("/", get(|| async { "hello\n" }))
//! }
//! # fn main() {}
//! ```
//!
//! The crate's `Cargo.toml` says what it is:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! replug-plugin = "0.1"
//! axum = "0.8"
//! ```
//!
//! # Where the code runs
//!
//! Handlers are polled on the host's HTTP threads, with the plugin's own tokio runtime entered:
//! `tokio::spawn`, timers and sockets work, and land on that runtime. A handler that blocks holds
//! up the other requests of its thread; `tokio::task::spawn_blocking` is for that.
//!
//! # What happens on failure
//!
//! - A panic in a handler is a 500 for that request alone, and is logged with its message and
//!   location.
//! - A setup function that fails, panics or takes too long leaves the version before it serving.
//! - A panic in a task or thread of the plugin's is logged; the rest goes on.

mod body;
mod cleanup;
mod entry;
mod export;
mod forward;
mod heap;
mod host;
mod instance;
mod link;
mod outgoing;
mod request;
mod schedule;
mod service;
mod setup;
mod shutdown;
mod state;
mod tunnel;

pub mod abi;
#[doc(hidden)]
pub mod glue;
pub mod manifest;

pub use body::Body;
pub use cleanup::{Hook, IntoCleanup};
pub use glue::body::BoxError;
pub use host::{HostHandle, Registration, Registry};
pub use link::HostError;
pub use request::{Mode, Peer, PeerLayer, PeerService, RequestInfo, with_peer};
pub use service::{AppService, IntoApp};
pub use setup::{SettingsError, Setup};
pub use shutdown::{Reason, ShutdownToken};
pub use state::{IntoSave, IntoState, State};

/// What `export_app!` expands to; not for other use.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        entry::{plugin_table, setup},
        heap::GenerationHeap,
        service::{Started, start},
    };
}
