//! Draining, stopping and unloading a generation.

use std::{
    env::consts::DLL_EXTENSION,
    io,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant as StdInstant},
};

use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    Chronicle,
    pause::{self, Bounds},
    retiring::{Phase, Retiring},
    thread::{self, ms},
};
use crate::{
    generation::{Body, Draining, Live, Stops},
    loader::{Quarantine, Running, Snapshot, StopReason, StopReport, Stopped},
    process::{Ending, HostThreads, OpenedBy},
    state::StateStore,
};

/// How long after the cut a call may take to come back from the plugin's code.
const GRACE: Duration = Duration::from_secs(5);
/// Threads that were told to end take a moment; after this long it is worth a line in the log.
const WORTH_A_LINE: Duration = Duration::from_secs(1);
/// How long a thread that has nothing to do takes to answer, at the most.
const ANSWER: Duration = Duration::from_millis(500);
/// Between two tries to unload.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// How long the end of the host waits for threads that were told to end.
const LAST_TRIES: Duration = Duration::from_secs(1);

/// How a generation is to go.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) retiring: Arc<Retiring>,
    pub(super) reason: StopReason,
    /// The number of its load.
    pub(super) load: u64,
    pub(super) store: Arc<StateStore>,
    /// When what is still in flight is cut.
    pub(super) deadline: Instant,
    pub(super) cleanup_timeout: Duration,
    pub(super) host_threads: Arc<HostThreads>,
    /// Descriptors that came up with it; `None`: they were not looked at.
    pub(super) opened: Option<OpenedBy>,
    /// Where private copies are: not the app's.
    pub(super) staging: PathBuf,
    /// Who is told how it has stopped; `None`: the log only.
    pub(super) chronicle: Option<Arc<dyn Chronicle>>,
    /// The host ends: what cannot be unloaded by then is left to the process's end.
    pub(super) ending: CancellationToken,
}

/// A generation's state, when it goes.
#[derive(Debug)]
pub(super) enum State {
    /// It is to be saved after the last request.
    ToSave(Bounds),
    /// It has been saved, and is to be kept; `None`: there is none.
    Kept(Option<Snapshot>),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Unloaded,
    /// For good.
    Quarantined,
}

/// Takes a generation to its end. Waits as long as its code runs: unmapping it earlier would
/// crash the host.
pub(super) async fn run(plan: &Plan, live: Live, state: State, stopped: impl FnOnce()) -> Outcome {
    let Retiring {
        app, generation, ..
    } = &*plan.retiring;
    live.lease.shutdown(plan.reason);
    let draining = live.drain();
    if draining.in_flight() > 0 {
        tracing::info!(
            event = "draining",
            app = app.as_str(),
            generation = generation.get(),
            in_flight = draining.in_flight(),
            "draining: {} in flight",
            draining.in_flight(),
        );
    }
    let Some(body) = drained(plan, draining).await else {
        plan.retiring
            .quarantine("the host ends, and it is still in use".to_owned());
        return Outcome::Quarantined;
    };
    run_idle(plan, body, state, stopped).await
}

/// The same for one that nothing holds any more. `told` is called when it is stopped.
pub(super) async fn run_idle(
    plan: &Plan,
    body: Body,
    state: State,
    told: impl FnOnce(),
) -> Outcome {
    plan.retiring.enter(Phase::Stopping);
    let running = match body {
        Body::Here(running) => *running,
        Body::Workers(seat) => {
            let stops = seat.crew.leave(&seat.app, plan.reason).await;
            plan.retiring.left.cancel();
            told();
            tell_of_workers(plan, stops);
            return Outcome::Unloaded;
        }
    };
    if let Some(chronicle) = &plan.chronicle {
        chronicle.drained(&plan.retiring.app);
    }
    let running = match keep(plan, running, state).await {
        Ok(running) => running,
        Err(error) => {
            plan.retiring.quarantine(format!("cannot stop it: {error}"));
            return Outcome::Quarantined;
        }
    };
    plan.retiring.left.cancel();
    let ending = Ending::now();
    let began = StdInstant::now();
    match stop(plan, running).await {
        Ok((stopped, report)) => {
            told();
            if let Some(chronicle) = &plan.chronicle {
                chronicle.stopped(&plan.retiring.app, report);
            }
            let outcome = unload(plan, stopped).await;
            tell(plan, outcome, report, began);
            tell_of_descriptors(plan, ending);
            outcome
        }
        Err(error) => {
            plan.retiring.quarantine(format!("cannot stop it: {error}"));
            Outcome::Quarantined
        }
    }
}

