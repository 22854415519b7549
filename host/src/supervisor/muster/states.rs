//! State that goes from one worker to the next in its place.
//!
//! A worker that is there is asked for it; what one that has ended has left, is kept. So a new worker
//! has what the one before had, whether that was replaced, ended by itself, or was put to sleep; in
//! the place of one that died it has what was saved there last.

use tokio::{sync::oneshot, time::Instant};

use super::{Event, Living, Muster};
use crate::{
    channel::{Order, Report},
    generation::Stops,
    id::AppName,
    loader::Snapshot,
    reload::StateAsk,
    state::Owner,
};

/// A worker that was told to save an app's state.
#[derive(Debug)]
pub(super) struct Save {
    worker: u64,
    ask: StateAsk,
}

/// A worker that has left the set for its successor, which wants its state.
#[derive(Debug)]
pub(super) enum Handing {
    /// It ends its requests first.
    Busy(Vec<StateAsk>),
    Idle,
}

impl Muster {
    /// Each worker's state of an app that gets no requests. An error of one is one for all.
    /// Those that came to workers themselves may take so long, in milliseconds.
    pub(super) fn save_all(
        &mut self,
        app: &AppName,
        drain_ms: Option<u64>,
        reply: oneshot::Sender<AllHanded>,
    ) {
        let Some(path) = self.plan.path_of(app.as_str()) else {
            let _ = reply.send(Err(format!("{app} is not in this group")));
            return;
        };
        let mut replies = Vec::new();
        for worker in 0..self.size {
            let (reply, replied) = oneshot::channel();
            let app = path.clone();
            self.state_of(StateAsk { app, worker, reply }, drain_ms);
            replies.push(replied);
        }
        tokio::spawn(async move {
            let mut all = Vec::new();
            for replied in replies {
                match replied.await {
                    Ok(Ok(state)) => all.push(state),
                    Ok(Err(reason)) => return drop(reply.send(Err(reason))),
                    Err(_) => return drop(reply.send(Err("its workers have ended".to_owned()))),
                }
            }
            let _ = reply.send(Ok(all));
        });
    }

    /// An app that was removed leaves its state first: it may be put back at any time.
    pub(super) fn remove(&mut self, app: AppName, done: oneshot::Sender<Option<Stops>>) {
        let (reply, saved) = oneshot::channel();
        self.save_all(&app, self.drain_ms(), reply);
        let (events, keeper) = (self.events.clone(), self.keeper.clone());
        tokio::spawn(async move {
            // A worker that fails has said so, and one that hangs is killed for that.
            let _ = saved.await;
            let (kept, all_kept) = oneshot::channel();
            keeper.tell(kept);
            let _ = all_kept.await;
            let _ = events.send(Event::Saved { app, done });
        });
    }

    /// An app is taken out of each worker.
    pub(super) fn leave(&self, app: &AppName, done: oneshot::Sender<Option<Stops>>) {
        let app = app.to_string();
        self.tell_all(&Order::Leave { app });
        let _ = done.send(None);
    }

    /// The worker that is being started wants what the one before it has.
    pub(super) fn state_asked(&mut self, ask: StateAsk) {
        let mut places = self.places.iter_mut();
        let place = places.find(|place| place.number == ask.worker);
        let Some(living) = place.and_then(|place| place.living.as_mut()) else {
            return self.state_of(ask, None);
        };
        // It is to be replaced by who asks: as in an embedded host, its requests end first, so that
        // nothing changes the state any more. The others serve on.
        let (serial, worker) = (living.serial, living.worker.clone());
        match self.handing.get_mut(&serial) {
            Some(Handing::Busy(waiting)) => waiting.push(ask),
            Some(Handing::Idle) => self.state_of(ask, self.drain_ms()),
            None => {
                self.set.remove(&worker);
                self.handing.insert(serial, Handing::Busy(vec![ask]));
                if self.plan.sockets.is_some() {
                    living.stand_aside();
                }
                let (graceful, events) = (self.plan.options.graceful_timeout, self.events.clone());
                tokio::spawn(async move {
                    worker.unheld_within(graceful).await;
                    let _ = events.send(Event::Unheld { serial });
                });
            }
        }
    }

    /// A worker that is to hand its state over has ended its requests, or had the time for it.
    pub(super) fn unheld(&mut self, serial: u64) {
        let Some(handing) = self.handing.get_mut(&serial) else {
            return;
        };
        if let Handing::Busy(waiting) = std::mem::replace(handing, Handing::Idle) {
            for ask in waiting {
                self.state_of(ask, self.drain_ms());
            }
        }
    }

