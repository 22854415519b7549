//! State that the workers of a crew hand to those of the next, each to the one of its number.

use std::sync::Arc;

use super::Waiting;
use crate::{
    id::{ArtifactPath, GroupName},
    reload::{
        Reloader,
        cause::Cause,
        launch::{Member, StateAsk},
        pause::Then,
        slot::{Loading, Old, Work},
    },
    state::Owner,
};

impl Reloader {
    /// Apps of a group that did not ask for a new crew, and go with it: for them it is a load, too.
    pub(super) fn move_along(&mut self, members: &[Member]) {
        for member in members {
            if let Some(slot) = self.slots.get_mut(&member.path)
                && slot.work.is_idle()
            {
                self.serial += 1;
                let mut loading = Loading::of(Cause::Neighbour, self.serial);
                loading.looking = false;
                slot.work = Work::Loading(loading);
            }
        }
    }

    /// There is no new crew: those who had not asked for it stay where they are.
    pub(super) fn stay(&mut self, members: &[Member], requests: &[Waiting]) {
        for Member { path, .. } in members {
            if !requests.iter().any(|request| request.path == *path) {
                self.stay_one(path);
            }
        }
    }

    pub(in crate::reload) fn stay_one(&mut self, path: &ArtifactPath) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        let Work::Loading(loading) = std::mem::replace(&mut slot.work, Work::Idle) else {
            return;
        };
        let next = std::mem::take(&mut slot.waiting_for_next);
        if let Old::Paused(paused, _) = loading.old {
            self.resume(path, paused);
        }
        if loading.removed && loading.again.is_none() {
            self.drop_slot(path);
            return self.apply_idle(path);
        }
        self.go_on(path, next, loading.again);
    }

    /// A worker of a new crew wants what the one of its number in the crew before has.
    pub(in crate::reload) fn state_asked(&mut self, group: &GroupName, launch: u64, ask: StateAsk) {
        let groups = self.groups.as_ref();
        let group = groups.and_then(|groups| groups.groups.get(group));
        let launching = group.and_then(|group| group.launching.as_ref());
        let Some(launching) = launching.filter(|launching| launching.number == launch) else {
            return give_up(ask);
        };
        let path = ask.app.clone();
        let Some(slot) = self.slots.get_mut(&path) else {
            return give_up(ask);
        };
        let Work::Loading(loading) = &mut slot.work else {
            return give_up(ask);
        };
        if loading.removed || self.ending.is_some() {
            return give_up(ask);
        }
        match loading.old {
            Old::Pausing => loading.asks.push(ask),
            Old::Paused(..) => self.hand_to_worker(&path, ask),
            Old::Serves | Old::Stopped(_) => {
                let seat = slot.live.as_ref().and_then(|live| live.lease.seat());
                let makes_room = seat.is_some_and(|seat| {
                    let mut crews = launching.in_place_of.iter();
                    crews.any(|crew| Arc::ptr_eq(crew, &seat.crew))
                });
                // The one before has ended already, and left what it had.
                let live = if makes_room { None } else { slot.live.take() };
                let Some(live) = live else {
                    return self.hand_left(ask);
                };
                loading.asks.push(ask);
                let serial = loading.serial;
                self.pause(&path, serial, live, Then::Each);
            }
        }
    }

    /// Hands over what the worker of that number has saved. Where there was none, there is nothing.
    pub(in crate::reload) fn hand_to_worker(&mut self, path: &ArtifactPath, ask: StateAsk) {
        let Some(Work::Loading(loading)) = self.slots.get(path).map(|slot| &slot.work) else {
            return give_up(ask);
        };
        let number = usize::try_from(ask.worker).unwrap_or(usize::MAX);
        let state = loading.states.get(number).cloned().flatten();
        let _ = ask.reply.send(Ok(state));
    }

    /// Hands over what was left in that place.
    fn hand_left(&self, StateAsk { app, worker, reply }: StateAsk) {
        let worker = Some(worker);
        self.hand_stored_of(Owner { app, worker }, reply);
    }
}

fn give_up(ask: StateAsk) {
    // Who has given up is not told.
    let _ = ask.reply.send(Err("this load was given up".to_owned()));
}
