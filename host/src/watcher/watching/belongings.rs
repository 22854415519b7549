//! What belongs to artifacts: the files that they track.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Artifact, Entry, Evidence, Look, ROUNDS, Route, Watching};
use crate::{
    id::ArtifactPath,
    watcher::tracked::{Arrangement, Tracked},
};

/// How an artifact and what belongs to it is watched.
#[derive(Debug)]
pub(super) struct Arranged {
    pub(super) settle: Duration,
    poll: Duration,
    next_poll: Option<Instant>,
    tracked: Vec<Tracked>,
    /// The ways to what is tracked.
    pub(super) routes: Vec<Route>,
    /// Directories that are tracked, or below one that is, when they were looked for last.
    directories: BTreeSet<PathBuf>,
}

impl Arranged {
    /// Whether that very path is tracked, and not only what is below one.
    pub(super) fn names(&self, path: &Path) -> bool {
        self.tracked.iter().any(|tracked| tracked.base == path)
    }

    pub(super) fn tracks(&self) -> bool {
        !self.tracked.is_empty()
    }
}

impl Watching {
    /// Replaces what belongs to an artifact.
    pub(in crate::watcher) fn arrange(
        &mut self,
        path: &ArtifactPath,
        arrangement: Arrangement,
        now: Instant,
    ) {
        let Arrangement {
            settle,
            poll,
            tracked,
        } = arrangement;
        for it in self.artifacts.values_mut() {
            it.followers.remove(path);
        }
        let arranged = Arranged {
            settle,
            poll,
            next_poll: (!poll.is_zero()).then(|| now + poll),
            tracked,
            routes: Vec::new(),
            directories: BTreeSet::new(),
        };
        let seen: Vec<(PathBuf, Look)> = arranged
            .tracked
            .iter()
            .flat_map(|tracked| tracked.seen.iter())
            .map(|(file, look)| (file.clone(), *look))
            .collect();
        self.arranged.insert(path.clone(), arranged);
        for (file, look) in seen {
            self.follow_file(path, &file, Entry::known(look), now);
        }
        // What has come since then is a change.
        self.look_for_files(path, Evidence::Appeared, now);
        self.forget_strangers();
        self.prune();
    }

    /// Watches a file for an artifact. `entry`: what is known of it, if it was not watched before.
    fn follow_file(&mut self, follower: &ArtifactPath, file: &Path, entry: Entry, now: Instant) {
        let Ok(file) = ArtifactPath::new(file) else {
            return;
        };
        if !self.artifacts.contains_key(&file) {
            let route = self.follow_again(&file, false);
            let artifact = Artifact {
                entry,
                route,
                origin: None,
                followers: std::iter::once(follower.clone()).collect(),
            };
            self.artifacts.insert(file.clone(), artifact);
            self.decide(
                &file,
                |entry, look| entry.on(Evidence::Appeared, look, now),
                now,
            );
        } else if let Some(known) = self.artifacts.get_mut(&file) {
            known.followers.insert(follower.clone());
        }
    }

    /// Looks for files and directories that have come, and watches them.
    fn look_for_files(&mut self, path: &ArtifactPath, evidence: Evidence, now: Instant) {
        // What came into a new directory before that was watched is found by another look.
        // In /proc, say, there are always new ones.
        for _ in 0..ROUNDS {
            if !self.look_once(path, evidence, now) {
                break;
            }
        }
    }

