//! The one step in which everything is switched.

use std::{collections::HashSet, sync::Arc, time::SystemTime};

use super::{Applied, Applying, Aside, Step};
use crate::{
    app::{App, Patience},
    config::{Config, Mount},
    id::{AppName, ArtifactPath},
    loader::StopReason,
    registry::Claimant,
    reload::{
        ReloadError, Reloader,
        cause::Cause,
        command::Reply,
        load::{Attempt, Loaded},
        slot::{Loading, Old, Slot, Work},
    },
    router::MountTaken,
};

/// What an artifact's mounts will be, and what they lead to.
type Routes = Vec<(Mount, Arc<App>)>;

/// Switching, to the actor.
impl Reloader {
    pub(super) fn commit(&mut self) {
        let Some(applying) = &self.applying else {
            return;
        };
        let checked = self.routes_after(applying);
        let checked = checked.and_then(|routes| {
            let claimants = ready(applying).filter_map(|(_, attempt)| claimant(attempt));
            let claimants: Vec<Claimant> = claimants.cloned().collect();
            let committed = self.registry.commit_all(&claimants);
            committed.map(|()| routes).map_err(|(by, error)| {
                let mut all = ready(applying);
                let its = |attempt: &Attempt| claimant(attempt).is_some_and(|it| *it == by);
                let path = all.find(|(_, attempt)| its(attempt)).map(|(path, _)| path);
                (path.cloned(), ReloadError::Register(error))
            })
        });
        match checked {
            Ok(routes) => self.switch_all(routes),
            Err((path, error)) => self.apply_failed(path.as_ref(), &error),
        }
    }

    /// All routes as they will be; or the app that wants a mount of another's.
    fn routes_after(
        &self,
        applying: &Applying,
    ) -> Result<Routes, (Option<ArtifactPath>, ReloadError)> {
        let mut routes = self.router.mounts();
        routes.retain(|(_, app)| !applying.beside.contains(&app.path));
        for (path, step) in &applying.loads {
            let Step::Ready(attempt) = step else { continue };
            let Some(slot) = self.slots.get(path) else {
                return Err((Some(path.clone()), ReloadError::CalledOff));
            };
            if matches!(&slot.work, Work::Loading(loading) if loading.removed) {
                return Err((Some(path.clone()), ReloadError::CalledOff));
            }
            let (app, more): (_, &[Mount]) = match &attempt.result {
                Ok(Loaded::Started(started)) => (&started.app, &started.routes),
                Ok(Loaded::Found(found)) => (&found.app, &[]),
                _ => return Err((Some(path.clone()), ReloadError::Internal)),
            };
            let app = slot.same_or(app);
            for mount in std::iter::once(&app.mount).chain(more) {
                match routes.iter().find(|(taken, _)| taken == mount) {
                    Some((_, other)) if other.path != *path => {
                        let taken = MountTaken {
                            mount: mount.clone(),
                            owner: other.name.to_string(),
                            path: other.path.clone(),
                        };
                        return Err((Some(path.clone()), ReloadError::Mount(taken)));
                    }
                    Some(_) => {}
                    None => routes.push((mount.clone(), Arc::clone(&app))),
                }
            }
        }
        Ok(routes)
    }

