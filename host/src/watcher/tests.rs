//! Real files in a real directory; every wait ends with an event.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

use super::{WatchEvent, Watcher, directories::Directories};
use crate::id::ArtifactPath;

mod files;
mod folders;
mod links;
mod tracked;
mod writers;

/// Longer than any event takes; only a failed test waits for it.
const LONG: Duration = Duration::from_secs(20);

/// A directory, and a watcher that watches a file in it besides what a test wants watched.
struct Scene {
    dir: TempDir,
    watcher: Watcher,
    events: UnboundedReceiver<WatchEvent>,
    sentinel: ArtifactPath,
    rounds: usize,
    /// Where nothing comes from; closed, it would end the watcher.
    _system: Option<UnboundedSender<notify::Result<notify::Event>>>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (sender, events) = unbounded_channel();
        let watcher = Watcher::new(sender).unwrap();
        let sentinel = ArtifactPath::new(dir.path().join("sentinel")).unwrap();
        watcher.watch_artifact(sentinel.clone()).unwrap();
        Self {
            dir,
            watcher,
            events,
            sentinel,
            rounds: 0,
            _system: None,
        }
    }

    /// The same where the system tells of nothing.
    fn deaf() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (sender, events) = unbounded_channel();
        let (never, nothing) = unbounded_channel();
        let watcher = Watcher::start(Directories::deaf(), nothing, sender);
        let sentinel = ArtifactPath::new(dir.path().join("sentinel")).unwrap();
        Self {
            dir,
            watcher,
            events,
            sentinel,
            rounds: 0,
            _system: Some(never),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn artifact(&self, name: &str) -> ArtifactPath {
        ArtifactPath::new(self.path(name)).unwrap()
    }

    /// Writes a file that nobody watches, or whose events do not matter.
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Puts a complete file in place.
    fn rename_in(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        let new = path.with_extension("new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// Watches a file that is there. Its writer's events have all come before that: they would
    /// be taken for those of the next change.
    async fn watched(&mut self, name: &str, bytes: impl AsRef<[u8]>) -> ArtifactPath {
        self.write(name, bytes);
        self.silent().await;
        self.watch(name)
    }

    fn watch(&self, name: &str) -> ArtifactPath {
        let path = self.artifact(name);
        self.watcher.watch_artifact(path.clone()).unwrap();
        path
    }

    async fn next(&mut self) -> WatchEvent {
        timeout(LONG, self.events.recv())
            .await
            .expect("no event came")
            .unwrap()
    }

    async fn changed(&mut self, path: &ArtifactPath) {
        assert_eq!(self.next().await, WatchEvent::Changed(path.clone()));
    }

    async fn removed(&mut self, path: &ArtifactPath) {
        assert_eq!(self.next().await, WatchEvent::Removed(path.clone()));
    }

    /// Nothing was reported before a change made now.
    async fn silent(&mut self) {
        self.rounds += 1;
        self.rename_in("sentinel", self.rounds.to_string());
        let sentinel = self.sentinel.clone();
        self.changed(&sentinel).await;
    }

    /// Nothing is reported until a file that is removed now counts as removed: whatever was
    /// missing or still being waited for until now was decided before.
    async fn silent_for_long(&mut self) {
        let witness = self.watched("witness", "x").await;
        fs::remove_file(&witness).unwrap();
        self.removed(&witness).await;
        self.watcher.unwatch(&witness);
    }
}

fn modified_at(path: impl AsRef<Path>, seconds: u64) {
    let file = fs::File::open(path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
        .unwrap();
}
