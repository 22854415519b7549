//! What becomes of a load that has ended.

use std::time::SystemTime;

use tokio::time::sleep;

use super::{
    Reloader, SECOND_LOOK,
    cause::Cause,
    command::Reply,
    error::ReloadError,
    event::Event,
    first_round::FirstRoundState,
    history::{Attempted, Outcome},
    load::{Attempt, Found, Loaded},
    slot::{Asker, Loading, Old, Refusal, Slot, Work},
};
use crate::{
    app,
    artifact::{OpenError, StageError},
    id::ArtifactPath,
    loader::StopReason,
};

/// Loads that have ended, to the actor.
impl Reloader {
    pub(super) fn loaded(&mut self, path: &ArtifactPath, mut attempt: Attempt) {
        if self.is_applys(path, &attempt) {
            return self.apply_loaded(path, attempt);
        }
        if self.is_stale(&attempt) {
            return self.load_again(path, attempt);
        }
        if let Some(slot) = self.slots.get_mut(path)
            && let Work::Loading(loading) = &mut slot.work
        {
            loading.looking = false;
        }
        if let Ok(Loaded::Enlisted(enlisted)) = attempt.result {
            attempt.result = Err(ReloadError::Internal);
            return self.enlist(path, attempt, *enlisted);
        }
        let attempt = match &mut self.first {
            Some(first) => first.keep(path, attempt),
            None => Some(attempt),
        };
        match attempt {
            Some(attempt) => self.finish_load(path, attempt),
            None => self.take_first_round(),
        }
        // It may have been the last that was looked at, though its turn has not come.
        self.launch_all();
    }

    pub(super) fn take_first_round(&mut self) {
        while let Some((path, attempt)) = self.first.as_mut().and_then(FirstRoundState::next) {
            self.finish_load(&path, attempt);
        }
        if let Some(first) = &mut self.first {
            let serving = self.slots.values().filter(|slot| slot.app.is_some());
            first.finish(serving.count());
        }
    }

    /// The load that has ended, and the slot, which has nothing under way from now on. `None`: it
    /// was a load of an artifact that was dropped meanwhile.
    pub(super) fn ended(
        &mut self,
        path: &ArtifactPath,
        attempt: &Attempt,
    ) -> Option<(&mut Slot, Loading)> {
        let slot = self.slots.get_mut(path)?;
        slot.work.loading(attempt.serial)?;
        match std::mem::replace(&mut slot.work, Work::Idle) {
            Work::Loading(loading) => Some((slot, loading)),
            Work::Idle => None,
        }
    }

    fn finish_load(&mut self, path: &ArtifactPath, attempt: Attempt) {
        let ending = self.ending.is_some();
        let Some((slot, mut loading)) = self.ended(path, &attempt) else {
            return self.abandon(path, attempt.result);
        };
        if ending || loading.removed {
            self.abandon(path, attempt.result);
            if loading.removed && loading.again.is_none() {
                self.drop_slot(path);
            }
            return self.apply_idle(path);
        }
        let next = std::mem::take(&mut slot.waiting_for_next);
        let again = loading.again.take();
        self.take(path, attempt, loading);
        self.go_on(path, next, again);
        self.launch_all();
    }

    /// Does with what was loaded what is to be done with it.
    pub(super) fn take(&mut self, path: &ArtifactPath, attempt: Attempt, loading: Loading) {
        let Some(slot) = self.slots.get_mut(path) else {
            return self.abandon(path, attempt.result);
        };
        note(slot, &loading.cause, &attempt);
        match attempt.result {
            Ok(Loaded::Started(started)) => self.swap_in(path, *started, loading),
            Ok(Loaded::Found(found)) => self.found(path, found),
            // It has been sent on.
            Ok(Loaded::Enlisted(_)) => self.not_taken(path, ReloadError::Internal, loading),
            Err(error) => self.not_taken(path, error, loading),
        }
    }

    /// What was wished for while a load was under way. The next may be under way by now: one that
    /// nobody has wished for.
    pub(super) fn go_on(&mut self, path: &ArtifactPath, askers: Vec<Asker>, again: Option<Cause>) {
        self.apply_idle(path);
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        match &mut slot.work {
            Work::Idle => slot.waiting.extend(askers),
            Work::Loading(loading) => {
                loading.again = loading.again.take().max(again);
                slot.waiting_for_next.extend(askers);
                return;
            }
        }
        match again {
            Some(cause) if cause.is_change() => self.changed(path, cause),
            Some(cause) => self.begin_load(path, cause),
            None => {}
        }
    }

