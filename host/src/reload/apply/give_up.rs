//! The end of a transaction that comes to nothing: what served serves on.

use super::{Applied, Applying, Step, plan::called};
use crate::{
    id::ArtifactPath,
    reload::{
        ReloadError, Reloader,
        command::Reply,
        load::Attempt,
        slot::{Old, Work},
    },
};

/// Transactions that are given up, to the actor.
impl Reloader {
    /// One part has failed.
    pub(super) fn apply_failed(&mut self, path: Option<&ArtifactPath>, error: &ReloadError) {
        let Some(applying) = self.applying.take() else {
            return;
        };
        let app = path.map(|path| {
            let place = applying.places.get(path).cloned().unwrap_or_default();
            called(path, self.slots.get(path), &place)
        });
        self.give_up(applying, Applied::refused(app, error));
    }

    /// The host ends.
    pub(in crate::reload) fn apply_ends(&mut self) {
        if let Some(applying) = self.applying.take() {
            self.give_up(applying, Applied::ending());
        }
    }

    fn give_up(&mut self, applying: Applying, reply: Applied) {
        let Applying {
            reply: asker,
            loads,
            watched,
            crews,
            rolled,
            rooms,
            ..
        } = applying;
        self.registry.set_leaving(std::iter::empty());
        // Who waits for room is told by this that there will be none.
        drop(rooms);
        let groups: Vec<_> = crews.keys().cloned().collect();
        for manned in crews.into_values().flatten() {
            for (path, attempt) in manned.neighbours {
                self.abandon(&path, attempt.result);
                self.stay_neighbour(&path);
            }
        }
        self.unwatch(watched);
        for (path, step) in loads {
            match step {
                // What is under way is given up when it comes.
                Step::Waiting | Step::Loading(_) => {}
                Step::Enlisted(attempt, _) | Step::Ready(attempt) => {
                    self.release(&path, Some(attempt));
                }
            }
        }
        for rolled in rolled {
            rolled.roll_back();
        }
        // They have stood aside when all was ready, or to hand over state.
        for crew in groups.iter().flat_map(|group| self.crews_of(group)) {
            crew.accept();
        }
        let _ = asker.send(reply);
        self.launch_all();
    }

    /// Nothing is loaded any more for a transaction that was given up: the artifact is what it was.
    pub(super) fn release(&mut self, path: &ArtifactPath, attempt: Option<Attempt>) {
        if let Some(attempt) = attempt {
            self.abandon(path, attempt.result);
        }
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        let Work::Loading(mut loading) = std::mem::replace(&mut slot.work, Work::Idle) else {
            return;
        };
        if self.ending.is_some() {
            return;
        }
        let again = loading.again.take();
        let next = std::mem::take(&mut slot.waiting_for_next);
        let is_known = slot.app.is_some() || slot.place.is_fixed();
        if let Some(app) = &slot.app
            && slot.live.is_some()
        {
            app.disarm();
        }
        self.restore(path, loading.old);
        if is_known || self.is_in_folder(path) {
            self.go_on(path, next, again);
            return;
        }
        let gone = Reply::Refused {
            reason: format!("{path} is not served: the configuration that names it was refused"),
            remedy: "apply one that names it".to_owned(),
        };
        if let Some(mut slot) = self.slots.remove(path) {
            slot.waiting.extend(next);
            slot.answer(&gone);
        }
    }

    /// The generation before takes requests again.
    pub(in crate::reload) fn restore(&mut self, path: &ArtifactPath, old: Old) {
        match old {
            Old::Paused(paused, _) => self.resume(path, paused),
            Old::Stopped((_, digest)) => {
                self.revive(path, digest);
            }
            Old::Serves | Old::Pausing => {}
        }
    }
}
