//! Taking connections itself.

use std::os::fd::OwnedFd;

use tokio::time::Interval;

use super::Worker;
use crate::{channel::Report, loader::StopReason, server::Lane};

/// What all workers of a group have to take connections themselves.
#[derive(Debug)]
pub struct OwnSockets {
    /// Where they listen.
    pub sockets: Vec<OwnedFd>,
    /// How they pass connections on.
    pub lane: Lane,
}

impl Worker {
    /// Reports what it has done, if that has changed.
    pub(super) async fn count(&self, before: &mut (u64, u64)) {
        let status = self.handle.status().await;
        let apps = status.map(|status| status.apps).unwrap_or_default();
        let serving = apps.into_iter().filter_map(|app| app.serving);
        let now = serving.fold((0, 0), |(requests, in_flight), app| {
            (requests + app.requests, in_flight + app.in_flight as u64)
        });
        if now != *before {
            *before = now;
            let (requests, in_flight) = now;
            self.upstream.report(Report::Served {
                requests,
                in_flight,
            });
        }
    }
}

/// Waits for the next time; `None`: for ever.
pub(super) async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// Whether somebody takes the connections of a worker that ends for that reason.
pub(super) fn goes_on_elsewhere(reason: StopReason) -> bool {
    use StopReason::{Abandoned, HostShutdown, Inactivity, Removal};
    !matches!(reason, Abandoned | HostShutdown | Inactivity | Removal)
}