    /// What is in that place now: of a worker that is there, as it saves it; of one that ends, when it
    /// has; else as it was left.
    fn state_of(&mut self, ask: StateAsk, drain_ms: Option<u64>) {
        let mut places = self.places.iter();
        let place = places.find(|place| place.number == ask.worker);
        let name = self.plan.name_of(&ask.app);
        if let (Some(living), Some(app)) = (place.and_then(|it| it.living.as_ref()), name) {
            self.next_save += 1;
            let call = self.next_save;
            let _ = living.orders.send(Order::SaveState {
                call,
                app,
                drain_ms,
            });
            let worker = living.serial;
            self.saves.insert(call, Save { worker, ask });
            return;
        }
        if self.is_there(ask.worker) {
            self.heirs.push(ask);
        } else {
            self.hand_kept(ask);
        }
    }

    pub(super) fn is_there(&self, number: u32) -> bool {
        self.ending.iter().any(|it| it.worker.number == number)
    }

    fn hand_kept(&self, StateAsk { app, worker, reply }: StateAsk) {
        let worker = Some(worker);
        self.keeper.get(Owner { app, worker }, reply);
    }

    /// A worker has saved a state, or has left it at its end.
    pub(super) fn state_said(&mut self, serial: u64, report: Report) {
        match report {
            Report::SavedState { call, state } => {
                let Some(Save { ask, .. }) = self.saves.remove(&call) else {
                    return;
                };
                match state {
                    Ok(Some(snapshot)) => {
                        let owner = Owner {
                            app: ask.app.clone(),
                            worker: Some(ask.worker),
                        };
                        self.keeper.put(owner, serial, snapshot.clone());
                        let _ = ask.reply.send(Ok(Some(snapshot)));
                    }
                    // It saves none; one before it may have.
                    Ok(None) => self.hand_kept(ask),
                    Err(reason) => drop(ask.reply.send(Err(reason))),
                }
            }
            Report::StateLeft { app, state } => self.left(serial, &app, state),
            _ => {}
        }
    }

    fn left(&self, serial: u64, app: &str, state: Snapshot) {
        let living = self.places.iter().filter_map(|it| it.living.as_ref());
        let found = living.chain(&self.ending).find(|it| it.serial == serial);
        if let (Some(Living { worker, .. }), Some(app)) = (found, self.plan.path_of(app)) {
            let worker = Some(worker.number);
            self.keeper.put(Owner { app, worker }, serial, state);
        }
    }

    /// That worker is gone: what it left is known, and it saves nothing any more. Who asked it gets
    /// what the next one in its place would get.
    pub(super) fn bequeath(&mut self, serial: u64, number: u32) {
        let open = self.saves.extract_if(|_, save| save.worker == serial);
        for (_, Save { ask, .. }) in open.collect::<Vec<_>>() {
            self.hand_kept(ask);
        }
        if let Some(Handing::Busy(waiting)) = self.handing.remove(&serial) {
            for ask in waiting {
                self.hand_kept(ask);
            }
        }
        if !self.is_there(number) {
            let heirs = self.heirs.extract_if(.., |ask| ask.worker == number);
            for ask in heirs.collect::<Vec<_>>() {
                self.hand_kept(ask);
            }
        }
    }

    /// The successor did not come to serve: who has made way for it takes requests again.
    pub(super) fn take_back(&mut self, at: usize) {
        let Some(living) = &mut self.places[at].living else {
            return;
        };
        if self.handing.remove(&living.serial).is_some() {
            let again = living.worker.again();
            let before = std::mem::replace(&mut living.worker, again.clone());
            living.former.push(before);
            self.set.add(again);
            for member in &self.plan.members {
                let app = member.name.to_string();
                let _ = living.orders.send(Order::Resume { app });
            }
            if self.entrances.are_open {
                living.accept();
            }
        }
    }
}

/// The states of all workers of a crew, by their numbers.
pub(in crate::supervisor) type AllHanded = Result<Vec<Option<Snapshot>>, String>;

/// How long it is until then, in milliseconds.
pub(super) fn left_until(deadline: Instant) -> Option<u64> {
    let left = deadline.saturating_duration_since(Instant::now());
    u64::try_from(left.as_millis()).ok()
}