    /// An app that is loaded by its first request.
    fn found(&mut self, path: &ArtifactPath, found: Found) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        if let Err(taken) = self.router.check(&found.app.mount, path) {
            return self.refused(path, &ReloadError::Mount(taken));
        }
        slot.blocked_on = None;
        slot.waited = false;
        slot.refusal = None;
        let app = slot.same_or(&found.app);
        app.shut(false);
        tracing::info!(
            event = "mounted",
            app = app.name.as_str(),
            path = %path,
            digest = %found.digest,
            "mounted at {}; the first request loads it",
            app.mount,
        );
        let replaced = slot.mount(&app, &self.router);
        slot.answer(&Reply::Waiting {
            app: app.name.to_string(),
        });
        if let Some(replaced) = replaced {
            replaced.close();
            self.unblock(&replaced.mount);
        }
    }

    /// What was loaded is not taken. What served before serves on.
    pub(super) fn not_taken(&mut self, path: &ArtifactPath, error: ReloadError, loading: Loading) {
        // It takes requests again once it has stood aside in vain: they wait for that.
        let is_pausing = matches!(loading.old, Old::Pausing);
        match loading.old {
            Old::Paused(paused, _) => self.resume(path, paused),
            Old::Stopped((_, digest)) => {
                let revived = matches!(loading.cause, Cause::Revival(_));
                if !revived && self.revive(path, digest) {
                    // Requests go on waiting, for that one.
                    return self.refused(path, &error);
                }
            }
            Old::Serves | Old::Pausing => {}
        }
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        slot.blocked_on = match &error {
            ReloadError::Mount(taken) => Some(taken.mount.clone()),
            _ => None,
        };
        if let Some(app) = &slot.app
            && slot.live.is_some()
        {
            // Requests that waited for the new one get what there is.
            app.disarm();
        }
        match &error {
            ReloadError::Unchanged => {
                slot.refusal = None;
                slot.waited = false;
                slot.pending = None;
                if let (Some(app), Some(live)) = (&slot.app, &slot.live) {
                    let serving = Reply::Serving {
                        app: app.name.to_string(),
                        generation: live.lease.id.get(),
                    };
                    slot.answer(&serving);
                }
                return;
            }
            ReloadError::Stage(StageError::Open(OpenError::Unreadable { .. })) => {
                if let Some(watcher) = &self.watcher {
                    watcher.unread(path);
                }
            }
            _ => {}
        }
        let named = self.first.as_ref().is_some_and(|first| !first.is_over());
        if error.maybe_incomplete() && !named && !slot.waited {
            // Its writer's next event is the better time; if there is none, it stays like this.
            slot.waited = true;
            tracing::info!(event = "waiting", path = %path, "{error}: waiting for its writer");
            let (path, sender) = (path.clone(), self.sender.clone());
            tokio::spawn(async move {
                sleep(SECOND_LOOK).await;
                let _ = sender.send(Event::SecondLook(path));
            });
            return;
        }
        slot.waited = false;
        if let Cause::Rollback(_) = loading.cause {
            let reply = Reply::Refused {
                reason: format!("it did worse, and the one before cannot be loaded: {error}"),
                remedy: error.remedy(),
            };
            self.end_guard(path, Some(reply));
        }
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        if let (Some(app), None) = (&slot.app, &slot.live)
            && !is_pausing
        {
            app.refuse(&app::Refusal::Failed(error.to_string().into()));
        }
        if loading.cause.is_change() {
            // It is that change that was refused.
            slot.pending = None;
        }
        self.refused(path, &error);
    }

    /// Says so in the log and to those who asked, and keeps the reason for status.
    pub(super) fn refused(&mut self, path: &ArtifactPath, error: &ReloadError) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        let (reason, remedy) = (error.to_string(), error.remedy());
        slot.answer(&Reply::Refused {
            reason: reason.clone(),
            remedy: remedy.clone(),
        });
        slot.refusal = Some(Refusal { reason, remedy });
        // A superior is told, and says it for all of its workers.
        if self.superior.is_none() {
            error.log(path, slot.name(), slot.live_generation());
        }
    }

    /// What has been loaded, and will not serve.
    pub(super) fn abandon(&mut self, path: &ArtifactPath, result: Result<Loaded, ReloadError>) {
        if let Ok(Loaded::Started(started)) = result {
            self.registry.discard(&started.claimant);
            self.retire(path, started.live, StopReason::Abandoned, None);
        }
    }
}

fn note(slot: &mut Slot, cause: &Cause, attempt: &Attempt) {
    let mut generation = slot.next;
    let outcome = match &attempt.result {
        Ok(Loaded::Started(started)) => {
            generation = started.live.lease.id;
            Outcome::Served
        }
        // Nothing was loaded.
        Ok(Loaded::Found(_) | Loaded::Enlisted(_)) | Err(ReloadError::Unchanged) => return,
        Err(error) => Outcome::Refused {
            reason: error.to_string(),
        },
    };
    slot.history.note(Attempted {
        generation,
        digest: attempt.digest,
        at: SystemTime::now(),
        cause: cause.name(),
        outcome,
        times: attempt.times,
    });
}
