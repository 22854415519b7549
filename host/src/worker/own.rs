//! Taking connections itself.

use std::{os::fd::OwnedFd, time::Duration};

use tokio::time::{Interval, timeout};

use super::{Worker, stopping::end_of, upstream::fitting};
use crate::{
    channel::{Report, Served},
    id::AppName,
    server::Lane,
};

/// How long connections that were told to go on elsewhere may still begin requests that they had
/// read already, or that an HTTP/2 client had sent already, before an app saves its state. Who
/// comes later waits.
const LATE: Duration = Duration::from_secs(1);

/// What all workers of a group have to take connections themselves.
#[derive(Debug)]
pub struct OwnSockets {
    /// Where they listen.
    pub sockets: Vec<OwnedFd>,
    /// How they pass connections on.
    pub lane: Lane,
}

impl Worker {
    /// Reports what those have come to who came to it itself, if that has changed.
    pub(super) async fn count(&mut self) {
        if self.entrance.is_some() {
            let apps = self.direct().await;
            if self.served != apps {
                self.served.clone_from(&apps);
                self.upstream.report(Report::Served { call: None, apps });
            }
        }
    }

    /// The same because it was asked.
    pub(super) async fn answer_count(&mut self, call: u64) {
        self.served = self.direct().await;
        let (call, apps) = (Some(call), self.served.clone());
        self.upstream.report(Report::Served { call, apps });
    }

    async fn direct(&self) -> Vec<Served> {
        let counted = self.handle.direct().await.into_iter();
        let served = counted.map(|(app, counts, in_flight)| Served {
            app: app.to_string(),
            requests: counts.requests,
            failures: counts.failures,
            panics: counts.panics,
            in_flight,
        });
        served.collect()
    }

    /// Has an app save its state; requests that came to the worker itself end first.
    pub(super) fn save_state(&self, call: u64, app: &str, drain: Option<Duration>) {
        let deadline = end_of(drain);
        let (handle, upstream) = (self.handle.clone(), self.upstream.clone());
        let left = self.entrance.as_ref().map(|entrance| entrance.left());
        let app = AppName::try_from(app);
        tokio::spawn(async move {
            let until = match left {
                Some(left) => {
                    let _ = timeout(LATE, left).await;
                    Some(deadline)
                }
                None => None,
            };
            let saved = match app {
                Ok(app) => handle.save_state(app, until).await,
                Err(error) => Err(error.to_string()),
            };
            let state = saved.and_then(fitting);
            upstream.report(Report::SavedState { call, state });
        });
    }
}

/// Waits for the next time; `None`: for ever.
pub(super) async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
