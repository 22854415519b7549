//! Beginning a load.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    ReloadError, Reloader,
    cause::{Cause, Origin},
    event::Event,
    load::{self, Job},
    pause::Then,
    slot::{Loading, Slot, Work},
};
use crate::id::{ArtifactPath, Digest};

/// Loads, to the actor.
impl Reloader {
    /// Begins to load what that cause is about. Nothing else may be under way for the app.
    pub(super) fn begin_load(&mut self, path: &ArtifactPath, cause: Cause) {
        if self.ending.is_some() {
            return;
        }
        let hold = self.hold(path, &cause);
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        slot.held = hold.is_some();
        let job = match hold {
            Some(error) => Err(error),
            None => self.job(path, cause.clone()),
        };
        let loading = Loading::of(cause, self.serial);
        let job = match job {
            Ok(job) => job,
            Err(error) => return self.not_taken(path, error, loading),
        };
        if let Some(slot) = self.slots.get_mut(path) {
            slot.work = Work::Loading(loading);
        }
        self.spawn_load(job);
    }

    /// What a load for that cause takes.
    pub(super) fn job(&mut self, path: &ArtifactPath, cause: Cause) -> Result<Job, ReloadError> {
        self.serial += 1;
        let slot = self.slots.get_mut(path).ok_or(ReloadError::CalledOff)?;
        slot.newest = self.serial;
        let origin = origin(slot, &cause)?;
        let nobody_waits = slot.app.as_ref().is_none_or(|app| app.waiting() == 0);
        Ok(Job {
            path: path.clone(),
            place: slot.place.clone(),
            origin,
            generation: slot.next,
            serial: self.serial,
            beside: Arc::default(),
            config: Arc::clone(&self.config),
            router: Arc::clone(&self.router),
            registry: Arc::clone(&self.registry),
            post: self.superior.as_ref().map(|superior| superior.post.clone()),
            staging: Arc::clone(&self.staging),
            loaded: slot.loaded().filter(|_| cause == Cause::Change),
            bad: slot.bad.iter().copied().collect(),
            may_wait: slot.live.is_none() && cause.is_change() && nobody_waits,
            cause,
            sender: self.sender.clone(),
        })
    }

    pub(super) fn spawn_load(&self, job: Job) {
        let (path, sender) = (job.path.clone(), self.sender.clone());
        tokio::spawn(async move {
            let attempt = Box::new(load::run(job).await);
            let _ = sender.send(Event::Loaded { path, attempt });
        });
    }

    /// An artifact is ready to be opened, and the generation before it must not be alive then.
    pub(super) fn prepared(
        &mut self,
        path: &ArtifactPath,
        serial: u64,
        go: oneshot::Sender<Result<(), String>>,
    ) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        let loading = slot.work.loading(serial);
        let Some(loading) = loading.filter(|loading| !loading.removed) else {
            return;
        };
        if loading.cause == Cause::Apply {
            return self.apply_wants_room(path, serial, go);
        }
        match slot.live.take() {
            Some(live) => self.pause(path, serial, live, Then::Stop(go)),
            // Who gave up waiting needs no room.
            None => drop(go.send(Ok(()))),
        }
    }

    /// Starts the artifact again that was stopped for one that has failed.
    pub(super) fn revive(&mut self, path: &ArtifactPath, digest: Digest) -> bool {
        let Some(slot) = self.slots.get_mut(path) else {
            return false;
        };
        if slot.history.file(&digest).is_none() {
            return false;
        }
        tracing::warn!(
            event = "revival",
            app = slot.name().map(crate::id::AppName::as_str),
            path = %path,
            digest = %digest,
            "starting the one before again",
        );
        self.begin_load(path, Cause::Revival(digest));
        // What it was stopped for stays in the log and the status.
        self.slots
            .get(path)
            .is_some_and(|slot| !slot.work.is_idle())
    }
}

/// Where the bytes are that a cause is about.
fn origin(slot: &Slot, cause: &Cause) -> Result<Origin, ReloadError> {
    let kept = |digest: Digest| {
        let file = slot.history.file(&digest);
        file.map(|file| Origin::Kept { file, digest })
    };
    if let Some(handed) = &slot.handed {
        let (file, digest) = (handed.file.clone(), handed.digest);
        return Ok(Origin::Handed { file, digest });
    }
    let serving = || slot.serving().and_then(kept);
    match cause {
        Cause::Rollback(digest) | Cause::Pin(digest) | Cause::Revival(digest) => {
            kept(*digest).ok_or(ReloadError::NotKept { digest: *digest })
        }
        _ if cause.wants_the_same() => Ok(serving().unwrap_or(Origin::File)),
        // The file is not what is to serve.
        _ if slot.pin.is_some() || *cause == Cause::Tracked && slot.off_file => {
            Ok(serving().unwrap_or(Origin::File))
        }
        _ => Ok(Origin::File),
    }
}
