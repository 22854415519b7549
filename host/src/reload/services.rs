//! What one generation may ask of the host.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use super::event::Event;
use crate::{
    config::Mount,
    id::ArtifactPath,
    loader::{Registered, Services, Snapshot},
    registry::{Claimant, ROUTE, Registry},
    router::Router,
    watcher::Tracked,
};

/// The shortest time between two calls of a schedule.
const SHORTEST: Duration = Duration::from_millis(1);

/// The services of one generation.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) path: ArtifactPath,
    pub(super) claimant: Claimant,
    pub(super) registry: Arc<Registry>,
    pub(super) router: Arc<Router>,
    /// Apps whose mounts are no obstacle.
    beside: Arc<HashSet<ArtifactPath>>,
    pub(super) sender: mpsc::UnboundedSender<Event>,
    /// `None` once setup is over.
    setup: Mutex<Option<Asked>>,
    state: Mutex<Option<Handed>>,
    /// Whether the generation before is being waited for.
    waiting: watch::Sender<bool>,
    reload: Arc<AtomicBool>,
    restart: Arc<AtomicBool>,
}

/// A generation's wish, on its way. As long as it is, the same wish is no other: one that wishes in
/// a loop does not fill the host's memory.
#[derive(Debug, Default)]
pub(super) struct Wish(Arc<AtomicBool>);

impl Wish {
    /// `None`: there is one on its way.
    fn new(under_way: &Arc<AtomicBool>) -> Option<Self> {
        let is_new = !under_way.swap(true, Ordering::AcqRel);
        is_new.then(|| Self(Arc::clone(under_way)))
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// What an app has asked for while it was set up.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Files and directories whose changes make it reload.
    pub(super) tracked: Vec<Tracked>,
    /// What is to be called, and how often.
    pub(super) schedules: Vec<(String, Duration)>,
    /// Why it must not serve: the one before could not save its state.
    pub(super) stateless: Option<String>,
}

/// What stands in the registry of a schedule.
pub(super) fn schedule_value(every: Duration) -> Value {
    json!({ "every": every.as_secs_f64() })
}

/// What the generation before left.
type Handed = Result<Option<Snapshot>, String>;

impl Asking {
    pub(super) fn new(
        path: ArtifactPath,
        claimant: Claimant,
        registry: Arc<Registry>,
        router: Arc<Router>,
        beside: Arc<HashSet<ArtifactPath>>,
        sender: mpsc::UnboundedSender<Event>,
    ) -> Self {
        Self {
            path,
            claimant,
            registry,
            router,
            beside,
            sender,
            setup: Mutex::new(Some(Asked::default())),
            state: Mutex::default(),
            waiting: watch::channel(false).0,
            reload: Arc::default(),
            restart: Arc::default(),
        }
    }

    /// Setup is over: what it has asked for.
    pub(super) fn finish(&self) -> Asked {
        lock(&self.setup).take().unwrap_or_default()
    }

    /// Whether the generation before is being waited for: that time is not setup's.
    pub(super) fn waiting(&self) -> watch::Receiver<bool> {
        self.waiting.subscribe()
    }

    fn in_setup<T>(
        &self,
        what: &str,
        ask: impl FnOnce(&mut Asked) -> Result<T, String>,
    ) -> Result<T, String> {
        match &mut *lock(&self.setup) {
            Some(asked) => ask(asked),
            None => Err(format!("{what} is for setup, which is over")),
        }
    }
}

impl Services for Asking {
    fn track(&self, path: &Path) -> Result<(), String> {
        self.in_setup("tracking files", |asked| {
            if !path.is_absolute() {
                return Err(format!("{} is no absolute path", path.display()));
            }
            if !asked.tracked.iter().any(|known| known.base() == path) {
                asked.tracked.push(Tracked::file_or_directory(path));
            }
            Ok(())
        })
    }

    fn register(&self, kind: &str, key: &str, value: &Value) -> Result<(), String> {
        self.in_setup("registering", |_| {
            if kind == ROUTE {
                let mount: Mount = key.parse().map_err(|error| format!("{error}"))?;
                let taken = self.router.check_beside(&mount, &self.path, &self.beside);
                taken.map_err(|taken| format!("{taken}; choose another mount"))?;
            }
            let staged = self.registry.stage(&self.claimant, kind, key, value);
            staged.map_err(|error| error.to_string())
        })
    }

    fn registrations(&self, kind: &str) -> Vec<Registered> {
        self.registry.of_kind(kind)
    }

    fn registry_changes(&self) -> watch::Receiver<u64> {
        self.registry.changes()
    }

    fn schedule(&self, name: &str, every: Duration) -> Result<(), String> {
        self.in_setup("scheduling", |asked| {
            if every < SHORTEST {
                return Err(format!(
                    "schedule `{name}` is to be called every {every:?}; {SHORTEST:?} is the \
                     shortest"
                ));
            }
            if asked.schedules.iter().any(|(known, _)| known == name) {
                return Err(format!("there is a schedule `{name}` already"));
            }
            let value = schedule_value(every);
            self.registry
                .stage_schedule(&self.claimant, name, &value)
                .map_err(|error| error.to_string())?;
            asked.schedules.push((name.to_owned(), every));
            Ok(())
        })
    }

    fn previous_state(&self) -> Handed {
        self.in_setup("the previous state", |_| Ok(()))?;
        // Held while it is waited for: asked twice, it is the same.
        let mut state = lock(&self.state);
        if let Some(handed) = &*state {
            return handed.clone();
        }
        let (reply, replied) = oneshot::channel();
        self.waiting.send_replace(true);
        let _ = self.sender.send(Event::Handover {
            path: self.path.clone(),
            serial: self.claimant.serial,
            reply,
        });
        let gone = |_| Err("the host gave this load up".to_owned());
        let handed = replied.blocking_recv().unwrap_or_else(gone);
        self.waiting.send_replace(false);
        if let (Err(reason), Some(asked)) = (&handed, &mut *lock(&self.setup)) {
            asked.stateless = Some(reason.clone());
        }
        *state = Some(handed.clone());
        handed
    }

    fn request_reload(&self) {
        if let Some(wish) = Wish::new(&self.reload) {
            let _ = self.sender.send(Event::AppAsked {
                path: self.path.clone(),
                serial: self.claimant.serial,
                wish,
            });
        }
    }

    fn request_restart(&self) {
        if let Some(wish) = Wish::new(&self.restart) {
            let _ = self.sender.send(Event::Restart {
                app: self.claimant.app.clone(),
                wish,
            });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
