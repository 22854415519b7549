//! Apps of process groups: one crew has all apps of a group loaded, so that a change of one is a
//! new crew for all.
//!
//! A load of such an app ends with an artifact that may be loaded. Artifacts of one group that are
//! ready at the same time go into one crew, together with what serves of the others; when that
//! crew is ready, all of them are switched to it in one step of the actor.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::{
    Reloader,
    error::ReloadError,
    launch::{LaunchError, Launched, Launcher, Member, Said},
    load::{Attempt, Enlisted},
    slot::{Slot, Work},
};
use crate::{
    generation::Crew,
    id::{ArtifactPath, GroupName},
};
pub(super) use launching::Order;
use rolling::fill;

mod compatible;
mod handing;
mod launching;
pub(super) mod rolling;
mod switching;
mod ways;

/// The groups, to the actor.
#[derive(Debug)]
pub(super) struct Groups {
    launcher: Arc<dyn Launcher>,
    groups: HashMap<GroupName, Group>,
}

#[derive(Debug, Default)]
struct Group {
    /// Loads that wait for a crew.
    enlisted: Vec<Waiting>,
    /// The crew that is being started.
    launching: Option<Launching>,
}

/// A crew that is being started.
#[derive(Debug)]
struct Launching {
    /// Tells it from others.
    number: u64,
    /// The loads that it is for.
    requests: Vec<Waiting>,
    /// Crews whose workers make room for it.
    in_place_of: Vec<Arc<dyn Crew>>,
}

/// A load that has come as far as it can without a crew.
#[derive(Debug)]
pub(super) struct Waiting {
    path: ArtifactPath,
    attempt: Attempt,
    enlisted: Enlisted,
}

/// A crew that is ready, or is not to be.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) group: GroupName,
    pub(super) members: Vec<Member>,
    /// Crews that have served the group. If there is a new one, they stand aside.
    pub(super) before: Vec<Arc<dyn Crew>>,
    pub(super) result: Result<Launched, LaunchError>,
    pub(super) began: Instant,
    /// The transaction that it is for; `None`: it is for loads of their own.
    pub(super) apply: Option<u64>,
}

impl Group {
    fn is_wanted(&self) -> bool {
        self.launching.is_none() && !self.enlisted.is_empty()
    }
}

impl Groups {
    pub(super) fn new(launcher: Arc<dyn Launcher>) -> Self {
        Self {
            launcher,
            groups: HashMap::new(),
        }
    }
}

/// Process groups, to the actor.
impl Reloader {
    /// An artifact of that group may be loaded.
    pub(super) fn enlist(&mut self, path: &ArtifactPath, mut attempt: Attempt, enlisted: Enlisted) {
        let Some(groups) = &mut self.groups else {
            attempt.result = Err(ReloadError::Internal);
            return self.loaded(path, attempt);
        };
        let group = groups.groups.entry(enlisted.group.clone()).or_default();
        let waiting = Waiting {
            path: path.clone(),
            attempt,
            enlisted,
        };
        group.enlisted.push(waiting);
        self.launch_all();
    }

    /// Starts the crews that are wanted, unless an artifact is just being looked at that may belong
    /// to one of them: that takes some milliseconds.
    pub(super) fn launch_all(&mut self) {
        let Some(groups) = &self.groups else { return };
        let looking = |slot: &Slot| matches!(&slot.work, Work::Loading(loading) if loading.looking);
        if self.ending.is_some() || self.slots.values().any(looking) {
            return;
        }
        let wanted = groups.groups.iter();
        let wanted = wanted.filter(|(name, group)| group.is_wanted() && !self.is_manned(name));
        for name in wanted.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.launch(name);
        }
    }

    /// It is known what an app is that is being loaded.
    pub(super) fn looked(&mut self, path: &ArtifactPath, serial: u64) {
        let slot = self.slots.get_mut(path);
        if let Some(loading) = slot.and_then(|slot| slot.work.loading(serial)) {
            loading.looking = false;
        }
        self.launch_all();
    }

    fn launch(&mut self, name: GroupName) {
        let (requests, refused) = self.compatible(&name);
        if !requests.is_empty() {
            self.start_crew(name, requests);
        }
        for waiting in refused {
            self.loaded(&waiting.path, waiting.attempt);
        }
    }

    fn start_crew(&mut self, name: GroupName, requests: Vec<Waiting>) {
        let mut members = Vec::new();
        for (path, slot) in &mut self.slots {
            let request = requests.iter().find(|request| request.path == *path);
            let member = match (request, &slot.app, &slot.elsewhere) {
                (Some(Waiting { enlisted, .. }), _, _) => {
                    let app = &enlisted.app;
                    (Arc::clone(app), Arc::clone(&enlisted.artifact))
                }
                (None, Some(app), Some((group, artifact))) if *group == name => {
                    (Arc::clone(app), Arc::clone(artifact))
                }
                _ => continue,
            };
            let (app, artifact) = member;
            members.push(Member {
                path: path.clone(),
                name: app.name.clone(),
                mount: app.mount.clone(),
                generation: slot.next,
                artifact,
            });
            slot.next = slot.next.next();
        }
        // The same order in each crew.
        members.sort_by(|one, other| one.name.cmp(&other.name));
        let config = Arc::clone(&self.config);
        let in_place_of = self.in_place_of(&config, &members);
        let order = Order {
            group: name,
            requests,
            in_place_of,
            apply: None,
        };
        self.launch_members(order, members, &config);
    }

    /// A crew is ready, or is not to be.
    pub(super) fn launched(&mut self, launch: Launch) {
        let Some(group) = self
            .groups
            .as_mut()
            .and_then(|groups| groups.groups.get_mut(&launch.group))
        else {
            return;
        };
        let Some(Launching {
            requests,
            in_place_of,
            ..
        }) = group.launching.take()
        else {
            return;
        };
        if launch.apply.is_some() {
            self.apply_launched(launch, in_place_of);
            // The next may have waited for the end of this one's.
            self.apply_go_on();
            return self.launch_all();
        }
        let result = if in_place_of.is_empty() {
            launch.result
        } else {
            let vetted = self.vetted(&launch.members, launch.result);
            vetted.map_err(|(error, gone)| {
                fill(in_place_of, gone);
                error
            })
        };
        match result {
            Ok(launched) => {
                self.switch(requests, &launch.members, &launched, launch.began);
                self.accept(&launched.crew, &launch.before);
            }
            Err(error) => {
                self.stay(&launch.members, &requests);
                self.not_launched(&launch.group, requests, error);
                launch.before.iter().for_each(|crew| crew.accept());
            }
        }
        // It may have waited for this.
        self.apply_go_on();
        self.launch_all();
    }

    /// There is no crew. If that is one app's doing, the others that asked have another chance.
    fn not_launched(&mut self, group: &GroupName, requests: Vec<Waiting>, error: LaunchError) {
        let LaunchError {
            app,
            reason,
            remedy,
        } = error;
        let at_fault = requests
            .iter()
            .any(|request| Some(&request.path) == app.as_ref());
        for mut request in requests {
            if at_fault && Some(&request.path) != app.as_ref() {
                if let Some(groups) = &mut self.groups {
                    let group = groups.groups.entry(group.clone()).or_default();
                    group.enlisted.push(request);
                }
                continue;
            }
            let (reason, remedy) = (reason.clone(), remedy.clone());
            request.attempt.result = Err(ReloadError::Workers {
                group: group.clone(),
                reason,
                remedy,
            });
            self.loaded(&request.path, request.attempt);
        }
    }
}
