//! A generation that stands aside while the next takes its state, or its place.
//!
//! State crosses once: requests wait from the moment when the old generation answers its last one
//! until the new one serves. Whatever fails on the way, the old one takes requests again, and its
//! state is what it was.

use std::{sync::Arc, time::Duration};

use futures_util::future::OptionFuture;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{Reloader, event::Event, slot::Old, thread};
use crate::{
    generation::{Live, Paused, Seat, States},
    id::{AppName, ArtifactPath},
    loader::{SaveError, Snapshot, StopReason},
    state::{Owner, StateError, StateStore},
};

/// How much longer than its own bounds a worker may take to say what it has saved.
const ANSWER: Duration = Duration::from_secs(10);

/// What is to be done once a generation has saved its state.
#[derive(Debug)]
pub(super) enum Then {
    /// The next one's setup waits for the state.
    Hand(oneshot::Sender<Result<Option<Snapshot>, String>>),
    /// The workers of the next one wait for the states, each for its own: see [`Loading::asks`].
    Each,
    /// The host that this one works for wants it: see [`Slot::aside`](super::slot::Slot::aside).
    Tell,
    /// The next one waits for it to be stopped.
    Stop(oneshot::Sender<Result<(), String>>),
}

/// What came of a pause.
#[derive(Debug)]
pub(super) struct Stood {
    paused: Option<Paused>,
    /// One for each worker; one alone of the host itself.
    saved: Result<States, String>,
    then: Then,
}

/// The bounds of saving.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) limit: u64,
    pub(super) time: Duration,
}

impl Then {
    fn fail(self, reason: String) {
        // Who has given up is not told.
        match self {
            Self::Hand(reply) => drop(reply.send(Err(reason))),
            Self::Each | Self::Tell => {}
            Self::Stop(go) => drop(go.send(Err(reason))),
        }
    }
}

/// Pauses, to the actor.
impl Reloader {
    /// The setup of a new generation wants what the one before saved.
    pub(super) fn handover(
        &mut self,
        path: &ArtifactPath,
        serial: u64,
        reply: oneshot::Sender<Result<Option<Snapshot>, String>>,
    ) {
        let then = Then::Hand(reply);
        let Some(slot) = self.slots.get_mut(path) else {
            return then.fail("the app was removed".to_owned());
        };
        if slot.work.loading(serial).is_none() {
            return then.fail("this load was given up".to_owned());
        }
        match slot.live.take() {
            Some(live) => self.pause(path, serial, live, then),
            None => self.hand_stored(path, then),
        }
    }

    /// Lets a generation end its requests and save its state. New requests wait.
    pub(super) fn pause(&mut self, path: &ArtifactPath, serial: u64, live: Live, then: Then) {
        tracing::info!(
            event = "pausing",
            app = live.lease.app.as_str(),
            generation = live.lease.id.get(),
            "requests wait until the next generation has its state",
        );
        let deadline = Instant::now() + self.config.options_of(&live.lease.app).drain;
        self.pause_until(path, serial, live, deadline, then);
    }

    /// The same until then.
    pub(super) fn pause_until(
        &mut self,
        path: &ArtifactPath,
        serial: u64,
        live: Live,
        deadline: Instant,
        then: Then,
    ) {
        let options = self.config.options_of(&live.lease.app);
        let bounds = Bounds {
            limit: options.state_limit,
            time: options.cleanup_timeout,
        };
        if let Some(slot) = self.slots.get_mut(path) {
            if let Some(app) = &slot.app {
                app.shut(true);
            }
            if let Some(loading) = slot.work.loading(serial) {
                loading.old = Old::Pausing;
            }
        }
        // As long as workers may take that are about to end and leave theirs.
        let patience = options.drain + options.cleanup_timeout + ANSWER;
        // Nothing comes to its workers themselves any more. Asked for at once.
        let aside = live.lease.seat().map(|seat| seat.crew.stand_aside());
        self.busy += 1;
        let (path, sender) = (path.clone(), self.sender.clone());
        tokio::spawn(async move {
            let (paused, _) = tokio::join!(live.pause(deadline), OptionFuture::from(aside));
            let (paused, saved) = match paused {
                Some(paused) => save(paused, bounds, deadline, patience).await,
                None => (None, Err("it is gone".to_owned())),
            };
            let stood = Box::new(Stood {
                paused,
                saved,
                then,
            });
            let _ = sender.send(Event::Stood {
                path,
                serial,
                stood,
            });
        });
    }

