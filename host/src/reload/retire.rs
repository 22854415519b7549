//! Draining, stopping and unloading a generation.

use std::{thread, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    generation::{Draining, Live},
    id::AppName,
    loader::{Running, StopReason, StopReport, Unloaded},
};

/// How long after the cut a call may take to come back from the plugin's code.
const GRACE: Duration = Duration::from_secs(5);

/// How a generation is to go.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) app: AppName,
    pub(super) reason: StopReason,
    /// When what is still in flight is cut.
    pub(super) deadline: Instant,
    pub(super) cleanup_timeout: Duration,
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
    let (report, unloaded) = stop(running, plan.reason, plan.cleanup_timeout).await;
    let (outcome, why) = match unloaded {
        Unloaded::Closed => ("closed", None),
        Unloaded::Quarantined(why) => ("quarantined", Some(why)),
    };
    let StopReport {
        hooks_done,
        hooks_failed,
        ..
    } = report;
    let reason = plan.reason.to_string();
    if let Some(why) = why {
        tracing::warn!(
            event = "retired",
            app,
            generation,
            outcome,
            stop = reason,
            hooks_done,
            hooks_failed,
            reason = why,
            remedy = "end its threads in a cleanup hook, or when the shutdown token resolves",
            "stopped, but its library stays loaded",
        );
    } else {
        tracing::info!(
            event = "retired",
            app,
            generation,
            outcome,
            stop = reason,
            hooks_done,
            hooks_failed,
            "stopped and closed",
        );
    }
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
    draining.last().await
}

/// On a thread of its own: hooks may block, and so may the end of the plugin's runtime.
async fn stop(running: Running, reason: StopReason, timeout: Duration) -> (StopReport, Unloaded) {
    let (sender, receiver) = oneshot::channel();
    let work = move || {
        let (stopped, report) = running.stop(reason, timeout);
        let _ = sender.send((stopped, report));
    };
    if let Err(error) = thread::Builder::new().name("stop".to_owned()).spawn(work) {
        // The closure, and with it the plugin, is dropped with the error: closed, not stopped.
        tracing::error!("cannot start a thread to stop an app: {error}");
    }
    match receiver.await {
        // Closed from here: on the thread that ran its code, the thread's own records of the
        // plugin's thread-locals would still point into it.
        Ok((stopped, report)) => (report, stopped.unload()),
        Err(_) => {
            let report = StopReport {
                panicked: true,
                ..StopReport::default()
            };
            (
                report,
                Unloaded::Quarantined("it could not be stopped".to_owned()),
            )
        }
    }
}