    /// Whether there is a directory that was not watched before that look.
    fn look_once(&mut self, path: &ArtifactPath, evidence: Evidence, now: Instant) -> bool {
        let Some(arranged) = self.arranged.get(path) else {
            return false;
        };
        let mut routes = Vec::new();
        let mut directories = BTreeSet::new();
        let listed: Vec<_> = arranged
            .tracked
            .iter()
            .map(|tracked| (tracked.base.clone(), tracked.list()))
            .collect();
        for (base, listed) in listed {
            if let Ok(base) = ArtifactPath::new(&base) {
                routes.push(self.follow_again(&base, true));
            }
            for dir in listed.directories {
                if let Ok(path) = ArtifactPath::new(&dir) {
                    routes.push(self.follow_again(&path, true));
                    directories.insert(dir);
                }
            }
            for file in listed.files {
                let Ok(known) = ArtifactPath::new(&file) else {
                    continue;
                };
                let is_new = self
                    .artifacts
                    .get(&known)
                    .is_none_or(|it| !it.followers.contains(path));
                if is_new {
                    self.follow_file(path, &file, Entry::unknown(), now);
                    self.decide(&known, |entry, look| entry.on(evidence, look, now), now);
                }
            }
        }
        let Some(arranged) = self.arranged.get_mut(path) else {
            return false;
        };
        arranged.routes = routes;
        let is_new = !directories.is_subset(&arranged.directories);
        arranged.directories = directories;
        is_new
    }

    /// Something came, went, or was renamed at that path: it may be below something tracked, or on
    /// the way to it.
    pub(super) fn rediscover(&mut self, at: &Path, evidence: Evidence, now: Instant) {
        let concerned: Vec<_> = self
            .arranged
            .iter()
            .filter(|(_, arranged)| {
                let below = |tracked: &Tracked| at.starts_with(&tracked.base);
                let passes = |route: &Route| {
                    route.passes(at) || route.end.as_deref().is_some_and(|end| at.starts_with(end))
                };
                arranged.tracked.iter().any(below) || arranged.routes.iter().any(passes)
            })
            .map(|(path, _)| path.clone())
            .collect();
        for path in concerned {
            self.look_for_files(&path, evidence, now);
        }
    }

    /// Files that nobody follows any more.
    fn forget_strangers(&mut self) {
        self.artifacts
            .retain(|_, it| it.origin.is_some() || !it.followers.is_empty());
    }

    /// When the next look without an event is due.
    pub(super) fn next_poll(&self) -> Option<Instant> {
        let arranged = self.arranged.values().filter_map(|it| it.next_poll);
        arranged.chain(self.next_folder_poll).min()
    }

    /// Looks at what is to be looked at without an event.
    pub(super) fn poll(&mut self, now: Instant) {
        if self.next_folder_poll.is_some_and(|due| due <= now) {
            self.next_folder_poll = Some(now + self.poll_all);
            let folders = self.folders.keys().cloned().collect();
            self.rescan_folders(folders, Evidence::Appeared, now);
            self.rejudge(|it| it.origin.is_some(), Evidence::Appeared, now);
        }
        let due: Vec<_> = self
            .arranged
            .iter()
            .filter(|(_, arranged)| arranged.next_poll.is_some_and(|due| due <= now))
            .map(|(path, _)| path.clone())
            .collect();
        for path in due {
            if let Some(arranged) = self.arranged.get_mut(&path) {
                arranged.next_poll = Some(now + arranged.poll);
            }
            self.look_for_files(&path, Evidence::Appeared, now);
            let own = self.belongings(&path);
            for file in own {
                self.decide(&file, |entry, look| entry.poll(look, now), now);
            }
        }
    }

    /// An artifact, and all files that it tracks.
    fn belongings(&self, path: &ArtifactPath) -> Vec<ArtifactPath> {
        let its = self
            .artifacts
            .iter()
            .filter(|(file, it)| *file == path || it.followers.contains(path));
        its.map(|(file, _)| file.clone()).collect()
    }

    /// Whether something is happening to an artifact or to what it tracks.
    pub(super) fn is_busy(&self, path: &ArtifactPath) -> bool {
        let its = self
            .artifacts
            .iter()
            .filter(|(file, it)| *file == path || it.followers.contains(path));
        its.map(|(_, it)| &it.entry)
            .any(|entry| entry.deadline().is_some())
    }
}