    /// A generation has saved its state, or failed to.
    pub(super) fn stood(&mut self, path: &ArtifactPath, serial: u64, stood: Stood) {
        self.busy -= 1;
        let Stood {
            paused,
            saved,
            then,
        } = stood;
        let Some(paused) = paused else {
            if let Some(slot) = self.slots.get_mut(path) {
                slot.aside = None;
            }
            return then.fail("the generation before is gone".to_owned());
        };
        if let Then::Tell = then {
            return self.stood_for_another(path, paused, saved);
        }
        let ending = self.ending.is_some();
        let loading = match self.slots.get_mut(path) {
            Some(slot) if !ending => slot.work.loading(serial),
            _ => None,
        };
        let Some(loading) = loading.filter(|loading| !loading.removed) else {
            return self.stood_in_vain(path, paused, saved, then);
        };
        let states = match saved {
            Ok(states) => states,
            Err(reason) => {
                loading.old = Old::Serves;
                for ask in std::mem::take(&mut loading.asks) {
                    let _ = ask.reply.send(Err(reason.clone()));
                }
                self.resume(path, paused);
                return then.fail(reason);
            }
        };
        if let Then::Each = then {
            loading.old = Old::Paused(paused, None);
            loading.states = states;
            for ask in std::mem::take(&mut loading.asks) {
                self.hand_to_worker(path, ask);
            }
            return;
        }
        let snapshot = alone(states);
        match then {
            Then::Hand(reply) => {
                loading.old = Old::Paused(paused, snapshot.clone());
                match snapshot {
                    Some(_) => drop(reply.send(Ok(snapshot))),
                    // It saves none; one before it may have.
                    None => self.hand_stored(path, Then::Hand(reply)),
                }
            }
            Then::Each | Then::Tell => {}
            Then::Stop(go) => {
                let facts = paused.facts();
                loading.old = Old::Stopped((facts.id, facts.digest));
                let reason = loading.cause.stop_reason();
                // Who gave up waiting needs no room.
                let stopped = move || drop(go.send(Ok(())));
                self.retire_paused(path, paused, snapshot, reason, stopped);
            }
        }
    }

    /// What it stood aside for does not come, or has come without it.
    fn stood_in_vain(
        &mut self,
        path: &ArtifactPath,
        paused: Paused,
        saved: Result<States, String>,
        then: Then,
    ) {
        then.fail("this load was given up".to_owned());
        let may_serve = self.ending.is_none()
            && self.slots.get(path).is_some_and(|slot| {
                slot.live.is_none() && slot.app.is_some() && slot.work.is_idle()
            });
        if may_serve {
            return self.resume(path, paused);
        }
        self.retire_stood(path, paused, saved);
    }

    pub(super) fn retire_stood(
        &mut self,
        path: &ArtifactPath,
        paused: Paused,
        saved: Result<States, String>,
    ) {
        let reason = match (self.ending.is_some(), self.slots.contains_key(path)) {
            (true, _) => self.end_reason,
            (false, true) => StopReason::Reload,
            (false, false) => StopReason::Removal,
        };
        let snapshot = alone(saved.unwrap_or_default());
        self.retire_paused(path, paused, snapshot, reason, || ());
    }

