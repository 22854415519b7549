//! Sets of changes: what happens to an artifact and to what it tracks, as one.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{id::ArtifactPath, watcher::WatchEvent};

/// A set that does not come to rest is reported after so many times its settle time all the same,
const PATIENCE: u32 = 20;
/// or after this, whichever is longer.
const LEAST: Duration = Duration::from_secs(2);

/// The sets that have not ended.
#[derive(Debug, Default)]
pub(super) struct Sets(HashMap<ArtifactPath, Set>);

#[derive(Debug)]
struct Set {
    library: bool,
    files: BTreeSet<PathBuf>,
    settle: Duration,
    first: Instant,
    last: Instant,
}

impl Set {
    fn due(&self) -> Instant {
        let latest = self.first + (self.settle * PATIENCE).max(LEAST);
        (self.last + self.settle).min(latest)
    }
}

impl Sets {
    /// The artifact changed, or a file that it tracks did.
    pub(super) fn add(
        &mut self,
        artifact: &ArtifactPath,
        file: Option<PathBuf>,
        settle: Duration,
        now: Instant,
    ) {
        let set = self.0.entry(artifact.clone()).or_insert_with(|| Set {
            library: false,
            files: BTreeSet::new(),
            settle,
            first: now,
            last: now,
        });
        set.last = now;
        match file {
            Some(file) => drop(set.files.insert(file)),
            None => set.library = true,
        }
    }

    /// Something is still happening to what belongs to it.
    pub(super) fn put_off(&mut self, artifact: &ArtifactPath, now: Instant) {
        if let Some(set) = self.0.get_mut(artifact) {
            set.last = now;
        }
    }

    pub(super) fn forget(&mut self, artifact: &ArtifactPath) {
        self.0.remove(artifact);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.values().map(Set::due).min()
    }

    /// Those that have ended. `busy`: whether something is happening to what belongs to one.
    pub(super) fn ended(
        &mut self,
        now: Instant,
        busy: impl Fn(&ArtifactPath) -> bool,
    ) -> Vec<WatchEvent> {
        let due: Vec<_> = self
            .0
            .iter()
            .filter(|(_, set)| set.due() <= now)
            .map(|(artifact, _)| artifact.clone())
            .collect();
        let mut events = Vec::new();
        for artifact in due {
            if busy(&artifact) {
                self.put_off(&artifact, now);
            }
            let Some(set) = self.0.get(&artifact).filter(|set| set.due() <= now) else {
                continue;
            };
            events.push(if set.library {
                WatchEvent::Changed(artifact.clone())
            } else {
                WatchEvent::Tracked {
                    artifact: artifact.clone(),
                    files: set.files.iter().cloned().collect(),
                }
            });
            self.0.remove(&artifact);
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_ends_when_it_is_quiet_or_after_long() {
        let artifact = ArtifactPath::new("/srv/libx.so").unwrap();
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut sets = Sets::default();
        let idle = |_: &ArtifactPath| false;
        sets.add(&artifact, Some("/srv/t".into()), ms(50), start);
        sets.add(&artifact, None, ms(50), start + ms(40));
        assert!(sets.ended(start + ms(80), idle).is_empty());
        assert_eq!(
            sets.ended(start + ms(90), idle),
            [WatchEvent::Changed(artifact.clone())]
        );
        assert_eq!(sets.deadline(), None);
        // One that something is always happening to.
        sets.add(&artifact, Some("/srv/t".into()), ms(50), start);
        let mut now = start;
        let events = loop {
            now += ms(50);
            let events = sets.ended(now, |_| true);
            if !events.is_empty() {
                break events;
            }
        };
        assert_eq!(now, start + LEAST);
        let files = vec!["/srv/t".into()];
        assert_eq!(events, [WatchEvent::Tracked { artifact, files }]);
    }
}
