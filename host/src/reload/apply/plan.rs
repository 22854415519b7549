//! What a new configuration comes to, for each app and group.

use std::collections::{BTreeMap, BTreeSet};

use super::{Applied, Change, How, Order, targets::Targets};
use crate::{
    config::{AppDifference, Config, Difference},
    id::{AppName, ArtifactPath, GroupName},
    reload::{
        Reloader,
        slot::{Place, Slot},
    },
};

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    /// What is said of each artifact that is to be served.
    pub(super) places: BTreeMap<ArtifactPath, Place>,
    /// Those that take a new generation.
    pub(super) fresh: BTreeSet<ArtifactPath>,
    pub(super) removed: BTreeSet<ArtifactPath>,
    pub(super) new_folders: BTreeSet<ArtifactPath>,
    pub(super) old_folders: BTreeSet<ArtifactPath>,
    /// Those whose workers are replaced.
    pub(super) groups: BTreeSet<GroupName>,
}

impl Change {
    /// A change of that kind of thing.
    #[must_use]
    pub fn new(kind: &str, name: impl ToString, how: How, keys: &[&str]) -> Self {
        Self {
            kind: kind.to_owned(),
            name: name.to_string(),
            how,
            keys: keys.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Plans, to the actor.
impl Reloader {
    pub(super) fn plan_apply(&self, order: &Order) -> Result<Plan, Applied> {
        let (old, new) = (&self.config, &order.config);
        let difference = Difference::between(old, new);
        if !difference.restart.is_empty() {
            return Err(Applied::Refused {
                app: None,
                reason: format!(
                    "only a restart takes another `{}`",
                    difference.restart.join("`, `")
                ),
                remedy:
                    "`replug restart` takes the whole configuration; or put back what was there"
                        .to_owned(),
            });
        }
        let targets = Targets::of(&order.targets);
        let (watched, wanted) = (self.folders.iter().cloned().collect(), &targets.folders);
        let new_folders: BTreeSet<_> = wanted.difference(&watched).cloned().collect();
        let old_folders: BTreeSet<_> = watched.difference(wanted).cloned().collect();
        let mut plan = Plan {
            changes: order.changes.clone(),
            places: targets.places(&self.folders, self.slots.keys()),
            fresh: BTreeSet::new(),
            removed: BTreeSet::new(),
            new_folders,
            old_folders,
            groups: difference.groups.iter().map(|it| it.0.clone()).collect(),
        };
        plan.folders();
        plan.groups(&difference);
        self.plan_apps(new, &mut plan);
        self.plan_strangers(new, &mut plan);
        Ok(plan)
    }

    fn plan_apps(&self, new: &Config, plan: &mut Plan) {
        let gone = self.slots.iter();
        for (path, slot) in gone.filter(|(path, _)| !plan.places.contains_key(path)) {
            plan.removed.insert(path.clone());
            let name = called(path, Some(slot), &Place::default());
            plan.changes
                .push(Change::new("app", name, How::Removed, &[]));
        }
        for (path, place) in &plan.places {
            let slot = self.slots.get(path);
            let name = called(path, slot, place);
            let Some(slot) = slot else {
                plan.fresh.insert(path.clone());
                plan.changes.push(Change::new("app", name, How::Added, &[]));
                continue;
            };
            let AppDifference { fresh, live } = self.app_changes(slot, place, new);
            let how = match (fresh.is_empty(), live.is_empty()) {
                (true, true) => continue,
                (true, false) => How::Set,
                (false, _) => {
                    plan.fresh.insert(path.clone());
                    How::Changed
                }
            };
            let keys = [fresh, live].concat();
            plan.changes.push(Change::new("app", name, how, &keys));
        }
    }

    /// What changes for an app that there is.
    pub(super) fn app_changes(&self, slot: &Slot, place: &Place, new: &Config) -> AppDifference {
        let Some(name) = slot.name() else {
            // It was never looked at with success; it is looked at again in the end.
            let mut difference = AppDifference::default();
            difference
                .fresh
                .extend((slot.place != *place).then_some("mount"));
            return difference;
        };
        let mut difference = self.config.app_difference(new, name);
        let renamed = match &place.name {
            Some(new) => new != name,
            // What it calls itself is seen when it is looked at.
            None => slot.place.name.is_some(),
        };
        let named = place.name.as_ref().unwrap_or(name);
        let mount = new.mount_of(named, place.mount.as_ref(), place.alone);
        let moved = match &slot.app {
            Some(app) => app.mount != mount,
            None => slot.place.mount != place.mount,
        };
        difference.fresh.extend(moved.then_some("mount"));
        difference.fresh.extend(renamed.then_some("name"));
        difference
    }

    /// What is said of apps that are not there (yet), and of all that will come.
    fn plan_strangers(&self, new: &Config, plan: &mut Plan) {
        let old = &self.config;
        let known: BTreeSet<&AppName> = self.slots.values().filter_map(Slot::name).collect();
        let added: BTreeSet<&AppName> = plan
            .places
            .values()
            .filter_map(|it| it.name.as_ref())
            .collect();
        let named: BTreeSet<&AppName> = old.apps.keys().chain(new.apps.keys()).collect();
        for name in named {
            let AppDifference { fresh, live } = old.app_difference(new, name);
            let mut keys = [fresh, live].concat();
            let mount = |config: &Config| config.apps.get(name)?.mount.clone();
            keys.extend((mount(old) != mount(new)).then_some("mount"));
            if !keys.is_empty() && !known.contains(name) && !added.contains(name) {
                plan.changes.push(Change::new("app", name, How::Set, &keys));
            }
        }
        let AppDifference { fresh, live } = old.defaults_difference(new);
        let keys = [fresh, live].concat();
        if !keys.is_empty() {
            plan.changes
                .push(Change::new("defaults", "of apps", How::Set, &keys));
        }
    }
}

impl Plan {
    fn folders(&mut self) {
        let of = |how| move |dir: &ArtifactPath| Change::new("folder", dir, how, &[]);
        let new = self.new_folders.iter().map(of(How::Added));
        let old = self.old_folders.iter().map(of(How::Removed));
        self.changes.extend(new.chain(old));
    }

    fn groups(&mut self, difference: &Difference) {
        let of = |how| move |name: &GroupName| Change::new("group", name, how, &[]);
        let new = difference.new_groups.iter().map(of(How::Added));
        let old = difference.old_groups.iter().map(of(How::Removed));
        let changed = difference.groups.iter();
        let changed = changed.map(|(name, keys)| Change::new("group", name, How::Changed, keys));
        self.changes.extend(new.chain(old).chain(changed));
    }
}

/// What an artifact is called, as far as that is known.
pub(super) fn called(path: &ArtifactPath, slot: Option<&Slot>, place: &Place) -> String {
    let name = slot.and_then(Slot::name).or(place.name.as_ref());
    name.map_or_else(|| path.to_string(), ToString::to_string)
}
