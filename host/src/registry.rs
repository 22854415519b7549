//! What apps have registered with the host: a set of `(kind, key) → value`, owned by apps.
//!
//! A generation *stages* its entries while it is set up, *commits* them all when it comes to serve,
//! and *leaves* them when it has stopped. So a reload that registers the same again changes
//! nothing, and what the new generation leaves out goes with the old one.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use indexmap::{IndexMap, map};
use serde_json::Value;
use tokio::sync::watch;

mod error;
#[cfg(test)]
mod tests;
mod together;

use crate::{config::Mount, id::AppName, loader::Registered};
pub use error::RegisterError;
use error::{ENTRIES, NAME_BYTES, VALUE_BYTES};

/// The kind of an app's further mounts; the key is the mount.
pub const ROUTE: &str = "route";
/// The kind of what the host calls from time to time; the key is `APP/NAME`. Only the host
/// registers it.
pub const SCHEDULE: &str = "schedule";

/// A generation that registers something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Its app.
    pub app: AppName,
    /// A number that no other generation of this run of the host has.
    pub serial: u64,
}

/// All registrations of a host.
#[derive(Debug)]
pub struct Registry {
    state: Mutex<State>,
    /// Counts what can be seen to change.
    version: watch::Sender<u64>,
}

// Each is looked up by its name, since a reload that registers 10,000 entries must not hold the
// actor up.
#[derive(Debug, Default)]
struct State {
    /// In the order of first registration.
    entries: IndexMap<Name, Entry>,
    /// By the claimant's serial.
    staged: HashMap<u64, Staging>,
    /// Apps whose entries are no obstacle for what others stage: they are switched together.
    leaving: HashSet<AppName>,
    /// Another host's entries, which are seen instead of these.
    mirror: Option<IndexMap<Name, Registered>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    kind: String,
    key: String,
}

#[derive(Debug)]
struct Staging {
    app: AppName,
    entries: IndexMap<Name, Value>,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    /// The first one first.
    owners: Vec<Owner>,
}

#[derive(Debug)]
struct Owner {
    app: AppName,
    /// Its generations that have it: the one that serves, and older ones that have not stopped.
    serials: Vec<u64>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            version: watch::channel(1).0,
        }
    }
}

impl Registry {
    /// Notes an entry for when that generation serves. The same once more changes nothing.
    ///
    /// # Errors
    /// When it cannot be one, or another app has it with another value.
    pub fn stage(
        &self,
        by: &Claimant,
        kind: &str,
        key: &str,
        value: &Value,
    ) -> Result<(), RegisterError> {
        if kind == SCHEDULE {
            return Err(RegisterError::Schedule);
        }
        if kind == ROUTE {
            let mount: Mount = key.parse()?;
            // It means nothing, so that it is nothing to differ in.
            return self.put(by, kind, mount.as_str(), &Value::Null);
        }
        self.put(by, kind, key, value)
    }

    /// Notes a schedule of the app's.
    ///
    /// # Errors
    /// When its name cannot be one.
    pub fn stage_schedule(
        &self,
        by: &Claimant,
        name: &str,
        value: &Value,
    ) -> Result<(), RegisterError> {
        check_name("the name of a schedule", name)?;
        self.put(by, SCHEDULE, &format!("{}/{name}", by.app), value)
    }

    fn put(
        &self,
        by: &Claimant,
        kind: &str,
        key: &str,
        value: &Value,
    ) -> Result<(), RegisterError> {
        check_name("a kind", kind)?;
        check_name("a key", key)?;
        let name = Name {
            kind: kind.to_owned(),
            key: key.to_owned(),
        };
        let bytes = value.to_string().len();
        if bytes > VALUE_BYTES {
            return Err(name.too_long(bytes));
        }
        let mut state = self.lock();
        state.check(&by.app, &name, value, &state.leaving)?;
        let others = state.staged.values().filter(|other| other.app != by.app);
        for other in others {
            if other.entries.get(&name).is_some_and(|it| it != value) {
                return Err(name.conflict(&other.app));
            }
        }
        let staging = state.staged.entry(by.serial).or_insert_with(|| Staging {
            app: by.app.clone(),
            entries: IndexMap::new(),
        });
        let full = staging.entries.len() == ENTRIES;
        match staging.entries.entry(name) {
            map::Entry::Occupied(same) if same.get() == value => Ok(()),
            map::Entry::Occupied(other) => Err(other.key().twice()),
            map::Entry::Vacant(_) if full => Err(RegisterError::TooMany),
            map::Entry::Vacant(place) => {
                place.insert(value.clone());
                Ok(())
            }
        }
    }

    /// The keys that a generation has staged under a kind.
    #[must_use]
    pub fn staged(&self, by: &Claimant, kind: &str) -> Vec<String> {
        let state = self.lock();
        let staging = state.staged.get(&by.serial);
        staging.map_or_else(Vec::new, |staging| {
            let of_kind = staging.entries.keys().filter(|name| name.kind == kind);
            of_kind.map(|name| name.key.clone()).collect()
        })
    }

    /// That generation comes to serve: what it has staged holds from now on, all of it.
    ///
    /// # Errors
    /// When another app has taken one of the keys meanwhile; then nothing of it holds.
    pub fn commit(&self, by: &Claimant) -> Result<(), RegisterError> {
        let mut state = self.lock();
        let Some(staging) = state.staged.get(&by.serial) else {
            return Ok(());
        };
        let nobody = HashSet::new();
        for (name, value) in &staging.entries {
            state.check(&by.app, name, value, &nobody)?;
        }
        let staged = state.staged.remove(&by.serial);
        let mut changed = false;
        for (name, value) in staged.into_iter().flat_map(|staging| staging.entries) {
            changed |= state.enter(by, name, value);
        }
        drop(state);
        self.tell(changed);
        Ok(())
    }

