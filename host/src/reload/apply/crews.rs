//! New workers for groups that change.

use std::{collections::BTreeSet, sync::Arc};

use super::Step;
use crate::{
    generation::Crew,
    id::{ArtifactPath, GroupName},
    loader::StopReason,
    reload::{
        ReloadError, Reloader,
        cause::Cause,
        groups::{self, Launch, rolling::fill},
        launch::{LaunchError, Launched, Member},
        load::{Attempt, Enlisted, Loaded, Times},
        slot::{Slot, Work},
    },
};

/// A crew that is ready.
#[derive(Debug, Default)]
pub(super) struct Manned {
    /// `None`: no app is in the group any more.
    pub(super) crew: Option<Arc<dyn Crew>>,
    /// The apps in it that are not loaded for their own sake.
    pub(super) neighbours: Vec<(ArtifactPath, Attempt)>,
}

/// A crew whose workers have taken the places of others, one by one.
#[derive(Debug)]
pub(super) struct Rolled {
    pub(super) crew: Arc<dyn Crew>,
    /// Those others.
    pub(super) in_place_of: Vec<Arc<dyn Crew>>,
}

impl Rolled {
    /// Has the others started again, as soon as nobody of the crew is left.
    pub(super) fn roll_back(self) {
        if !self.in_place_of.is_empty() {
            fill(self.in_place_of, Some(self.crew.gone()));
        }
    }
}

/// Crews of a transaction, to the actor.
impl Reloader {
    /// Starts those that are wanted and not started yet; whether all are ready. One in whose favour
    /// workers end that serve comes last.
    pub(super) fn apply_crews(&mut self) -> bool {
        let Some(applying) = &self.applying else {
            return false;
        };
        let mut wanted: BTreeSet<GroupName> = applying.groups.clone();
        wanted.extend(applying.loads.values().filter_map(|step| match step {
            Step::Enlisted(_, enlisted) => Some(enlisted.group.clone()),
            _ => None,
        }));
        let config = Arc::clone(&applying.order.config);
        let known = applying.crews.keys();
        let known: BTreeSet<GroupName> = known.cloned().collect();
        let mut last = None;
        for group in wanted.difference(&known) {
            // One that is being started has what was there before.
            if self.is_launching(group) {
                return false;
            }
            let members = self.members_after(group);
            let in_place_of = self.in_place_of(&config, &members);
            if in_place_of.is_empty() {
                self.apply_crew(group, members, in_place_of);
            } else {
                last = Some((group, members, in_place_of));
            }
        }
        if !self.are_all_manned() {
            return false;
        }
        match last {
            Some((group, members, in_place_of)) => {
                self.apply_crew(group, members, in_place_of);
                self.are_all_manned()
            }
            None => true,
        }
    }

    fn are_all_manned(&self) -> bool {
        let applying = self.applying.as_ref();
        applying.is_some_and(|applying| applying.crews.values().all(Option::is_some))
    }

    /// Who will be in a group.
    fn members_after(&self, group: &GroupName) -> Vec<Member> {
        let Some(applying) = &self.applying else {
            return Vec::new();
        };
        let slots = self.slots.iter();
        let members = slots.filter_map(|(path, slot)| {
            let (app, artifact) = match (applying.loads.get(path), &slot.app, &slot.elsewhere) {
                (Some(Step::Enlisted(_, it)), _, _) if it.group == *group => {
                    (&it.app, &it.artifact)
                }
                (None, Some(app), Some((its, artifact)))
                    if its == group && !applying.removed.contains(path) =>
                {
                    (app, artifact)
                }
                _ => return None,
            };
            Some(Member {
                path: path.clone(),
                name: app.name.clone(),
                mount: app.mount.clone(),
                generation: slot.next,
                artifact: Arc::clone(artifact),
            })
        });
        let mut members: Vec<_> = members.collect();
        // The same order in each crew.
        members.sort_by(|one, other| one.name.cmp(&other.name));
        members
    }

    fn apply_crew(
        &mut self,
        group: &GroupName,
        members: Vec<Member>,
        in_place_of: Vec<Arc<dyn Crew>>,
    ) {
        let Some(applying) = &mut self.applying else {
            return;
        };
        let config = Arc::clone(&applying.order.config);
        let nobody = members.is_empty().then(Manned::default);
        let is_empty = nobody.is_some();
        applying.crews.insert(group.clone(), nobody);
        let apply = Some(applying.number);
        if is_empty {
            return;
        }
        for member in &members {
            if let Some(slot) = self.slots.get_mut(&member.path) {
                slot.next = slot.next.next();
            }
        }
        let order = groups::Order {
            group: group.clone(),
            requests: Vec::new(),
            in_place_of,
            apply,
        };
        self.launch_members(order, members, &config);
    }

