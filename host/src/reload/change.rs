//! What a change of a file comes to: a load, at once or later, or the end of an app.

use std::path::PathBuf;

use super::{
    Reloader,
    cause::Cause,
    command::Reply,
    slot::{Old, Place, Slot, Work},
};
use crate::{config::Policy, id::ArtifactPath, loader::StopReason};

/// Changes, to the actor.
impl Reloader {
    /// The library changed or is new, or what it tracks changed.
    pub(super) fn changed(&mut self, path: &ArtifactPath, cause: Cause) {
        if !self.is_wanted(path) {
            return;
        }
        let config = &self.config;
        let slot = self
            .slots
            .entry(path.clone())
            .or_insert_with(|| Slot::new(Place::default()));
        if let Work::Loading(loading) = &mut slot.work {
            loading.again = loading.again.take().max(Some(cause));
            loading.removed = false;
            return;
        }
        let policy = slot.options(config).reload;
        let (Some(app), Some(live)) = (&slot.app, &slot.live) else {
            return self.begin_load(path, cause);
        };
        let why = match (slot.pin, policy) {
            (None, Policy::Eager) => return self.begin_load(path, cause),
            (Some(pin), _) => format!(
                "pinned to {}: `replug unpin {}` loads it",
                pin.short(),
                app.name
            ),
            (None, Policy::OnRequest) => "the next request loads it".to_owned(),
            (None, Policy::Manual) => format!("`replug reload {}` loads it", app.name),
        };
        // Before it is told: who reads of it may ask at once.
        if slot.pin.is_none() && policy == Policy::OnRequest {
            app.arm();
        }
        tracing::info!(
            event = "changed",
            app = app.name.as_str(),
            generation = live.lease.id.get(),
            path = %path,
            cause = cause.name(),
            "changed; {why}",
        );
        slot.pending = slot.pending.take().max(Some(cause));
    }

    /// Another generation of the same artifact has come to serve: a change that waited for a request
    /// waits on.
    pub(super) fn wait_on(&self, path: &ArtifactPath) {
        let Some(slot) = self.slots.get(path) else {
            return;
        };
        let waits = slot.pin.is_none() && slot.pending.is_some();
        if let (Some(app), true) = (&slot.app, waits)
            && slot.options(&self.config).reload == Policy::OnRequest
        {
            app.arm();
        }
    }

    /// Files that an app tracks changed.
    pub(super) fn tracked_changed(&mut self, path: &ArtifactPath, files: &[PathBuf]) {
        let Some(slot) = self.slots.get(path) else {
            return;
        };
        let shown: Vec<_> = files
            .iter()
            .take(5)
            .map(|it| it.display().to_string())
            .collect();
        tracing::info!(
            event = "tracked-changed",
            app = slot.name().map(crate::id::AppName::as_str),
            path = %path,
            files = files.len(),
            "changed: {}{}",
            shown.join(", "),
            if files.len() > shown.len() { ", …" } else { "" },
        );
        self.changed(path, Cause::Tracked);
    }

    /// A request waits for a generation that nobody loads yet.
    pub(super) fn wanted(&mut self, path: &ArtifactPath) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        if !slot.work.is_idle() {
            // What it comes to lets the request in.
            return;
        }
        let cause = match (&slot.live, &slot.app) {
            (None, _) => slot.pending.take().unwrap_or(Cause::Change),
            (Some(_), Some(app)) => match slot.pending.clone().filter(|_| slot.pin.is_none()) {
                Some(cause) => cause,
                // It has been loaded meanwhile, because somebody asked.
                None => return app.disarm(),
            },
            (Some(_), None) => return,
        };
        self.begin_load(path, cause);
    }

    /// A file that seemed to be in the middle of being written: it is judged as it is now.
    pub(super) fn look_again(&mut self, path: &ArtifactPath) {
        if self
            .slots
            .get(path)
            .is_some_and(|slot| slot.waited && slot.work.is_idle())
        {
            self.begin_load(path, Cause::Change);
        }
    }

    pub(super) fn removed(&mut self, path: &ArtifactPath) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        if let (Some(pin), Some(app)) = (slot.pin, &slot.app) {
            tracing::info!(
                event = "changed",
                app = app.name.as_str(),
                path = %path,
                "{path} is gone; pinned to {}, which serves on",
                pin.short(),
            );
            slot.pending = Some(Cause::Change);
            return;
        }
        let mut paused = None;
        if let Work::Loading(loading) = &mut slot.work {
            loading.removed = true;
            loading.again = None;
            if let Old::Paused(..) = loading.old
                && let Old::Paused(old, snapshot) = std::mem::replace(&mut loading.old, Old::Serves)
            {
                paused = Some((old, snapshot));
            }
        }
        slot.waited = false;
        slot.pending = None;
        // Who puts a file there again wants it.
        slot.bad.clear();
        slot.off_file = false;
        slot.waiting.append(&mut slot.waiting_for_next);
        slot.answer(&Reply::Refused {
            reason: format!("{path} is gone"),
            remedy: "put it back".to_owned(),
        });
        self.end_guard(path, None);
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        let (app, live) = (slot.app.take(), slot.live.take());
        let idle = slot.work.is_idle();
        self.schedule(path, &[]);
        if idle {
            self.drop_slot(path);
        }
        let Some(app) = app else { return };
        self.router.unmount(&app);
        tracing::info!(
            event = "unmounted",
            app = app.name.as_str(),
            path = %path,
            "{path} is gone: unmounted {}; put it back to serve it again",
            app.mount,
        );
        app.close();
        if let Some(live) = live {
            self.retire(path, live, StopReason::Removal, None);
        }
        if let Some((paused, snapshot)) = paused {
            self.retire_paused(path, paused, snapshot, StopReason::Removal, || ());
        }
        self.unblock(&app.mount);
    }

    /// A slot whose place was said by the operator stays, for the file to come back.
    pub(super) fn drop_slot(&mut self, path: &ArtifactPath) {
        if self
            .slots
            .get(path)
            .is_some_and(|slot| !slot.place.is_fixed())
        {
            self.slots.remove(path);
        }
    }

    /// Tries again what was refused because that mount was taken.
    pub(super) fn unblock(&mut self, mount: &crate::config::Mount) {
        let waiting: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.blocked_on.as_ref() == Some(mount))
            .map(|(path, _)| path.clone())
            .collect();
        for path in waiting {
            self.changed(&path, Cause::Change);
        }
    }
}