    /// That generation will not serve: what it has staged is forgotten.
    pub fn discard(&self, by: &Claimant) {
        self.lock().staged.remove(&by.serial);
    }

    /// That generation has stopped: what no other has registered goes.
    pub fn leave(&self, by: &Claimant) {
        let mut state = self.lock();
        state.staged.remove(&by.serial);
        let mut changed = false;
        state.entries.retain(|_, entry| {
            entry.owners.retain_mut(|owner| {
                owner.serials.retain(|serial| *serial != by.serial);
                changed |= owner.serials.is_empty();
                !owner.serials.is_empty()
            });
            !entry.owners.is_empty()
        });
        drop(state);
        self.tell(changed);
    }

    /// What a generation has registered, in the order of first registration; without its schedules,
    /// which nobody can register for it.
    #[must_use]
    pub fn of_claimant(&self, by: &Claimant) -> Vec<(String, String, Value)> {
        let state = self.lock();
        let its = state.entries.iter().filter(|(_, entry)| {
            let mut owners = entry.owners.iter();
            owners.any(|owner| owner.serials.contains(&by.serial))
        });
        let its = its.filter(|(name, _)| name.kind != SCHEDULE);
        its.map(|(name, entry)| (name.kind.clone(), name.key.clone(), entry.value.clone()))
            .collect()
    }

    /// Another host's entries are what is seen from now on, and what new ones must not contradict:
    /// this one works for that.
    pub fn mirror(&self, entries: Vec<Registered>) {
        let named = entries.into_iter().map(|entry| {
            let name = Name {
                kind: entry.kind.clone(),
                key: entry.key.clone(),
            };
            (name, entry)
        });
        self.lock().mirror = Some(named.collect());
        self.tell(true);
    }

    /// The entries of a kind, in the order of first registration.
    #[must_use]
    pub fn of_kind(&self, kind: &str) -> Vec<Registered> {
        self.those(|it| it == kind)
    }

    /// All entries, in the order of first registration.
    #[must_use]
    pub fn all(&self) -> Vec<Registered> {
        self.those(|_| true)
    }

    fn those(&self, wanted: impl Fn(&str) -> bool) -> Vec<Registered> {
        let state = self.lock();
        if let Some(mirror) = &state.mirror {
            let those = mirror.values().filter(|entry| wanted(&entry.kind));
            return those.cloned().collect();
        }
        let entries = state.entries.iter().filter(|(name, _)| wanted(&name.kind));
        entries.map(|(name, entry)| entry.show(name)).collect()
    }

    /// A version that is another one after each change that can be seen.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn tell(&self, changed: bool) {
        if changed {
            self.version.send_modify(|version| *version += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether an app may have that entry, as far as others have it already.
    fn check(
        &self,
        app: &AppName,
        name: &Name,
        value: &Value,
        leaving: &HashSet<AppName>,
    ) -> Result<(), RegisterError> {
        let found = self.entries.get(name).filter(|found| found.value != *value);
        let mut owners = found.iter().flat_map(|found| &found.owners);
        if let Some(other) = owners.find(|it| it.app != *app && !leaving.contains(&it.app)) {
            return Err(name.conflict(&other.app));
        }
        let mirrored = self.mirror.as_ref().and_then(|mirror| mirror.get(name));
        let found = mirrored.filter(|found| found.value != *value);
        let mut owners = found.iter().flat_map(|found| &found.owners);
        let other = owners.find(|owner| *owner != app.as_str());
        match other.map(|other| AppName::try_from(other.as_str())) {
            Some(Ok(other)) => Err(name.conflict(&other)),
            _ => Ok(()),
        }
    }

    /// Whether that can be seen.
    fn enter(&mut self, by: &Claimant, name: Name, value: Value) -> bool {
        let entry = match self.entries.entry(name) {
            map::Entry::Vacant(place) => {
                let owners = vec![Owner::new(by)];
                place.insert(Entry { value, owners });
                return true;
            }
            map::Entry::Occupied(entry) => entry.into_mut(),
        };
        let mut changed = entry.value != value;
        entry.value = value;
        match entry.owners.iter_mut().find(|owner| owner.app == by.app) {
            Some(owner) => owner.serials.push(by.serial),
            None => {
                entry.owners.push(Owner::new(by));
                changed = true;
            }
        }
        changed
    }
}

impl Owner {
    fn new(by: &Claimant) -> Self {
        Self {
            app: by.app.clone(),
            serials: vec![by.serial],
        }
    }
}

impl Entry {
    fn show(&self, name: &Name) -> Registered {
        Registered {
            kind: name.kind.clone(),
            key: name.key.clone(),
            value: self.value.clone(),
            owners: self.owners.iter().map(|it| it.app.to_string()).collect(),
        }
    }
}

impl Name {
    fn conflict(&self, owner: &AppName) -> RegisterError {
        RegisterError::Conflict {
            kind: self.kind.clone(),
            key: self.key.clone(),
            owner: owner.clone(),
        }
    }

    fn twice(&self) -> RegisterError {
        RegisterError::Twice {
            kind: self.kind.clone(),
            key: self.key.clone(),
        }
    }

    fn too_long(&self, bytes: usize) -> RegisterError {
        RegisterError::Value {
            kind: self.kind.clone(),
            key: self.key.clone(),
            bytes,
        }
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), RegisterError> {
    if !name.is_empty() && name.len() <= NAME_BYTES && !name.contains(char::is_control) {
        return Ok(());
    }
    Err(RegisterError::Name {
        what,
        name: name.chars().take(40).flat_map(char::escape_debug).collect(),
    })
}