    /// A crew of a transaction is ready, or is not to be.
    pub(in crate::reload) fn apply_launched(
        &mut self,
        launch: Launch,
        in_place_of: Vec<Arc<dyn Crew>>,
    ) {
        let number = self.applying.as_ref().map(|it| it.number);
        let is_wanted = launch.apply == number;
        match launch.result {
            Ok(launched) if is_wanted => {
                let began = launch.began.elapsed().as_secs_f64() * 1_000.0;
                if let Some(applying) = &mut self.applying
                    && !in_place_of.is_empty()
                {
                    let crew = Arc::clone(&launched.crew);
                    applying.rolled.push(Rolled { crew, in_place_of });
                }
                self.man(&launch.group, &launch.members, &launched, began);
            }
            Ok(launched) => {
                self.send_away(&launch.members, &launched);
                self.stay_all(&launch.members);
                Rolled {
                    crew: launched.crew,
                    in_place_of,
                }
                .roll_back();
            }
            Err(error) => {
                fill(in_place_of, None);
                self.stay_all(&launch.members);
                if is_wanted {
                    self.not_manned(launch.group, error);
                }
            }
        }
    }

    /// Apps that were to go along stay where they are.
    pub(super) fn stay_all(&mut self, members: &[Member]) {
        for member in members {
            self.stay_neighbour(&member.path);
        }
    }

    pub(super) fn stay_neighbour(&mut self, path: &ArtifactPath) {
        let slot = self.slots.get(path);
        let goes_along = slot.is_some_and(|slot| {
            matches!(&slot.work, Work::Loading(loading) if loading.cause == Cause::Neighbour)
        });
        if goes_along {
            self.stay_one(path);
        }
    }

    fn man(&mut self, group: &GroupName, members: &[Member], launched: &Launched, began: f64) {
        let mut manned = Manned {
            crew: Some(Arc::clone(&launched.crew)),
            neighbours: Vec::new(),
        };
        let mut failed = None;
        for member in members {
            let said = launched.said.get(&member.path).cloned().unwrap_or_default();
            let Some((mut attempt, enlisted)) = self.applicant(group, member) else {
                self.send_away(std::slice::from_ref(member), launched);
                self.stay_neighbour(&member.path);
                continue;
            };
            attempt.times.loaded_ms = began;
            attempt.times.setup_ms = said.setup.as_secs_f64() * 1_000.0;
            let is_neighbour = attempt.serial == 0;
            match self.started(member, launched, said, &attempt, enlisted) {
                Ok(started) => attempt.result = Ok(Loaded::Started(Box::new(started))),
                Err(error) => {
                    failed.get_or_insert((member.path.clone(), error));
                }
            }
            if is_neighbour {
                manned.neighbours.push((member.path.clone(), attempt));
            } else if let Some(applying) = &mut self.applying {
                applying
                    .loads
                    .insert(member.path.clone(), Step::Ready(attempt));
            }
        }
        if let Some(applying) = &mut self.applying {
            applying.crews.insert(group.clone(), Some(manned));
        }
        match failed {
            Some((path, error)) => self.apply_failed(Some(&path), &error),
            None => self.apply_go_on(),
        }
    }

    /// What is known of a member; of one that is loaded for itself, what its load came to.
    fn applicant(&mut self, group: &GroupName, member: &Member) -> Option<(Attempt, Enlisted)> {
        let applying = self.applying.as_mut()?;
        let config = Arc::clone(&applying.order.config);
        let step = applying.loads.get_mut(&member.path);
        if let Some(step @ Step::Enlisted(..)) = step
            && let Step::Enlisted(attempt, enlisted) = std::mem::replace(step, Step::Waiting)
        {
            return Some((attempt, *enlisted));
        }
        let slot: &Slot = self.slots.get(&member.path)?;
        let (fingerprint, digest) = slot.loaded?;
        let attempt = Attempt {
            serial: 0,
            config,
            digest: Some(digest),
            times: Times::default(),
            result: Err(ReloadError::Internal),
        };
        let enlisted = Enlisted {
            group: group.clone(),
            app: slot.app.clone()?,
            artifact: Arc::clone(&member.artifact),
            fingerprint,
            tracked: slot
                .tracked
                .iter()
                .map(crate::watcher::Tracked::anew)
                .collect(),
        };
        Some((attempt, enlisted))
    }

    /// Workers that nobody wants.
    fn send_away(&mut self, members: &[Member], launched: &Launched) {
        for member in members {
            let config = Arc::clone(&self.config);
            let live = self.seated(&config, member, launched);
            self.retire(&member.path, live, StopReason::Abandoned, None);
        }
    }

    fn not_manned(&mut self, group: GroupName, error: LaunchError) {
        let LaunchError {
            app,
            reason,
            remedy,
        } = error;
        let error = ReloadError::Workers {
            group,
            reason,
            remedy,
        };
        self.apply_failed(app.as_ref(), &error);
    }
}
