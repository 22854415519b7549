//! Generations on their way out, for those who look at them meanwhile.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::time::Instant;

use super::{
    ReloadError, Reloader,
    event::Event,
    load::Leftover,
    retire::{self, Outcome},
    slot::Cause,
};
use crate::{
    app::App,
    generation::{Generation, Live},
    id::{AppName, ArtifactPath, GenerationId},
    loader::{Footprint, StopReason},
    process::{self, OpenedBy},
};

/// A generation that takes no requests any more.
#[derive(Debug)]
pub(super) struct Retiring {
    pub(super) app: AppName,
    pub(super) path: ArtifactPath,
    pub(super) generation: GenerationId,
    pub(super) footprint: Footprint,
    /// Gone when it is stopped.
    leased: Weak<Generation>,
    phase: Mutex<Phase>,
}

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Draining,
    /// Cleanup hooks, and the end of its runtime.
    Stopping,
    /// Waiting for what it may have left behind.
    Unloading,
    /// It stays loaded as long as that holds.
    Quarantined {
        reason: String,
    },
}

impl Retiring {
    pub(super) fn new(
        app: AppName,
        path: ArtifactPath,
        generation: GenerationId,
        footprint: Footprint,
        leased: Weak<Generation>,
    ) -> Arc<Self> {
        Arc::new(Self {
            app,
            path,
            generation,
            footprint,
            leased,
            phase: Mutex::new(Phase::Draining),
        })
    }

    /// Calls, bodies and tunnels that still keep it alive.
    pub(super) fn in_flight(&self) -> usize {
        self.leased.strong_count()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// Says that it stays loaded, and why.
    pub(super) fn quarantine(&self, reason: String) {
        tracing::warn!(
            event = "quarantined",
            app = self.app.as_str(),
            generation = self.generation.get(),
            reason,
            remedy = "end its threads and tasks in a cleanup hook, or when the shutdown token \
                      resolves; it is unloaded when the reason ends",
            "stopped, but its library stays loaded",
        );
        self.enter(Phase::Quarantined { reason });
    }
}

/// Generations on their way out, to the actor.
impl Reloader {
    pub(super) fn retire(
        &mut self,
        app: &App,
        mut live: Live,
        reason: StopReason,
        deadline: Option<Instant>,
    ) {
        let retiring = Retiring::new(
            app.name.clone(),
            app.path.clone(),
            live.lease.id,
            live.lease.footprint.clone(),
            Arc::downgrade(&live.lease.0),
        );
        let deadline = deadline.unwrap_or_else(|| Instant::now() + self.config.defaults.drain);
        let opened = live.opened.take();
        let plan = self.plan(&retiring, reason, deadline, opened);
        self.spawn_retiring(retiring, async move { retire::run(&plan, live).await });
    }

    /// Unloads what was stopped before it served.
    pub(super) fn unload(&mut self, leftover: Leftover) {
        let Leftover {
            path,
            name,
            generation,
            stopped,
        } = leftover;
        let retiring = Retiring::new(name, path, generation, stopped.footprint(), Weak::new());
        let plan = self.plan(&retiring, StopReason::Abandoned, Instant::now(), None);
        self.spawn_retiring(retiring, async move {
            retire::run_stopped(&plan, stopped).await
        });
    }

    fn plan(
        &self,
        retiring: &Arc<Retiring>,
        reason: StopReason,
        deadline: Instant,
        opened: Option<OpenedBy>,
    ) -> retire::Plan {
        retire::Plan {
            retiring: Arc::clone(retiring),
            reason,
            deadline,
            cleanup_timeout: self.config.defaults.cleanup_timeout,
            host_threads: Arc::clone(&self.host_threads),
            opened,
            staging: self.staging.path().to_owned(),
            ending: self.all_end.clone(),
        }
    }

    fn spawn_retiring(
        &mut self,
        retiring: Arc<Retiring>,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) {
        self.busy += 1;
        self.retiring.push(Arc::clone(&retiring));
        let sender = self.sender.clone();
        tokio::spawn(async move {
            // In a task of its own, so that it is told of even if it is lost on the way: the
            // host's end waits for it.
            let outcome = tokio::spawn(work).await.unwrap_or(Outcome::Quarantined);
            let _ = sender.send(Event::Retired { retiring, outcome });
        });
    }

    pub(super) fn retired(&mut self, retiring: &Arc<Retiring>, outcome: Outcome) {
        self.busy -= 1;
        if outcome == Outcome::Quarantined {
            return;
        }
        self.retiring.retain(|other| !Arc::ptr_eq(other, retiring));
        if self.slots.get(&retiring.path).is_some_and(|slot| slot.held) {
            self.changed(&retiring.path);
        }
    }

    /// Why an app must not be loaded again now: too many of its generations stay loaded.
    pub(super) fn hold(&self, path: &ArtifactPath, cause: Cause) -> Option<ReloadError> {
        // Where nothing can be unloaded, a bound would end all reloading.
        if process::unloading_is_off().is_some() {
            return None;
        }
        let most = self.config.defaults.max_quarantined;
        let forced = cause == Cause::Command { force: true };
        let count = self.quarantined(path).count();
        let held = most > 0 && count >= most && !forced;
        let reason = self.quarantined(path).last().filter(|_| held)?;
        Some(ReloadError::Quarantined { count, reason })
    }

    /// Why generations of an app stay loaded, one reason each.
    pub(super) fn quarantined(&self, path: &ArtifactPath) -> impl Iterator<Item = String> {
        self.retiring
            .iter()
            .filter(move |retiring| retiring.path == *path)
            .filter_map(|retiring| match retiring.phase() {
                Phase::Quarantined { reason } => Some(reason),
                _ => None,
            })
    }
}