/// Unloads what has not served: a setup that failed, or came too late.
pub(super) async fn run_stopped(plan: &Plan, stopped: Stopped) -> Outcome {
    let began = StdInstant::now();
    let outcome = unload(plan, stopped).await;
    tell(plan, outcome, StopReport::default(), began);
    outcome
}

fn tell(plan: &Plan, outcome: Outcome, report: StopReport, began: StdInstant) {
    let (app, generation) = (plan.retiring.app.as_str(), plan.retiring.generation.get());
    let StopReport {
        hooks_done,
        hooks_failed,
        panicked,
        ..
    } = report;
    let outcome = match outcome {
        Outcome::Unloaded => "unloaded",
        Outcome::Quarantined => "quarantined",
    };
    tracing::info!(
        event = "retired",
        app,
        generation,
        outcome,
        stop = plan.reason.to_string(),
        hooks_done,
        hooks_failed,
        panicked,
        unload_ms = ms(began),
        "{outcome}",
    );
}

/// Says what the workers did that had it, if they have ended. Else they say it when they have.
fn tell_of_workers(plan: &Plan, stops: Option<Stops>) {
    let (app, generation) = (plan.retiring.app.as_str(), plan.retiring.generation.get());
    tracing::info!(
        event = "retired",
        app,
        generation,
        outcome = "unloaded",
        stop = plan.reason.to_string(),
        workers = stops.map(|it| it.workers),
        hooks_done = stops.map(|it| it.all.hooks_done),
        hooks_failed = stops.map(|it| it.all.hooks_failed),
        panicked = stops.map(|it| it.all.panicked),
        "given up in its workers",
    );
}

fn tell_of_descriptors(plan: &Plan, ending: Ending) {
    let Some(opened) = &plan.opened else { return };
    // Libraries are being copied at any time, from and to.
    let is_hosts = |target: &str| {
        let path = Path::new(target);
        path.starts_with(&plan.staging) || path.extension().is_some_and(|it| it == DLL_EXTENSION)
    };
    let left = opened.left(ending, is_hosts);
    if left.is_empty() {
        return;
    }
    tracing::warn!(
        event = "descriptors-left",
        app = plan.retiring.app.as_str(),
        generation = plan.retiring.generation.get(),
        descriptors = left.join(", "),
        reason = "they came up while it was there, and are still open; nothing tells whose a \
                  descriptor is, so some may be another app's",
        remedy = "close what it opens in a cleanup hook",
        "it may have left {} descriptors open",
        left.len(),
    );
}

