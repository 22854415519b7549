//! All that is watched, and what each event means for it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use notify::Event;
use tokio::sync::mpsc::UnboundedSender;

use super::{
    WatchError, WatchEvent,
    directories::Directories,
    entry::{Entry, Evidence, Look, Outcome},
    route::Route,
    signal::{self, Signal},
};
mod belongings;
mod sets;

use crate::id::ArtifactPath;
use belongings::Arranged;
use sets::Sets;

/// After so many rounds the paths change faster than they can be followed; events of the
/// directories watched by then start the next attempt.
const ROUNDS: usize = 16;

/// All that is watched.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) directories: Directories,
    sender: UnboundedSender<WatchEvent>,
    artifacts: HashMap<ArtifactPath, Artifact>,
    folders: HashMap<ArtifactPath, Route>,
    arranged: HashMap<ArtifactPath, Arranged>,
    sets: Sets,
    /// How often folders are looked at without an event; zero: never.
    poll_all: Duration,
    next_folder_poll: Option<Instant>,
}

#[derive(Debug)]
struct Artifact {
    entry: Entry,
    route: Route,
    /// `None`: it is only followed.
    origin: Option<Origin>,
    /// Artifacts that track it.
    followers: HashSet<ArtifactPath>,
}

/// Who wants an artifact watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The operator named it.
    Named,
    /// It lies in a folder; it is forgotten when it is gone.
    Folder,
    /// It is one of a set of files.
    File,
}

impl Watching {
    pub(super) fn new(directories: Directories, sender: UnboundedSender<WatchEvent>) -> Self {
        Self {
            directories,
            sender,
            artifacts: HashMap::new(),
            folders: HashMap::new(),
            arranged: HashMap::new(),
            sets: Sets::default(),
            poll_all: Duration::ZERO,
            next_folder_poll: None,
        }
    }

    /// Looks at folders and all artifacts so often, too, whether there are events or not.
    pub(super) fn poll_all(&mut self, every: Duration, now: Instant) {
        self.poll_all = every;
        self.next_folder_poll = (!every.is_zero()).then(|| now + every);
    }

    pub(super) fn add(&mut self, path: ArtifactPath, origin: Origin) -> Result<(), WatchError> {
        if let Some(known) = self.artifacts.get_mut(&path) {
            if matches!(known.origin, None | Some(Origin::Folder)) {
                known.origin = Some(origin);
            }
            return Ok(());
        }
        let route = self.follow(&path, false)?;
        // Looked at after it is watched: what it is now is what the caller finds or older.
        let entry = Entry::known(Look::at(path.as_path()));
        self.artifacts.insert(
            path,
            Artifact {
                entry,
                route,
                origin: Some(origin),
                followers: HashSet::new(),
            },
        );
        Ok(())
    }

    pub(super) fn add_folder(
        &mut self,
        dir: ArtifactPath,
    ) -> Result<Vec<ArtifactPath>, WatchError> {
        let route = self.follow(&dir, true)?;
        self.folders.insert(dir.clone(), route);
        let mut found = libraries(&dir);
        found.retain(|path| matches!(Look::at(path.as_path()), Look::Present { .. }));
        for path in &found {
            self.add(path.clone(), Origin::Folder)?;
        }
        Ok(found)
    }

