//! Waiting for the registry to change.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::watch;

/// A wait for another version than the one that was seen.
pub(super) struct Changes {
    seen: u64,
    wait: Pin<Box<dyn Future<Output = u64> + Send>>,
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl Changes {
    pub(super) fn new(mut versions: watch::Receiver<u64>, seen: u64) -> Self {
        let wait = async move {
            match versions.wait_for(|version| *version != seen).await {
                Ok(version) => *version,
                // The registry lives as long as the host.
                Err(_) => seen,
            }
        };
        Self {
            seen,
            wait: Box::pin(wait),
        }
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<u64> {
        self.wait.as_mut().poll(cx)
    }
}
