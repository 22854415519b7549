//! A generation that has been started comes to serve.

use std::time::Duration;

use super::{
    Reloader,
    error::ReloadError,
    launch::Said,
    load::{Loaded, Started},
    services::Asked,
    slot::{Loading, Old},
};
use crate::{
    id::{AppName, ArtifactPath, GenerationId},
    watcher::{Arrangement, Tracked},
};

impl Reloader {
    /// Makes a started generation the one that answers.
    pub(super) fn swap_in(&mut self, path: &ArtifactPath, mut started: Started, loading: Loading) {
        let only_app = self.slots.len() == 1;
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        // Looked at again: two artifacts may have been loaded side by side.
        let mounts = started.routes.iter().chain([&started.app.mount]);
        let taken = mounts
            .map(|mount| self.router.check(mount, path))
            .find_map(Result::err);
        if let Some(taken) = taken {
            self.abandon(path, Ok(Loaded::Started(Box::new(started))));
            return self.not_taken(path, ReloadError::Mount(taken), loading);
        }
        if let Err(error) = self.registry.commit(&started.claimant) {
            self.abandon(path, Ok(Loaded::Started(Box::new(started))));
            return self.not_taken(path, ReloadError::Register(error), loading);
        }
        let generation = started.live.lease.id;
        let Asked {
            tracked, schedules, ..
        } = std::mem::take(&mut started.asked);
        if self.superior.is_some() {
            slot.said = Said {
                registered: self.registry.of_claimant(&started.claimant),
                schedules: schedules.clone(),
                tracked: tracked.iter().map(|it| it.base().to_owned()).collect(),
                setup: Duration::from_secs_f64(started.times.setup_ms / 1_000.0),
            };
        }
        let routes = started.routes.clone();
        let staged = started.staged.clone();
        let digest = started.live.lease.digest;
        slot.blocked_on = None;
        slot.waited = false;
        slot.refusal = None;
        slot.next = generation.next();
        let before = match (&slot.live, &loading.old) {
            (Some(live), _) => Some((live.lease.id, live.lease.digest)),
            (None, Old::Paused(paused, _)) => Some((paused.facts().id, paused.facts().digest)),
            (None, Old::Stopped(facts)) => Some(*facts),
            _ => None,
        };
        // The host itself opens more after the first: its HTTP threads'.
        let alone = only_app && generation != GenerationId::FIRST.next();
        // A superior has all that can be gone back to.
        if self.superior.is_none()
            && let Err(error) = slot.history.keep(digest, &staged, &self.staging)
        {
            tracing::warn!(
                event = "not-kept",
                path = %path,
                generation = generation.get(),
                reason = %error,
                remedy = "free some space in the staging directory",
                "no copy of it is kept: it cannot be rolled back to",
            );
        }
        if !loading.cause.is_change() {
            slot.forgive(digest);
        }
        slot.taken(&loading.cause, before);
        let earlier = self.earlier_window(path);
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        let (replaced, previous) = slot.take_over(started, &self.router, alone);
        if let Some(app) = &slot.app
            && let Err(error) = self.router.mount_also(app, &routes)
        {
            // Only this actor mounts, and it has just asked.
            tracing::error!("{error}");
        }
        if loading.cause.wants_the_same() {
            self.wait_on(path);
        }
        self.schedule(path, &schedules);
        let reason = loading.cause.stop_reason();
        if let Some(live) = previous {
            self.retire(path, live, reason, None);
        }
        match loading.old {
            Old::Paused(paused, snapshot) => {
                self.retire_paused(path, paused, snapshot, reason, || ());
            }
            // Who is still pausing finds a newer one, and goes.
            Old::Serves | Old::Pausing | Old::Stopped(_) => {}
        }
        if let Some(replaced) = replaced {
            self.unblock(&replaced.mount);
        }
        self.arrange(path, tracked);
        let guarded = before
            .map(|(_, before)| before)
            .filter(|before| *before != digest && loading.cause.is_guarded());
        self.begin_watch(path, generation, guarded, earlier);
        // It may have taken that much before it served.
        self.exhausted(path, generation);
    }

    /// Has what the generation that serves tracks watched. It was looked at before the load, so that
    /// no change since then is lost.
    pub(super) fn arrange(&mut self, path: &ArtifactPath, tracked: Vec<Tracked>) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        slot.tracked.clone_from(&tracked);
        let options = slot.options(&self.config);
        for problem in tracked.iter().filter_map(Tracked::problem) {
            tracing::warn!(
                event = "track-problem",
                app = slot.name().map(AppName::as_str),
                path = %path,
                remedy = "name files and directories that the host's user may read",
                "{problem}",
            );
        }
        let arrangement = Arrangement {
            settle: options.settle,
            poll: options.poll,
            tracked,
        };
        if let Some(watcher) = &self.watcher {
            watcher.arrange(path, arrangement);
        }
    }
}