    /// Forgets a folder, and what is in it but was not named for itself.
    pub(super) fn remove_folder(&mut self, dir: &ArtifactPath) {
        self.folders.remove(dir);
        let inside = |path: &ArtifactPath| path.as_path().parent() == Some(dir.as_path());
        let known = self.artifacts.iter();
        let its = known.filter(|(path, it)| it.origin == Some(Origin::Folder) && inside(path));
        for path in its.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.remove(&path);
        }
        self.prune();
    }

    pub(super) fn set_files(&mut self, files: HashSet<ArtifactPath>) -> Result<(), WatchError> {
        self.artifacts
            .retain(|path, it| it.origin != Some(Origin::File) || files.contains(path));
        let mut result = Ok(());
        for path in files {
            result = result.and(self.add(path, Origin::File));
        }
        self.prune();
        result
    }

    pub(super) fn remove(&mut self, path: &ArtifactPath) {
        self.artifacts.remove(path);
        self.arranged.remove(path);
        self.sets.forget(path);
        for it in self.artifacts.values_mut() {
            it.followers.remove(path);
        }
        self.artifacts
            .retain(|_, it| it.origin.is_some() || !it.followers.is_empty());
        self.prune();
    }

    /// What was reported of that path could not be read.
    pub(super) fn unread(&mut self, path: &ArtifactPath) {
        if let Some(it) = self.artifacts.get_mut(path) {
            it.entry.unread();
        }
    }

    /// The earliest time at which something must be looked at again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.artifacts
            .values()
            .filter_map(|it| it.entry.deadline())
            .chain(self.sets.deadline())
            .chain(self.next_poll())
            .min()
    }

    /// Something happened to a file.
    pub(super) fn notified(&mut self, event: &Event, now: Instant) {
        let Some((signal, at)) = signal::of(event) else {
            return;
        };
        if signal == Signal::Gone {
            self.directories.forget_below(at);
        }
        let evidence = match signal {
            Signal::Closed | Signal::Arrived => Evidence::Done,
            // A link is complete as soon as it is there, and what it leads to was there before.
            Signal::Created if is_link(at) => Evidence::Done,
            Signal::Created | Signal::Gone => Evidence::Appeared,
            Signal::Written => Evidence::Written,
            Signal::Touched => Evidence::Touched,
        };
        if matches!(signal, Signal::Closed | Signal::Written | Signal::Touched) {
            self.discover(at, evidence, now);
            self.judge(|it| it.route.ends_at(at), evidence, now);
            return;
        }
        let passes = |route: &Route| route.passes(at) || route.ends_at(at);
        let ways: Vec<_> = self
            .folders
            .iter()
            .filter(|(_, route)| passes(route))
            .collect();
        let folders: Vec<_> = ways.into_iter().map(|(dir, _)| dir.clone()).collect();
        self.rescan_folders(folders, evidence, now);
        self.discover(at, evidence, now);
        self.rejudge(|it| passes(&it.route), evidence, now);
        self.rediscover(at, evidence, now);
    }

    /// Events were lost: looks at everything.
    pub(super) fn rescan(&mut self, now: Instant) {
        self.directories.keep(|_| false);
        let folders = self.folders.keys().cloned().collect();
        self.rescan_folders(folders, Evidence::Appeared, now);
        self.rejudge(|_| true, Evidence::Appeared, now);
        self.rediscover(Path::new("/"), Evidence::Appeared, now);
    }

    /// Looks at what was waited for.
    pub(super) fn expire(&mut self, now: Instant) {
        let due = |it: &Artifact| it.entry.deadline().is_some_and(|deadline| deadline <= now);
        for path in self.paths(due) {
            self.decide(&path, |entry, look| entry.expire(look, now), now);
        }
        self.poll(now);
        let mut sets = std::mem::take(&mut self.sets);
        for event in sets.ended(now, |path| self.is_busy(path)) {
            // Nobody receives any more: the host is shutting down.
            let _ = self.sender.send(event);
        }
        self.sets = sets;
    }

    /// Whether a path is a library in a folder that nobody knew of.
    fn discover(&mut self, at: &Path, evidence: Evidence, now: Instant) {
        let (Some(dir), Some(name)) = (at.parent(), at.file_name()) else {
            return;
        };
        let inside = |(_, route): &(&ArtifactPath, &Route)| route.end.as_deref() == Some(dir);
        let folders = self.folders.iter().filter(inside);
        let paths: Vec<_> = folders
            .map(|(folder, _)| folder.as_path().join(name))
            .collect();
        for path in paths.into_iter().filter(|path| is_library(path)) {
            self.introduce(path, evidence, now);
        }
    }

    fn rescan_folders(&mut self, folders: Vec<ArtifactPath>, evidence: Evidence, now: Instant) {
        for dir in folders {
            let route = self.follow_again(&dir, true);
            self.folders.insert(dir.clone(), route);
            for path in libraries(&dir) {
                self.introduce(path.as_path().to_owned(), evidence, now);
            }
        }
    }

    /// Takes up a library that appeared in a folder.
    fn introduce(&mut self, path: PathBuf, evidence: Evidence, now: Instant) {
        let Ok(path) = ArtifactPath::new(path) else {
            return;
        };
        if self.artifacts.contains_key(&path) {
            return;
        }
        let route = self.follow_again(&path, false);
        let artifact = Artifact {
            entry: Entry::unknown(),
            route,
            origin: Some(Origin::Folder),
            followers: HashSet::new(),
        };
        self.artifacts.insert(path.clone(), artifact);
        self.decide(&path, |entry, look| entry.on(evidence, look, now), now);
    }

    /// Follows the paths of some artifacts anew, and looks at what they lead to.
    fn rejudge(&mut self, which: impl Fn(&Artifact) -> bool, evidence: Evidence, now: Instant) {
        let paths = self.paths(which);
        for path in &paths {
            let route = self.follow_again(path, false);
            if let Some(artifact) = self.artifacts.get_mut(path) {
                artifact.route = route;
            }
            self.decide(path, |entry, look| entry.on(evidence, look, now), now);
        }
        if !paths.is_empty() {
            self.prune();
        }
    }

    fn judge(&mut self, which: impl Fn(&Artifact) -> bool, evidence: Evidence, now: Instant) {
        for path in self.paths(which) {
            self.decide(&path, |entry, look| entry.on(evidence, look, now), now);
        }
    }

    fn paths(&self, which: impl Fn(&Artifact) -> bool) -> Vec<ArtifactPath> {
        let chosen = self.artifacts.iter().filter(|(_, it)| which(it));
        chosen.map(|(path, _)| path.clone()).collect()
    }

    fn decide(
        &mut self,
        path: &ArtifactPath,
        step: impl FnOnce(&mut Entry, Look) -> Option<Outcome>,
        now: Instant,
    ) {
        let Some(artifact) = self.artifacts.get_mut(path) else {
            return;
        };
        let outcome = step(&mut artifact.entry, Look::at(path.as_path()));
        let (origin, followers) = (artifact.origin, artifact.followers.clone());
        if origin == Some(Origin::Folder) && artifact.entry.is_void() {
            artifact.origin = None;
            if followers.is_empty() {
                self.artifacts.remove(path);
            }
        }
        let Some(outcome) = outcome else {
            return;
        };
        if outcome == Outcome::Removed && origin.is_none() {
            // It may come again under this name, or never: a directory's are found anew.
            let named = followers
                .iter()
                .filter_map(|follower| self.arranged.get(follower))
                .any(|arranged| arranged.names(path.as_path()));
            if !named {
                self.artifacts.remove(path);
            }
        }
        for follower in followers {
            if let Some(arranged) = self.arranged.get(&follower) {
                let file = path.as_path().to_owned();
                self.sets.add(&follower, Some(file), arranged.settle, now);
            }
        }
        if origin.is_none() {
            return;
        }
        let arranged = self.arranged.get(path).filter(|it| it.tracks());
        let event = match (outcome, arranged) {
            (Outcome::Changed, Some(arranged)) => {
                return self.sets.add(path, None, arranged.settle, now);
            }
            (Outcome::Changed, None) => WatchEvent::Changed(path.clone()),
            (Outcome::Removed, _) => {
                self.sets.forget(path);
                WatchEvent::Removed(path.clone())
            }
        };
        // Nobody receives any more: the host is shutting down.
        let _ = self.sender.send(event);
    }

    /// Follows a path until every directory on the way is watched, and was before it was passed.
    fn follow(&mut self, path: &ArtifactPath, is_folder: bool) -> Result<Route, WatchError> {
        let mut route = Route::follow(path.as_path());
        for _ in 0..ROUNDS {
            let mut is_new = false;
            let inside = route.end.as_deref().filter(|end| is_folder && end.is_dir());
            for (index, dir) in inside.into_iter().chain(route.directories()).enumerate() {
                match self.directories.ensure(dir) {
                    Ok(new) => is_new |= new,
                    // It went away in this moment, as the next round will find.
                    Err(reason) if matches!(reason.kind, notify::ErrorKind::PathNotFound) => {
                        is_new = true;
                    }
                    // Only what happens to the nearest one must be seen. A parent may be closed to
                    // us, and is seldom renamed.
                    Err(reason) if index == 0 && self.poll_all.is_zero() => {
                        let (path, dir) = (path.clone(), dir.to_owned());
                        return Err(WatchError::Directory { path, dir, reason });
                    }
                    Err(_) => {}
                }
            }
            if !is_new {
                break;
            }
            route = Route::follow(path.as_path());
        }
        Ok(route)
    }

    fn follow_again(&mut self, path: &ArtifactPath, is_folder: bool) -> Route {
        self.follow(path, is_folder).unwrap_or_else(|error| {
            let remedy = error.remedy();
            tracing::warn!(event = "watch-failed", reason = %error, remedy, "cannot watch {path}");
            Route::follow(path.as_path())
        })
    }

    /// Ends watches that no path needs any more.
    fn prune(&mut self) {
        let artifacts = self.artifacts.values().map(|it| &it.route);
        let folders = self.folders.values();
        let tracked = self.arranged.values().flat_map(|it| &it.routes);
        let folders = folders.chain(tracked);
        let insides = folders.clone().filter_map(|route| route.end.as_deref());
        let wanted: HashSet<&Path> = artifacts
            .chain(folders)
            .flat_map(Route::directories)
            .chain(insides)
            .collect();
        self.directories.keep(|dir| wanted.contains(dir));
    }
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|found| found.is_symlink())
}

/// Whether a file in a folder is to be an app: hidden names are other programs' temporary files.
pub(crate) fn is_library(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden
        && path
            .extension()
            .is_some_and(|it| it == std::env::consts::DLL_EXTENSION)
}

/// The libraries in a folder, by name; none when it cannot be read.
/// The libraries that are in a folder now, by name.
pub(crate) fn libraries(dir: &ArtifactPath) -> Vec<ArtifactPath> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_library(path));
    let mut found: Vec<_> = paths
        .filter_map(|path| ArtifactPath::new(path).ok())
        .collect();
    found.sort();
    found
}