    fn switch_all(&mut self, routes: Routes) {
        let Some(applying) = self.applying.take() else {
            return;
        };
        let Applying {
            order,
            reply,
            mut changes,
            mut places,
            loads,
            removed,
            left,
            crews,
            aside,
            ..
        } = applying;
        // New apps answer before they are found.
        for (path, step) in &loads {
            let (Step::Ready(attempt), Some(slot)) = (step, self.slots.get(path)) else {
                continue;
            };
            match &attempt.result {
                Ok(Loaded::Started(started)) => {
                    slot.same_or(&started.app).open(&started.live.lease);
                }
                Ok(Loaded::Found(found)) => slot.same_or(&found.app).shut(false),
                _ => {}
            }
        }
        self.router.replace(&routes);
        for path in &removed {
            self.drop_app(path, &routes);
        }
        let old = std::mem::replace(&mut self.config, Arc::clone(&order.config));
        self.applied = SystemTime::now();
        self.registry.set_leaving(std::iter::empty());
        self.follow_folders(&left);
        for (path, place) in std::mem::take(&mut places) {
            if let Some(slot) = self.slots.get_mut(&path) {
                slot.place = place;
            }
        }
        let mut next = Vec::new();
        for (path, step) in loads {
            let Step::Ready(attempt) = step else { continue };
            let Some(slot) = self.slots.get_mut(&path) else {
                continue;
            };
            if let Work::Loading(mut loading) = std::mem::replace(&mut slot.work, Work::Idle) {
                let again = loading.again.take();
                next.push((
                    path.clone(),
                    std::mem::take(&mut slot.waiting_for_next),
                    again,
                ));
                self.take(&path, attempt, loading);
            }
        }
        for (path, attempt) in crews.into_values().flatten().flat_map(|it| it.neighbours) {
            let slot = self.slots.get_mut(&path).filter(|slot| slot.app.is_some());
            let Some(slot) = slot else {
                // It was removed meanwhile.
                self.abandon(&path, attempt.result);
                self.stay_neighbour(&path);
                continue;
            };
            let mut loading = Loading::of(Cause::Neighbour, 0);
            if matches!(&slot.work, Work::Loading(it) if it.cause == Cause::Neighbour)
                && let Work::Loading(own) = std::mem::replace(&mut slot.work, Work::Idle)
            {
                loading = own;
                let again = loading.again.take();
                next.push((
                    path.clone(),
                    std::mem::take(&mut slot.waiting_for_next),
                    again,
                ));
            }
            self.take(&path, attempt, loading);
        }
        for Aside { crew, before } in aside.unwrap_or_default() {
            if let Some(crew) = crew {
                self.accept(&crew, &before);
            }
        }
        (order.switch)();
        self.name_changes(&mut changes);
        let _ = reply.send(Applied::Applied { changes });
        for (path, askers, again) in next {
            self.go_on(&path, askers, again);
        }
        self.take_options(&old);
        self.launch_all();
    }

    /// An app is not wanted any more. Who was on the way to it gets what has its mount now.
    fn drop_app(&mut self, path: &ArtifactPath, routes: &Routes) {
        if let Some(watcher) = &self.watcher {
            watcher.unwatch(path);
        }
        self.end_guard(path, None);
        self.schedule(path, &[]);
        let Some(mut slot) = self.slots.remove(path) else {
            return;
        };
        slot.waiting.append(&mut slot.waiting_for_next);
        slot.answer(&Reply::Refused {
            reason: format!("{path} is not served any more: the configuration has changed"),
            remedy: "name it in the configuration".to_owned(),
        });
        if let Some(app) = slot.app {
            let successor = routes.iter().find(|(mount, _)| *mount == app.mount);
            match successor.and_then(|(_, app)| app.current()) {
                // It goes with the last who was on the way.
                Some(lease) => app.open(&lease),
                None => app.close(),
            }
            tracing::info!(
                event = "unmounted",
                app = app.name.as_str(),
                path = %path,
                "{path} is not served any more: unmounted {}",
                app.mount,
            );
        }
        if let Some(live) = slot.live {
            self.retire(path, live, StopReason::Removal, None);
        }
        if let Work::Loading(Loading {
            old: Old::Paused(paused, snapshot),
            ..
        }) = slot.work
        {
            self.retire_paused(path, paused, snapshot, StopReason::Removal, || ());
        }
    }

    fn follow_folders(&mut self, left: &[ArtifactPath]) {
        for dir in left {
            self.folders.retain(|it| it != dir);
            if let Some(watcher) = &self.watcher {
                watcher.unwatch_directory(dir);
            }
        }
    }

    /// Calls new apps by the names that they have turned out to have.
    fn name_changes(&self, changes: &mut [super::Change]) {
        for change in changes.iter_mut().filter(|it| it.kind == "app") {
            let mut slots = self.slots.iter();
            let found = slots.find(|(path, _)| path.as_path() == change.name.as_str());
            if let Some(name) = found.and_then(|(_, slot)| slot.name()) {
                change.name = name.to_string();
            }
        }
    }