/// Unloads it, as soon as nothing of it is in use.
async fn unload(plan: &Plan, stopped: Stopped) -> Outcome {
    plan.retiring.enter(Phase::Unloading);
    let mut next = Some(Box::new(stopped));
    let mut pause = FIRST_PAUSE;
    let began = Instant::now();
    while let Some(stopped) = next {
        let mut errands = plan.host_threads.everywhere(stopped.leaving());
        if timeout(GRACE, errands.done()).await.is_err() {
            let threads = errands.waiting_for().join(", ");
            plan.retiring
                .quarantine(format!("thread {threads} of the host does not come back"));
            if plan
                .ending
                .run_until_cancelled(errands.done())
                .await
                .is_none()
            {
                return Outcome::Quarantined;
            }
        }
        // The control thread, which told it to shut down.
        stopped.leaving()();
        match on_thread("unload", move || stopped.unload()).await {
            Ok(Ok(())) => return Outcome::Unloaded,
            Ok(Err(Quarantine {
                reason,
                again: None,
            })) => {
                plan.retiring.quarantine(reason);
                return Outcome::Quarantined;
            }
            Ok(Err(Quarantine { reason, again })) => {
                let known = Phase::Quarantined {
                    reason: reason.clone(),
                };
                if began.elapsed() > WORTH_A_LINE && plan.retiring.phase() != known {
                    plan.retiring.quarantine(reason);
                }
                next = again;
            }
            Err(error) => {
                plan.retiring.quarantine(error.to_string());
                return Outcome::Quarantined;
            }
        }
        let wait = sleep(pause);
        if began.elapsed() < LAST_TRIES {
            wait.await;
        } else if plan.ending.run_until_cancelled(wait).await.is_none() {
            // The end of the process unloads it, too: nobody waits for that then.
            plan.retiring
                .quarantine("the host ends, and it is still in use".to_owned());
            return Outcome::Quarantined;
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
    Outcome::Quarantined
}

async fn drained(plan: &Plan, mut draining: Draining) -> Option<Body> {
    if let Ok(last) = timeout_at(plan.deadline, draining.last()).await {
        return last;
    }
    tracing::warn!(
        event = "cut",
        app = plan.retiring.app.as_str(),
        generation = plan.retiring.generation.get(),
        in_flight = draining.in_flight(),
        "the drain time is over; cutting {} in flight",
        draining.in_flight(),
    );
    draining.cut();
    if let Ok(last) = timeout(GRACE, draining.last()).await {
        return last;
    }
    let mut errands = plan.host_threads.everywhere(|| ());
    let reason = if timeout(ANSWER, errands.done()).await.is_err() {
        let threads = errands.waiting_for().join(", ");
        format!(
            "thread {threads} of the host does not come back from its code: a handler blocks it; \
             use tokio::task::spawn_blocking for work that blocks"
        )
    } else {
        "data of a response of its has not been sent, or a task of the host's holds it".to_owned()
    };
    plan.retiring.quarantine(reason);
    // A handler that never comes back must not keep the host from ending.
    plan.ending.run_until_cancelled(draining.last()).await?
}

/// Keeps its state, saved by now or here.
async fn keep(plan: &Plan, running: Running, state: State) -> io::Result<Running> {
    let path = plan.retiring.path.clone();
    let (app, load, store) = (
        plan.retiring.app.clone(),
        plan.load,
        Arc::clone(&plan.store),
    );
    if let State::Kept(None) = state {
        return Ok(running);
    }
    on_thread("save", move || {
        let snapshot = match state {
            State::Kept(snapshot) => snapshot,
            State::ToSave(Bounds { limit, time }) => {
                running.save_state(limit, time).unwrap_or_else(|error| {
                    pause::tell(&app, &error);
                    None
                })
            }
        };
        if let Some(snapshot) = snapshot {
            pause::put(&store, &path, load, &snapshot);
        }
        running
    })
    .await
}

/// On a thread of its own: hooks may block, and so may the end of the plugin's runtime.
async fn stop(plan: &Plan, running: Running) -> io::Result<(Stopped, StopReport)> {
    let (reason, limit) = (plan.reason, plan.cleanup_timeout);
    let mut stopping = pin!(on_thread("stop", move || running.stop(reason, limit)));
    // Hooks have that time, and then the runtime has it again.
    if let Ok(stopped) = timeout(limit * 2 + GRACE, &mut stopping).await {
        return stopped;
    }
    plan.retiring
        .quarantine("stopping it does not come back: its service's destructor blocks".to_owned());
    plan.ending
        .run_until_cancelled(stopping)
        .await
        .unwrap_or_else(|| Err(io::Error::other("the host ends meanwhile")))
}

async fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let ended = |_| io::Error::other("the thread for it ended early");
    thread::spawn(name, work, drop)?.await.map_err(ended)
}
