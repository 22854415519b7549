//! Loading what takes a new generation, beside what serves.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use tokio::sync::oneshot;

use super::{Applied, Applying, Change, How, Order, Room, Step, Watched, plan::Plan};
use crate::{
    id::{AppName, ArtifactPath},
    reload::{
        ReloadError, Reloader,
        cause::Cause,
        load::{Attempt, Loaded},
        pause::Then,
        slot::{Loading, Place, Slot, Work},
    },
    watcher::WatchError,
};

/// Loads of a transaction, to the actor.
impl Reloader {
    pub(super) fn begin_apply(
        &mut self,
        order: Order,
        mut plan: Plan,
        reply: oneshot::Sender<Applied>,
    ) {
        let mut watched = Watched::default();
        if let Err(error) = self.watch_planned(&mut plan, &mut watched) {
            self.unwatch(watched);
            let _ = reply.send(Applied::Refused {
                app: None,
                reason: error.to_string(),
                remedy: error.remedy().to_owned(),
            });
            return;
        }
        let beside = plan.fresh.iter().chain(&plan.removed).cloned();
        let beside: HashSet<ArtifactPath> = beside.collect();
        let apps = beside.iter().filter_map(|path| self.slots.get(path));
        let apps: HashSet<AppName> = apps.filter_map(Slot::name).cloned().collect();
        // What they have registered is no obstacle for others from now on.
        self.registry.set_leaving(apps);
        for path in &plan.fresh {
            let slot = self.slots.entry(path.clone());
            // What is said of it holds once it serves.
            slot.or_insert_with(|| Slot::new(Place::default()));
        }
        self.serial += 1;
        let steps = plan.fresh.iter().map(|path| (path.clone(), Step::Waiting));
        self.applying = Some(Applying {
            order,
            reply,
            changes: plan.changes,
            places: plan.places,
            loads: steps.collect(),
            removed: plan.removed,
            beside: Arc::new(beside),
            watched,
            left: plan.old_folders.into_iter().collect(),
            number: self.serial,
            groups: plan.groups,
            crews: BTreeMap::new(),
            rolled: Vec::new(),
            aside: None,
            rooms: Vec::new(),
        });
        for path in plan.fresh {
            self.apply_idle(&path);
        }
        self.apply_go_on();
    }

    /// Watches what is new from before it is looked at, so that no change is lost.
    fn watch_planned(&self, plan: &mut Plan, watched: &mut Watched) -> Result<(), WatchError> {
        let Some(watcher) = &self.watcher else {
            return Ok(());
        };
        for dir in &plan.new_folders {
            watched.folders.push(dir.clone());
            for path in watcher.watch_directory(dir.as_path())? {
                if !plan.places.contains_key(&path) {
                    let change = Change::new("app", &path, How::Added, &[]);
                    plan.changes.push(change);
                    plan.fresh.insert(path.clone());
                    plan.places.insert(path, Place::default());
                }
            }
        }
        for (path, place) in &plan.places {
            let is_named = place.is_fixed() || !self.slots.contains_key(path);
            let in_folder = plan
                .new_folders
                .iter()
                .any(|dir| path.as_path().parent() == Some(dir.as_path()));
            if !is_named || (in_folder && !place.is_fixed()) {
                continue;
            }
            watcher.watch_artifact(path.clone())?;
            if !self.slots.contains_key(path) {
                watched.artifacts.push(path.clone());
            }
        }
        Ok(())
    }

    pub(super) fn unwatch(&self, watched: Watched) {
        let Some(watcher) = &self.watcher else { return };
        for dir in &watched.folders {
            watcher.unwatch_directory(dir);
        }
        for path in &watched.artifacts {
            watcher.unwatch(path);
        }
    }