    /// Options that are in force for what serves already.
    pub(super) fn take_options(&mut self, old: &Arc<Config>) {
        if let Some(watcher) = &self.watcher
            && old.defaults.poll != self.config.defaults.poll
        {
            watcher.poll_all(self.config.defaults.poll);
        }
        let paths: Vec<_> = self.slots.keys().cloned().collect();
        for path in paths {
            self.take_options_of(&path, old);
        }
    }

    fn take_options_of(&mut self, path: &ArtifactPath, old: &Config) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        let new = Arc::clone(&self.config);
        let Some(name) = slot.name().cloned() else {
            // It may be what the new configuration mends.
            return self.try_again(path);
        };
        let options = new.options_of(&name);
        let changed: HashSet<_> = old.app_difference(&new, &name).live.into_iter().collect();
        if let Some(app) = &slot.app {
            app.set_patience(Patience {
                time: options.wait_timeout,
                most: options.max_waiting,
            });
        }
        let generation = slot.live_generation();
        if ["settle", "poll", "track"]
            .iter()
            .any(|key| changed.contains(key))
        {
            self.arrange_anew(path, &name, old);
        }
        if changed.contains("guard") && old.options_of(&name).guard.is_zero() {
            generation.inspect(|generation| self.look(path, *generation));
        }
        if changed.contains("reload") {
            self.judge_pending(path);
        }
        let Some(slot) = self.slots.get(path) else {
            return;
        };
        let unloaded = slot.app.is_some() && slot.live.is_none() && slot.work.is_idle();
        if slot.refusal.is_some() && slot.live.is_none() {
            self.try_again(path);
        } else if changed.contains("preload") && options.preload && unloaded {
            self.begin_load(path, Cause::Change);
        }
    }

    /// A change that waits is to be judged by another policy.
    fn judge_pending(&mut self, path: &ArtifactPath) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        if let Some(cause) = slot.pending.clone().filter(|_| slot.pin.is_none()) {
            if let Some(app) = &slot.app
                && slot.live.is_some()
            {
                app.disarm();
            }
            self.changed(path, cause);
        }
    }

    /// What was refused may be taken by now.
    fn try_again(&mut self, path: &ArtifactPath) {
        let idle = |slot: &Slot| slot.work.is_idle() && slot.live.is_none();
        if self.slots.get(path).is_some_and(idle) {
            self.begin_load(path, Cause::Change);
        }
    }

    fn arrange_anew(&mut self, path: &ArtifactPath, name: &AppName, old: &Config) {
        use crate::watcher::Tracked;
        let globs = |config: &Config| -> Vec<Tracked> {
            let globs = config.options_of(name).track.iter();
            globs.filter_map(|glob| Tracked::glob(glob).ok()).collect()
        };
        let Some(slot) = self.slots.get(path) else {
            return;
        };
        if slot.live.is_none() {
            return;
        }
        let before = globs(old);
        let kept = slot.tracked.iter();
        let kept = kept.filter(|it| !before.iter().any(|glob| glob.is_like(it)));
        let tracked = kept.map(Tracked::anew).chain(globs(&self.config)).collect();
        self.arrange(path, tracked);
    }
}

/// What is to be switched to.
fn ready(applying: &Applying) -> impl Iterator<Item = (&ArtifactPath, &Attempt)> {
    let own = applying.loads.iter().filter_map(|(path, step)| match step {
        Step::Ready(attempt) => Some((path, attempt)),
        _ => None,
    });
    let crews = applying.crews.values().flatten();
    let neighbours = crews.flat_map(|it| it.neighbours.iter().map(|(path, it)| (path, it)));
    own.chain(neighbours)
}

fn claimant(attempt: &Attempt) -> Option<&Claimant> {
    match &attempt.result {
        Ok(Loaded::Started(started)) => Some(&started.claimant),
        _ => None,
    }
}
