//! What a configuration has a host serve.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::ArtifactPath,
    reload::{Wanted, slot::Place},
    watcher,
};

/// Something to be served.
#[derive(Clone, Debug)]
pub enum Target {
    /// Each library in that folder, those that come later, too.
    Folder(ArtifactPath),
    /// One library.
    Library(Wanted),
}

/// All of it, by paths.
pub(super) struct Targets {
    /// What is said of libraries that are named.
    pub(super) named: BTreeMap<ArtifactPath, Place>,
    pub(super) folders: BTreeSet<ArtifactPath>,
}

impl Targets {
    pub(super) fn of(targets: &[Target]) -> Self {
        let mut all = Self {
            named: BTreeMap::new(),
            folders: BTreeSet::new(),
        };
        for target in targets {
            match target {
                Target::Folder(dir) => drop(all.folders.insert(dir.clone())),
                Target::Library(wanted) => {
                    let place = all.named.entry(wanted.path.clone());
                    // What was said first counts, as at the start.
                    place.or_insert_with(|| Place::of(wanted));
                }
            }
        }
        all
    }

    /// The place of each library that is there or was named: `known` ones, and those that are in
    /// folders which nobody watches yet.
    pub(super) fn places<'a>(
        self,
        watched: &[ArtifactPath],
        known: impl Iterator<Item = &'a ArtifactPath>,
    ) -> BTreeMap<ArtifactPath, Place> {
        let mut places = self.named;
        let inside = |path: &&ArtifactPath| {
            let dir = path.as_path().parent();
            self.folders.iter().any(|it| dir == Some(it.as_path()))
        };
        let known: Vec<_> = known.filter(inside).cloned().collect();
        let new = self.folders.iter().filter(|it| !watched.contains(it));
        for path in known.into_iter().chain(new.flat_map(watcher::libraries)) {
            places.entry(path).or_default();
        }
        places
    }
}
