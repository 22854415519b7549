//! A host that works for another: a worker of a process group.
//!
//! What to load it is told once, at its start; it watches no files, and makes no scheduled call by
//! itself.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::{
    Reloader,
    event::{Event, Handle},
    launch::Said,
    pause, schedules, thread,
};
use crate::{
    id::{AppName, ArtifactPath},
    loader::{Registered, Snapshot},
    watcher::WatchEvent,
};

impl Reloader {
    pub(super) fn said(&self) -> HashMap<ArtifactPath, Said> {
        let slots = self.slots.iter();
        slots
            .map(|(path, slot)| (path.clone(), slot.said.clone()))
            .collect()
    }

    pub(super) fn run_schedule(
        &self,
        app: &AppName,
        name: String,
        reply: oneshot::Sender<Result<(), String>>,
    ) {
        let mut slots = self.slots.values();
        let live = slots
            .find(|slot| slot.name() == Some(app))
            .and_then(|slot| slot.live.as_ref());
        let Some(live) = live else {
            let _ = reply.send(Err(format!("{app} does not serve")));
            return;
        };
        let lease = live.lease.clone();
        tokio::spawn(async move {
            let called = schedules::call(&lease, &name).await;
            let _ = reply.send(called);
        });
    }

    /// Has an app save its state. Its requests are the other host's to keep away.
    pub(super) fn save_state(
        &self,
        app: &AppName,
        reply: oneshot::Sender<Result<Option<Snapshot>, String>>,
    ) {
        let mut slots = self.slots.values();
        let live = slots
            .find(|slot| slot.name() == Some(app))
            .and_then(|slot| slot.live.as_ref());
        let Some(live) = live else {
            let _ = reply.send(Err(format!("{app} does not serve")));
            return;
        };
        let lease = live.lease.clone();
        let options = self.config.options_of(app);
        let (limit, time) = (options.state_limit, options.cleanup_timeout);
        let save = move || {
            let saved = match lease.plugin() {
                Some(plugin) => plugin.save_state(limit, time),
                None => Ok(None),
            };
            if let Err(error) = &saved {
                pause::tell(&lease.app, error);
            }
            let _ = reply.send(saved.map_err(|error| error.to_string()));
        };
        if let Err(error) = thread::spawn("save", save, drop) {
            tracing::error!("cannot start a thread: {error}");
        }
    }
}

impl Handle {
    /// What apps said in their setup.
    pub async fn said(&self) -> HashMap<ArtifactPath, Said> {
        let (reply, said) = oneshot::channel();
        let _ = self.0.send(Event::Said(reply));
        said.await.unwrap_or_default()
    }

    /// Makes a scheduled call.
    ///
    /// # Errors
    /// Says what went wrong, in the app or because it does not serve.
    pub async fn run_schedule(&self, app: AppName, name: String) -> Result<(), String> {
        let (reply, called) = oneshot::channel();
        let _ = self.0.send(Event::RunSchedule { app, name, reply });
        called
            .await
            .unwrap_or_else(|_| Err("the worker ends".to_owned()))
    }

    /// Has an app save its state; `None`: it has none.
    ///
    /// # Errors
    /// Says what went wrong, in the app or because it does not serve.
    pub async fn save_state(&self, app: AppName) -> Result<Option<Snapshot>, String> {
        let (reply, saved) = oneshot::channel();
        let _ = self.0.send(Event::SaveState { app, reply });
        saved
            .await
            .unwrap_or_else(|_| Err("the worker ends".to_owned()))
    }

    /// An app that a worker has loaded wants to be reloaded.
    pub fn app_asked(&self, path: ArtifactPath) {
        let _ = self.0.send(Event::WorkerAsked(path));
    }

    /// Apps see these registrations from now on, of the whole host, instead of this one's own.
    pub fn mirror_registry(&self, entries: Vec<Registered>) {
        let _ = self.0.send(Event::MirrorRegistry(entries));
    }

    /// An app is not wanted any more: it is drained, unmounted and unloaded.
    pub fn remove(&self, path: ArtifactPath) {
        let _ = self.0.send(Event::Watched(WatchEvent::Removed(path)));
    }
}