    /// The next generation did not come to serve: the one before takes requests again.
    pub(super) fn resume(&mut self, path: &ArtifactPath, paused: Paused) {
        let Some((slot, app)) = self.slots.get_mut(path).and_then(|slot| {
            let app = slot.app.clone()?;
            Some((slot, app))
        }) else {
            return self.retire_paused(path, paused, None, StopReason::Removal, || ());
        };
        let seat = paused.seat().cloned();
        let group = slot.elsewhere.as_ref().map(|(group, _)| group.clone());
        let live = paused.resume();
        tracing::info!(
            event = "resumed",
            app = app.name.as_str(),
            generation = live.lease.id.get(),
            "takes requests again",
        );
        let generation = live.lease.id;
        app.open(&live.lease);
        slot.live = Some(live);
        if let (Some(Seat { app, crew }), Some(group)) = (seat, group) {
            crew.resume(&app);
            self.accept_again(&group, &crew);
        }
        // Its limit may have been told of meanwhile, when nobody listened.
        self.exhausted(path, generation);
    }

    /// Hands over what the store has of an app, once those that are still going have left theirs.
    fn hand_stored(&self, path: &ArtifactPath, then: Then) {
        let Then::Hand(reply) = then else { return };
        self.hand_stored_of(path.into(), reply);
    }

    /// The same of one worker.
    pub(super) fn hand_stored_of(
        &self,
        owner: Owner,
        reply: oneshot::Sender<Result<Option<Snapshot>, String>>,
    ) {
        let (store, path) = (Arc::clone(&self.store), &owner.app);
        let left = self.all_left(path);
        tokio::spawn(async move {
            left.await;
            let read = move || {
                let app = owner.app.clone();
                let found = store.get(owner).map_err(|error| {
                    if let StateError::Elsewhere(reason) = error {
                        return reason;
                    }
                    let remedy = error.remedy();
                    tracing::error!(event = "state-lost", path = %app, remedy, "{error}");
                    format!("{error}; {remedy}")
                });
                let _ = reply.send(found);
            };
            if let Err(error) = thread::spawn("state", read, drop) {
                tracing::error!("cannot start a thread: {error}");
            }
        });
    }
}

/// Writes a state down, and says so in the log if that fails.
pub(super) fn put(store: &StateStore, path: &ArtifactPath, load: u64, snapshot: &Snapshot) {
    if let Err(error) = store.put(path, load, snapshot) {
        tracing::error!(
            event = "state-not-written",
            path = %path,
            reason = %error,
            remedy = error.remedy(),
            "it is kept in memory only",
        );
    }
}

/// What a generation of the host itself has saved.
pub(super) fn alone(states: States) -> Option<Snapshot> {
    states.into_iter().next().flatten()
}

async fn save(
    paused: Paused,
    bounds: Bounds,
    deadline: Instant,
    patience: Duration,
) -> (Option<Paused>, Result<States, String>) {
    let app = paused.facts().app.clone();
    if let Some(Seat { app, crew }) = paused.seat() {
        let saved = timeout(patience, crew.save_state(app, deadline)).await;
        let late = || Err(format!("its workers did not save it within {patience:?}"));
        return (Some(paused), saved.unwrap_or_else(|_| late()));
    }
    let work = move || {
        let saved = paused.save(bounds.limit, bounds.time);
        (paused, saved)
    };
    let done = match thread::spawn("save", work, drop) {
        Ok(done) => done.await,
        // With the thread, the generation is lost: it is the host that is at its end.
        Err(error) => return (None, Err(format!("cannot start a thread: {error}"))),
    };
    match done {
        Ok((paused, saved)) => {
            if let Err(error) = &saved {
                tell(&app, error);
            }
            let saved = saved.map(|snapshot| vec![snapshot]);
            (Some(paused), saved.map_err(|error| error.to_string()))
        }
        Err(_) => (None, Err("the host failed while it saved it".to_owned())),
    }
}

/// Says in the log that a state was not saved.
pub(super) fn tell(app: &AppName, error: &SaveError) {
    tracing::error!(
        event = "state-not-saved",
        app = app.as_str(),
        reason = %error,
        remedy = "mend what saves it, or raise `state-limit` or `cleanup-timeout`",
        "{error}",
    );
}
