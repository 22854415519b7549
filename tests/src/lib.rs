//! What the end-to-end tests have in common: they start the real program, speak to it as clients
//! do, and put real libraries under it.
//!
//! A test awaits an event of the host's log, or asks until an answer changes; it never sleeps.

use std::{sync::LazyLock, time::Duration};

pub mod artifacts;
pub mod cargo;
pub mod client;
pub mod configured;
pub mod deploy;
pub mod direct;
pub mod grpc;
pub mod host;
pub mod leaving;
pub mod load;
pub mod log;
pub mod model;
pub mod module_order;
pub mod process;
pub mod socket;
pub mod visitors;

pub use client::Connection;
pub use host::Host;

/// How long anything may take before a test gives up. Not a measure of anything: on an idle machine
/// it takes a thousandth of this. `REPLUG_TEST_DEADLINE`, in seconds, is for hosts that run under a
/// checker.
#[must_use]
pub fn deadline() -> Duration {
    static DEADLINE: LazyLock<Duration> = LazyLock::new(|| {
        let named = std::env::var("REPLUG_TEST_DEADLINE").ok();
        let seconds = named.and_then(|seconds| seconds.parse().ok());
        Duration::from_secs(seconds.unwrap_or(60))
    });
    *DEADLINE
}

/// Awaits `future`, at most until the deadline.
///
/// # Panics
/// When the deadline passes.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(deadline(), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {:?}", deadline()),
    }
}

/// Asks again and again, each time awaiting an answer, until it is `Some`.
///
/// # Panics
/// When the deadline passes.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    in_time(what, async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}
