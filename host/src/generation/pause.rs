//! A generation that takes no requests for a while, and may take them again.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Facts, Lease, Live};
use crate::{
    loader::{Running, SaveError, Snapshot},
    process::OpenedBy,
};

/// A generation between two: its requests have ended, or had their time, and it is not stopped.
#[derive(Debug)]
pub enum Paused {
    /// Its last request has ended.
    Idle(Box<Idle>),
    /// Some have not, at the deadline.
    Busy(Box<Live>),
}

/// A generation that nobody has a lease on.
#[derive(Debug)]
pub struct Idle {
    /// The app, to be stopped or to be shared again.
    pub running: Running,
    /// What is known of the generation.
    pub facts: Facts,
    /// Descriptors that came up with it.
    pub opened: Option<OpenedBy>,
}

impl Live {
    /// Waits for the requests that are under way, at most until then. The app must have been shut
    /// before. `None`: the plugin is gone, which is a bug.
    pub async fn pause(mut self, deadline: Instant) -> Option<Paused> {
        let facts = self.lease.facts.clone();
        let opened = self.opened.take();
        let idle = |running, facts, opened| {
            Some(Paused::Idle(Box::new(Idle {
                running,
                facts,
                opened,
            })))
        };
        let mut draining = self.drain();
        // Not `draining.last` alone: connections that were answered wait for the generation's end.
        if let Ok(running) = timeout_at(deadline, draining.last()).await {
            return idle(running?, facts, opened);
        }
        match draining.generation.upgrade() {
            Some(generation) => Some(Paused::Busy(Box::new(Self {
                lease: Lease(generation),
                opened,
                last: draining.last,
            }))),
            // The last one ended in this moment.
            None => idle(draining.last().await?, facts, opened),
        }
    }
}

impl Paused {
    /// Has it save its state; `None`: it saves none. Takes up to `time`: for a thread of its own.
    ///
    /// # Errors
    /// When its code fails, panics or takes too long, or its state has more than `limit` bytes.
    pub fn save(&self, limit: u64, time: Duration) -> Result<Option<Snapshot>, SaveError> {
        match self {
            Self::Idle(idle) => idle.running.save_state(limit, time),
            Self::Busy(live) => live.lease.plugin().save_state(limit, time),
        }
    }

    /// It is to take requests again.
    #[must_use]
    pub fn resume(self) -> Live {
        match self {
            Self::Idle(idle) => {
                let Idle {
                    running,
                    facts,
                    opened,
                } = *idle;
                Live {
                    opened,
                    ..Live::new(running, facts)
                }
            }
            Self::Busy(live) => *live,
        }
    }

    /// What is known of the generation.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        match self {
            Self::Idle(idle) => &idle.facts,
            Self::Busy(live) => &live.lease.facts,
        }
    }
}