    /// Nothing is under way for an artifact: its load begins, if one waits for that.
    pub(in crate::reload) fn apply_idle(&mut self, path: &ArtifactPath) {
        let Some(applying) = &self.applying else {
            return;
        };
        if !matches!(applying.loads.get(path), Some(Step::Waiting)) {
            return;
        }
        let Some(slot) = self.slots.get(path) else {
            let error = ReloadError::CalledOff;
            return self.apply_failed(Some(path), &error);
        };
        if !slot.work.is_idle() {
            return;
        }
        let cause = Cause::Apply;
        if let Some(error) = self.hold(path, &cause) {
            return self.apply_failed(Some(path), &error);
        }
        let (config, beside) = (
            Arc::clone(&applying.order.config),
            Arc::clone(&applying.beside),
        );
        let place = applying.places.get(path).cloned().unwrap_or_default();
        let mut job = match self.job(path, cause) {
            Ok(job) => job,
            Err(error) => return self.apply_failed(Some(path), &error),
        };
        job.config = config;
        job.beside = beside;
        job.place = place;
        let serial = job.serial;
        if let Some(slot) = self.slots.get_mut(path) {
            job.may_wait =
                slot.live.is_none() && slot.app.as_ref().is_none_or(|it| it.waiting() == 0);
            slot.work = Work::Loading(Loading::of(Cause::Apply, serial));
        }
        if let Some(applying) = &mut self.applying {
            applying.loads.insert(path.clone(), Step::Loading(serial));
        }
        self.spawn_load(job);
    }

    /// Whether the load that has ended was begun for a transaction, though that may be over.
    pub(in crate::reload) fn is_applys(&self, path: &ArtifactPath, attempt: &Attempt) -> bool {
        self.slots.get(path).is_some_and(|slot| match &slot.work {
            Work::Loading(loading) => {
                loading.cause == Cause::Apply && loading.serial == attempt.serial
            }
            Work::Idle => false,
        })
    }

    /// A load of a transaction has ended.
    pub(in crate::reload) fn apply_loaded(&mut self, path: &ArtifactPath, mut attempt: Attempt) {
        let removed = match self.slots.get_mut(path).map(|slot| &mut slot.work) {
            Some(Work::Loading(loading)) => {
                loading.looking = false;
                loading.removed
            }
            _ => false,
        };
        let step = self.applying.as_mut().and_then(|it| it.loads.get_mut(path));
        let Some(step) =
            step.filter(|it| matches!(it, Step::Loading(serial) if *serial == attempt.serial))
        else {
            return self.release(path, Some(attempt));
        };
        if removed {
            let error = ReloadError::CalledOff;
            *step = Step::Ready(attempt);
            return self.apply_failed(Some(path), &error);
        }
        match attempt.result {
            Ok(Loaded::Enlisted(enlisted)) => {
                attempt.result = Err(ReloadError::Internal);
                *step = Step::Enlisted(attempt, enlisted);
            }
            Ok(_) => *step = Step::Ready(attempt),
            Err(error) => {
                attempt.result = Err(ReloadError::CalledOff);
                *step = Step::Ready(attempt);
                return self.apply_failed(Some(path), &error);
            }
        }
        self.apply_go_on();
    }

    /// An artifact is ready to be opened once the generation before it is stopped: that comes when
    /// all others are ready, so that as little as can be is undone if one of them fails.
    pub(in crate::reload) fn apply_wants_room(
        &mut self,
        path: &ArtifactPath,
        serial: u64,
        go: oneshot::Sender<Result<(), String>>,
    ) {
        let is_its = |applying: &&mut Applying| {
            let step = applying.loads.get(path);
            matches!(step, Some(Step::Loading(its)) if *its == serial)
        };
        // Given up, it is told so by the end of `go`.
        if let Some(applying) = self.applying.as_mut().filter(is_its) {
            let path = path.clone();
            applying.rooms.push(Room { path, serial, go });
            self.apply_go_on();
        }
    }

    /// The next step, when there can be one.
    pub(in crate::reload) fn apply_go_on(&mut self) {
        let Some(applying) = &mut self.applying else {
            return;
        };
        let under_way = |step: &&Step| matches!(step, Step::Waiting | Step::Loading(_));
        let under_way = applying.loads.values().filter(under_way).count();
        let waiting = applying.rooms.len();
        if under_way > waiting {
            return;
        }
        if !self.apply_crews() {
            return;
        }
        let Some(applying) = &mut self.applying else {
            return;
        };
        match applying.rooms.pop() {
            Some(Room { path, serial, go }) => self.make_room(&path, serial, go),
            None => self.apply_stand_aside(),
        }
    }

    fn make_room(
        &mut self,
        path: &ArtifactPath,
        serial: u64,
        go: oneshot::Sender<Result<(), String>>,
    ) {
        let live = self.slots.get_mut(path).and_then(|slot| slot.live.take());
        match live {
            Some(live) => self.pause(path, serial, live, Then::Stop(go)),
            None => drop(go.send(Ok(()))),
        }
    }
}
