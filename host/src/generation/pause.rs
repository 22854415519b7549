//! A generation that takes no requests for a while, and may take them again.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Body, Facts, Lease, Live, Seat};
use crate::{
    loader::{SaveError, Snapshot},
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
    /// Its code, to be stopped or to be shared again.
    pub body: Body,
    /// What is known of the generation.
    pub facts: Facts,
    /// Descriptors that came up with it.
    pub opened: Option<OpenedBy>,
}

impl Live {
    /// Waits for the requests that are under way, at most until then. The app must have been shut
    /// before. `None`: its code is gone, which is a bug.
    pub async fn pause(mut self, deadline: Instant) -> Option<Paused> {
        let facts = self.lease.facts.clone();
        let opened = self.opened.take();
        let idle = |body, facts, opened| {
            Some(Paused::Idle(Box::new(Idle {
                body,
                facts,
                opened,
            })))
        };
        let mut draining = self.drain();
        // Not `draining.last` alone: connections that were answered wait for the generation's end.
        if let Ok(body) = timeout_at(deadline, draining.last()).await {
            return idle(body?, facts, opened);
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
    /// Has it save its state; `None`: it saves none, or has it in workers, whose crew is to be asked.
    /// Takes up to `time`: for a thread of its own.
    ///
    /// # Errors
    /// When its code fails, panics or takes too long, or its state has more than `limit` bytes.
    pub fn save(&self, limit: u64, time: Duration) -> Result<Option<Snapshot>, SaveError> {
        match self {
            Self::Idle(idle) => match &idle.body {
                Body::Here(running) => running.save_state(limit, time),
                Body::Workers(_) => Ok(None),
            },
            Self::Busy(live) => match live.lease.plugin() {
                Some(plugin) => plugin.save_state(limit, time),
                None => Ok(None),
            },
        }
    }

    /// It is to take requests again.
    #[must_use]
    pub fn resume(self) -> Live {
        match self {
            Self::Idle(idle) => {
                let Idle {
                    body,
                    facts,
                    opened,
                } = *idle;
                Live {
                    opened,
                    ..Live::new(body, facts)
                }
            }
            Self::Busy(live) => *live,
        }
    }

    /// Its part in a crew, if workers have it loaded.
    #[must_use]
    pub fn seat(&self) -> Option<&Seat> {
        match self {
            Self::Idle(idle) => match &idle.body {
                Body::Here(_) => None,
                Body::Workers(seat) => Some(seat),
            },
            Self::Busy(live) => live.lease.seat(),
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
