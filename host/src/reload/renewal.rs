//! A fresh generation for an app whose present one has done its time, or uses more memory than it
//! may.
//!
//! Rust code does not survive an allocation that fails: it aborts the process, and with it every
//! other app. So an allocation beyond the limit succeeds, and the app gets a fresh generation, as
//! if its file had changed: what was in flight ends on the old one, and then its heap is destroyed
//! whole. Between two of them some time passes; an app that is beyond its limit again before that
//! turns new requests away until it is below, or has its fresh generation.

use std::time::Duration;

use tokio::time::Instant;

use super::{Reloader, cause::Cause, event::Event};
use crate::id::{ArtifactPath, GenerationId};

/// At least so much time passes between two fresh generations of an app.
const BETWEEN: Duration = Duration::from_secs(10);

impl Reloader {
    /// The generation's memory is beyond its limit, or still is after it was waited for.
    pub(super) fn exhausted(&mut self, path: &ArtifactPath, generation: GenerationId) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        let (Some(app), Some(live)) = (&slot.app, &slot.live) else {
            return;
        };
        let Some(footprint) = &live.lease.footprint else {
            return;
        };
        if live.lease.id != generation {
            return;
        }
        if !footprint.exceeds_its_limit() {
            footprint.tell_again();
            return;
        }
        let memory = footprint.memory();
        let limit = self.config.options_of(&app.name).memory_limit;
        let warn = |reason: &str, action: &str| {
            tracing::warn!(
                event = "memory-limit",
                app = app.name.as_str(),
                generation = generation.get(),
                memory,
                limit,
                reason,
                remedy = "raise --memory-limit, or find what it keeps",
                "{action}",
            );
        };
        let due = slot.renewed.map(|last| last + BETWEEN);
        let now = Instant::now();
        if let Some(due) = due.filter(|due| *due > now) {
            if slot.turning_away == Some(generation) {
                return;
            }
            slot.turning_away = Some(generation);
            live.lease.turn_away_when_exhausted();
            let seconds = (due - now).as_secs() + 1;
            warn(
                "it uses more memory than it may, again",
                &format!(
                    "new requests are turned away until it has a fresh generation, in {seconds} s"
                ),
            );
            self.look_later(path, generation, due);
            return;
        }
        warn(
            "it uses more memory than it may",
            "making a fresh generation",
        );
        slot.renewed = Some(now);
        slot.turning_away = None;
        // A load that is under way makes one, too.
        if slot.work.is_idle() {
            self.begin_load(path, Cause::Memory);
        }
        // Should that be refused, it is tried again.
        self.look_later(path, generation, now + BETWEEN);
    }

    fn look_later(&self, path: &ArtifactPath, generation: GenerationId, when: Instant) {
        let path = path.clone();
        self.tell_later(when, Event::Exhausted { path, generation });
    }

    /// The generation has answered as many requests, or served as long, as it may.
    pub(super) fn worn(&mut self, path: &ArtifactPath, generation: GenerationId, cause: Cause) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        let again = Event::Worn {
            path: path.clone(),
            generation,
            cause: cause.clone(),
        };
        let live = match &slot.live {
            Some(live) if live.lease.id == generation => live,
            // It stands aside for another, which may not come.
            None if !slot.work.is_idle() => {
                return self.tell_later(Instant::now() + BETWEEN, again);
            }
            _ => return,
        };
        tracing::info!(
            event = "worn",
            app = live.lease.app.as_str(),
            generation = generation.get(),
            cause = cause.name(),
            requests = live.lease.tally.counts().requests,
            seconds = live.lease.since.elapsed().as_secs(),
            "making a fresh generation",
        );
        // A load that is under way makes one, too.
        if slot.work.is_idle() {
            self.begin_load(path, cause);
        }
        // Should that be refused, it is tried again.
        self.tell_later(Instant::now() + BETWEEN, again);
    }
}
