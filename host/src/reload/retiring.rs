//! Generations on their way out, for those who look at them meanwhile.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    ReloadError, Reloader,
    cause::Cause,
    event::Event,
    load::Leftover,
    pause::Bounds,
    retire::{self, Outcome, State},
};
use crate::{
    generation::{Facts, Generation, Idle, Live, Paused},
    id::{AppName, ArtifactPath, GenerationId},
    loader::{Footprint, Snapshot, StopReason},
    process::{self, OpenedBy},
    registry::Claimant,
};

/// A generation that takes no requests any more.
#[derive(Debug)]
pub(super) struct Retiring {
    pub(super) app: AppName,
    pub(super) path: ArtifactPath,
    pub(super) generation: GenerationId,
    /// What it has in this process.
    pub(super) footprint: Option<Footprint>,
    /// Gone when it is stopped.
    leased: Weak<Generation>,
    phase: Mutex<Phase>,
    /// Comes when its state is in the store, or will not be.
    pub(super) left: CancellationToken,
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
    fn new(path: &ArtifactPath, of: &Facts, leased: Weak<Generation>) -> Arc<Self> {
        Arc::new(Self {
            app: of.app.clone(),
            path: path.clone(),
            generation: of.id,
            footprint: of.footprint.clone(),
            leased,
            phase: Mutex::new(Phase::Draining),
            left: CancellationToken::new(),
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
        // Whatever holds it may hold it for ever: nobody waits for its state.
        self.left.cancel();
        self.enter(Phase::Quarantined { reason });
    }
}

/// Generations on their way out, to the actor.
impl Reloader {
    /// Lets a generation end its requests, at the latest at the deadline or when the app's drain
    /// time is over; then has it save its state, stops and unloads it.
    pub(super) fn retire(
        &mut self,
        path: &ArtifactPath,
        mut live: Live,
        reason: StopReason,
        deadline: Option<Instant>,
    ) {
        let retiring = Retiring::new(path, &live.lease.0, Arc::downgrade(&live.lease.0));
        let options = self.config.options_of(&retiring.app);
        let deadline = deadline.unwrap_or_else(|| Instant::now() + options.drain);
        let state = match reason {
            // It has had none of its own.
            StopReason::Abandoned => {
                retiring.left.cancel();
                State::Kept(None)
            }
            _ => State::ToSave(Bounds {
                limit: options.state_limit,
                time: options.cleanup_timeout,
            }),
        };
        let opened = live.opened.take();
        let stopped = self.leaves(&live.lease);
        let plan = self.plan(&retiring, reason, deadline, opened, live.lease.load);
        self.spawn_retiring(retiring, async move {
            retire::run(&plan, live, state, stopped).await
        });
    }

    /// Stops and unloads a generation that has stood aside, and has saved `snapshot`. `stopped` is
    /// told when it is stopped.
    pub(super) fn retire_paused(
        &mut self,
        path: &ArtifactPath,
        paused: Paused,
        snapshot: Option<Snapshot>,
        reason: StopReason,
        stopped: impl FnOnce() + Send + 'static,
    ) {
        let leaves = self.leaves(paused.facts());
        let stopped = move || {
            leaves();
            stopped();
        };
        let state = State::Kept(snapshot);
        let now = Instant::now();
        let load = paused.facts().load;
        match paused {
            Paused::Idle(idle) => {
                let Idle {
                    body,
                    facts,
                    opened,
                } = *idle;
                let retiring = Retiring::new(path, &facts, Weak::new());
                let plan = self.plan(&retiring, reason, now, opened, load);
                self.spawn_retiring(retiring, async move {
                    retire::run_idle(&plan, body, state, stopped).await
                });
            }
            Paused::Busy(mut live) => {
                let leased = Arc::downgrade(&live.lease.0);
                let retiring = Retiring::new(path, &live.lease.0, leased);
                let opened = live.opened.take();
                let plan = self.plan(&retiring, reason, now, opened, load);
                self.spawn_retiring(retiring, async move {
                    retire::run(&plan, *live, state, stopped).await
                });
            }
        }
    }

    /// What a generation has registered goes when it has stopped.
    fn leaves(&self, of: &Facts) -> impl FnOnce() + Send + use<> {
        let registry = Arc::clone(&self.registry);
        let claimant = Claimant {
            app: of.app.clone(),
            serial: of.load,
        };
        move || registry.leave(&claimant)
    }

    /// Unloads what never served.
    pub(super) fn unload(&mut self, leftover: Leftover) {
        let (path, name, generation, stopped) = match leftover {
            Leftover::Running { path, live } => {
                return self.retire(&path, *live, StopReason::Abandoned, Some(Instant::now()));
            }
            Leftover::Stopped {
                path,
                name,
                generation,
                stopped,
            } => (path, name, generation, stopped),
        };
        let retiring = Arc::new(Retiring {
            app: name,
            path,
            generation,
            footprint: Some(stopped.footprint()),
            leased: Weak::new(),
            phase: Mutex::new(Phase::Draining),
            left: CancellationToken::new(),
        });
        // It has had none.
        retiring.left.cancel();
        let plan = self.plan(&retiring, StopReason::Abandoned, Instant::now(), None, 0);
        self.spawn_retiring(retiring, async move {
            retire::run_stopped(&plan, *stopped).await
        });
    }

    fn plan(
        &self,
        retiring: &Arc<Retiring>,
        reason: StopReason,
        deadline: Instant,
        opened: Option<OpenedBy>,
        load: u64,
    ) -> retire::Plan {
        retire::Plan {
            retiring: Arc::clone(retiring),
            reason,
            deadline,
            load,
            store: Arc::clone(&self.store),
            cleanup_timeout: self.config.options_of(&retiring.app).cleanup_timeout,
            host_threads: Arc::clone(&self.host_threads),
            opened,
            staging: self.staging.path().to_owned(),
            chronicle: self.superior.as_ref().map(|it| Arc::clone(&it.chronicle)),
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
            retiring.left.cancel();
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
            self.changed(&retiring.path, Cause::Change);
        }
    }

    /// Resolves when each generation of an app that is on its way out has left its state.
    pub(super) fn all_left(&self, path: &ArtifactPath) -> impl Future<Output = ()> + use<> {
        let going = self.retiring.iter().filter(|it| it.path == *path);
        let left: Vec<_> = going.map(|retiring| retiring.left.clone()).collect();
        async move {
            for left in left {
                left.cancelled().await;
            }
        }
    }

    /// Why an app must not be loaded again now: too many of its generations stay loaded.
    pub(super) fn hold(&self, path: &ArtifactPath, cause: &Cause) -> Option<ReloadError> {
        // Where nothing can be unloaded, a bound would end all reloading.
        if process::unloading_is_off().is_some() {
            return None;
        }
        let options = match self.slots.get(path) {
            Some(slot) => slot.options(&self.config),
            None => &self.config.defaults,
        };
        let most = options.max_quarantined;
        // The one before must be had back, whatever stays of the others.
        let forced = matches!(
            cause,
            Cause::Command { force: true } | Cause::Rollback(_) | Cause::Revival(_)
        );
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
