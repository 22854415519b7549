//! Draining, stopping and unloading a generation.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant as StdInstant},
};

use tokio::time::{Instant, sleep, timeout, timeout_at};

use tokio_util::sync::CancellationToken;

use super::thread::{self, ms};
use crate::{
    generation::{Draining, Live},
    id::AppName,
    loader::{Quarantine, Running, StopReason, StopReport, Stopped},
    process::HostThreads,
};

/// How long after the cut a call may take to come back from the plugin's code.
const GRACE: Duration = Duration::from_secs(5);
/// Between two tries to unload: threads that were told to end take a moment, or for ever.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// How long the end of the host waits for threads that were told to end.
const LAST_TRIES: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// How a generation is to go.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) app: AppName,
    pub(super) reason: StopReason,
    /// When what is still in flight is cut.
    pub(super) deadline: Instant,
    pub(super) cleanup_timeout: Duration,
    pub(super) host_threads: Arc<HostThreads>,
    /// The host ends: what cannot be unloaded by then is left to the process's end.
    pub(super) ending: CancellationToken,
}

/// Takes a generation to its end. Waits as long as its code runs: unmapping it earlier would
/// crash the host.
pub(super) async fn run(plan: Plan, live: Live) {
    let generation = live.lease.id.get();
    let app = plan.app.as_str();
    live.lease.plugin().shutdown(plan.reason);
    let draining = live.drain();
    if draining.in_flight() > 0 {
        tracing::info!(
            event = "draining",
            app,
            generation,
            in_flight = draining.in_flight(),
            "draining: {} in flight",
            draining.in_flight(),
        );
    }
    let Some(running) = drained(&plan, generation, draining).await else {
        tracing::error!(app, generation, "lost a generation before it was stopped");
        return;
    };
    let began = StdInstant::now();
    let (stopped, report) = match stop(running, plan.reason, plan.cleanup_timeout).await {
        Ok(stopped) => stopped,
        Err(error) => {
            tracing::error!(app, generation, "cannot stop it: {error}; it stays loaded");
            return;
        }
    };
    let quarantined = unload(&plan, generation, stopped).await;
    let StopReport {
        hooks_done,
        hooks_failed,
        panicked,
        ..
    } = report;
    let stop = plan.reason.to_string();
    let unload_ms = ms(began);
    let outcome = if quarantined {
        "quarantined"
    } else {
        "unloaded"
    };
    tracing::info!(
        event = "retired",
        app,
        generation,
        outcome,
        stop,
        hooks_done,
        hooks_failed,
        panicked,
        unload_ms,
        "{outcome}",
    );
}

/// Unloads it, as soon as nothing of it is in use. Returns whether it stays loaded for good.
async fn unload(plan: &Plan, generation: u64, stopped: Stopped) -> bool {
    let mut next = Some(Box::new(stopped));
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    let began = Instant::now();
    while let Some(stopped) = next {
        let mut errands = plan.host_threads.everywhere(stopped.leaving());
        if timeout(GRACE, errands.done()).await.is_err() {
            let threads = errands.waiting_for().join(", ");
            quarantined(
                plan,
                generation,
                &format!("thread {threads} does not come back"),
            );
            told = true;
            if plan
                .ending
                .run_until_cancelled(errands.done())
                .await
                .is_none()
            {
                return true;
            }
        }
        // The control thread, which told it to shut down.
        stopped.leaving()();
        match on_thread("unload", move || stopped.unload()).await {
            Ok(Ok(())) => return false,
            Ok(Err(Quarantine {
                reason,
                again: None,
            })) => {
                quarantined(plan, generation, &reason);
                return true;
            }
            Ok(Err(Quarantine { reason, again })) => {
                // Threads that were told to end take a moment.
                if !told && began.elapsed() > GRACE {
                    quarantined(plan, generation, &reason);
                    told = true;
                }
                next = again;
            }
            Err(error) => {
                quarantined(plan, generation, &error.to_string());
                return true;
            }
        }
        let wait = sleep(pause);
        if began.elapsed() < LAST_TRIES {
            wait.await;
        } else if plan.ending.run_until_cancelled(wait).await.is_none() {
            // The end of the process unloads it, too: nobody waits for that then.
            quarantined(plan, generation, "the host ends, and it is still in use");
            return true;
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
    true
}

fn quarantined(plan: &Plan, generation: u64, reason: &str) {
    tracing::warn!(
        event = "quarantined",
        app = plan.app.as_str(),
        generation,
        reason,
        remedy = "end its threads in a cleanup hook, or when the shutdown token resolves; it is \
                  unloaded when the reason ends",
        "stopped, but its library stays loaded",
    );
}

async fn drained(plan: &Plan, generation: u64, mut draining: Draining) -> Option<Running> {
    if let Ok(last) = timeout_at(plan.deadline, draining.last()).await {
        return last;
    }
    let app = plan.app.as_str();
    tracing::warn!(
        event = "cut",
        app,
        generation,
        in_flight = draining.in_flight(),
        "the drain time is over; cutting {} in flight",
        draining.in_flight(),
    );
    draining.cut();
    if let Ok(last) = timeout(GRACE, draining.last()).await {
        return last;
    }
    tracing::warn!(
        event = "stuck",
        app,
        generation,
        in_flight = draining.in_flight(),
        reason = "a handler blocks its thread, or data of a response has not been sent",
        remedy = "use tokio::task::spawn_blocking for work that blocks",
        "still in use after the cut; its library stays loaded until that ends",
    );
    // A handler that never comes back must not keep the host from ending.
    plan.ending.run_until_cancelled(draining.last()).await?
}

/// On a thread of its own: hooks may block, and so may the end of the plugin's runtime.
async fn stop(
    running: Running,
    reason: StopReason,
    timeout: Duration,
) -> io::Result<(Stopped, StopReport)> {
    on_thread("stop", move || running.stop(reason, timeout)).await
}

async fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let ended = |_| io::Error::other("the thread for it ended early");
    thread::spawn(name, work, drop)?.await.map_err(ended)
}
