//! A host that works for another: a worker of a process group.
//!
//! What to load it is told once, at its start; it watches no files, and makes no scheduled call by
//! itself.

use std::collections::HashMap;

use tokio::{sync::oneshot, time::Instant};

use super::{
    Reloader,
    event::{Event, Handle},
    launch::Said,
    pause::{self, Then},
    schedules, thread,
};
use crate::{
    app::Refusal,
    generation::{Counts, Paused, States},
    id::{AppName, ArtifactPath},
    loader::{Registered, Snapshot},
    watcher::WatchEvent,
};

/// What an app has answered to those who did not come by way of the other host, and has under way.
pub(super) type Direct = (AppName, Counts, u64);

/// An app of which the other host has had the state, or is to have it: its requests wait until that
/// says what becomes of it.
#[derive(Debug, Default)]
pub(super) struct Aside {
    askers: Vec<oneshot::Sender<Result<Option<Snapshot>, String>>>,
    /// The other host has said that it goes on, before it had saved.
    is_over: bool,
}

impl Reloader {
    pub(super) fn direct(&self) -> Vec<Direct> {
        let live = self.slots.values().filter_map(|slot| slot.live.as_ref());
        let direct = live.map(|live| {
            let (app, direct) = (live.lease.app.clone(), &live.lease.direct);
            (app, direct.counts(), direct.under_way())
        });
        direct.collect()
    }

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

    /// Has an app save its state. Its requests are the other host's to keep away; those that came
    /// to this one itself end first, if there may be some: `until` then at the latest. From then on
    /// they wait for [`Reloader::resume_aside`].
    pub(super) fn save_state(
        &mut self,
        app: &AppName,
        until: Option<Instant>,
        reply: oneshot::Sender<Result<Option<Snapshot>, String>>,
    ) {
        let mut slots = self.slots.iter_mut();
        let Some((path, slot)) = slots.find(|(_, slot)| slot.name() == Some(app)) else {
            let _ = reply.send(Err(format!("{app} does not serve")));
            return;
        };
        if let Some(until) = until {
            let aside = slot.aside.get_or_insert_default();
            aside.askers.push(reply);
            // Else it is at it already.
            if let Some(live) = slot.live.take() {
                let path = path.clone();
                self.pause_until(&path, 0, live, until, Then::Tell);
            }
            return;
        }
        let Some(live) = &slot.live else {
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

    /// An app has saved its state for the other host, and goes on standing aside.
    pub(super) fn stood_for_another(
        &mut self,
        path: &ArtifactPath,
        paused: Paused,
        saved: Result<States, String>,
    ) {
        let slot = self.slots.get_mut(path);
        let Some(slot) = slot.filter(|slot| self.ending.is_none() && slot.app.is_some()) else {
            return self.retire_stood(path, paused, saved);
        };
        slot.live = Some(paused.resume());
        let Some(aside) = &mut slot.aside else {
            return;
        };
        for asker in aside.askers.drain(..) {
            let _ = asker.send(saved.clone().map(pause::alone));
        }
        if aside.is_over {
            self.resume_aside(path);
        }
    }

    /// An app that has stood aside takes requests again.
    pub(super) fn resume_aside(&mut self, path: &ArtifactPath) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        match (&slot.app, &slot.live, &mut slot.aside) {
            (Some(app), Some(live), Some(_)) => {
                app.open(&live.lease);
                slot.aside = None;
            }
            // It is still at saving.
            (_, None, Some(aside)) => aside.is_over = true,
            _ => {}
        }
    }

    /// Nobody will resume what stands aside: who waits for it is told.
    pub(super) fn give_up_aside(&self) {
        for slot in self.slots.values().filter(|slot| slot.aside.is_some()) {
            if let Some(app) = &slot.app {
                app.refuse(&Refusal::Failed("other workers have its state".into()));
            }
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

    /// What each app that serves has answered to those who did not come by way of the other host,
    /// and how many requests of theirs are under way.
    pub async fn direct(&self) -> Vec<(AppName, Counts, u64)> {
        let (reply, counted) = oneshot::channel();
        let _ = self.0.send(Event::Direct(reply));
        counted.await.unwrap_or_default()
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

    /// Has an app save its state; `None`: it has none. It must have no requests, unless `until` is
    /// given: then they end first, at the latest then, and further ones wait for
    /// [`Handle::resume`].
    ///
    /// # Errors
    /// Says what went wrong, in the app or because it does not serve.
    pub async fn save_state(
        &self,
        app: AppName,
        until: Option<Instant>,
    ) -> Result<Option<Snapshot>, String> {
        let (reply, saved) = oneshot::channel();
        let _ = self.0.send(Event::SaveState { app, until, reply });
        saved
            .await
            .unwrap_or_else(|_| Err("the worker ends".to_owned()))
    }

    /// An app that has saved its state takes requests again.
    pub fn resume(&self, path: ArtifactPath) {
        let _ = self.0.send(Event::Resume(path));
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
