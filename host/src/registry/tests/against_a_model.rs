//! Random calls, and what a plain list would make of them.

use std::collections::BTreeMap;

use super::*;

const APPS: [&str; 3] = ["a", "b", "c"];
const KEYS: [&str; 5] = ["k0", "k1", "k2", "k3", "k4"];

type Key = &'static str;
type App = &'static str;
/// Who has an entry, with its generations. An app keeps its place as long as any of them has it.
type Owners = Vec<(App, Vec<u64>)>;

/// A registry without any of its indexes.
#[derive(Debug, Default)]
struct Plain {
    entries: Vec<(Key, i64, Owners)>,
    /// By generation.
    staged: BTreeMap<u64, (App, Vec<(Key, i64)>)>,
}

impl Plain {
    /// Whether others have it with another value.
    fn is_taken(&self, app: App, key: Key, value: i64) -> bool {
        self.entries.iter().any(|(other, has, owners)| {
            *other == key && *has != value && owners.iter().any(|(owner, _)| *owner != app)
        })
    }

    fn stage(&mut self, app: App, serial: u64, key: Key, value: i64) -> bool {
        let differs = |(other, has): &(Key, i64)| *other == key && *has != value;
        let mut staged = self.staged.values();
        let is_fine = !self.is_taken(app, key, value)
            && !staged.any(|(other, entries)| *other != app && entries.iter().any(differs));
        let own = self.staged.entry(serial).or_insert((app, Vec::new()));
        let is_fine = is_fine && !own.1.iter().any(differs);
        if is_fine && !own.1.contains(&(key, value)) {
            own.1.push((key, value));
        }
        is_fine
    }

    fn commit(&mut self, app: App, serial: u64) -> bool {
        let Some((_, entries)) = self.staged.get(&serial).cloned() else {
            return true;
        };
        if entries
            .iter()
            .any(|(key, value)| self.is_taken(app, key, *value))
        {
            return false;
        }
        self.staged.remove(&serial);
        for (key, value) in entries {
            match self.entries.iter_mut().find(|(other, ..)| *other == key) {
                Some((_, has, owners)) => {
                    *has = value;
                    match owners.iter_mut().find(|(owner, _)| *owner == app) {
                        Some((_, serials)) => serials.push(serial),
                        None => owners.push((app, vec![serial])),
                    }
                }
                None => self.entries.push((key, value, vec![(app, vec![serial])])),
            }
        }
        true
    }

    fn leave(&mut self, serial: u64) {
        self.staged.remove(&serial);
        for (_, _, owners) in &mut self.entries {
            for (_, serials) in &mut *owners {
                serials.retain(|other| *other != serial);
            }
            owners.retain(|(_, serials)| !serials.is_empty());
        }
        self.entries.retain(|(_, _, owners)| !owners.is_empty());
    }

    fn shown(&self) -> Vec<(String, i64, Vec<String>)> {
        let shown = self.entries.iter().map(|(key, value, owners)| {
            let owners = owners.iter().map(|(app, _)| (*app).to_owned());
            ((*key).to_owned(), *value, owners.collect())
        });
        shown.collect()
    }
}

fn shown(registry: &Registry) -> Vec<(String, i64, Vec<String>)> {
    let all = registry.all().into_iter();
    all.map(|entry| (entry.key, entry.value.as_i64().unwrap(), entry.owners))
        .collect()
}

#[test]
fn random_calls_do_what_a_plain_list_does_and_tell_of_what_can_be_seen_only() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (registry, mut plain) = (Registry::default(), Plain::default());
        let mut changes = registry.changes();
        let (mut refusals, mut shared) = (0, 0);
        for step in 0..200 {
            // Few generations, so that several of an app are there at the same time.
            let serial = random.u64(1..=9);
            let app = APPS[(serial % 3) as usize];
            let by = claimant(app, serial);
            let before = plain.shown();
            match random.u8(..10) {
                0..=5 => {
                    let (key, value) = (KEYS[random.usize(..KEYS.len())], random.i64(0..2));
                    let done = registry.stage(&by, "x", key, &json!(value)).is_ok();
                    assert_eq!(done, plain.stage(app, serial, key, value), "{seed}.{step}");
                    refusals += u32::from(!done);
                }
                6 | 7 => {
                    let done = registry.commit(&by).is_ok();
                    assert_eq!(done, plain.commit(app, serial), "{seed}.{step}");
                }
                8 => {
                    registry.discard(&by);
                    plain.staged.remove(&serial);
                }
                _ => {
                    registry.leave(&by);
                    plain.leave(serial);
                }
            }
            assert_eq!(shown(&registry), plain.shown(), "{seed}.{step}");
            let told = changes.has_changed().unwrap();
            assert_eq!(told, before != plain.shown(), "{seed}.{step}");
            changes.mark_unchanged();
            let of_two = plain.entries.iter().filter(|(.., owners)| owners.len() > 1);
            shared += of_two.count();
        }
        assert!(refusals > 0 && shared > 0, "{seed}: {refusals}, {shared}");
    }
}
