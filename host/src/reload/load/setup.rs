//! Running an app's setup.

use std::{future::Future, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Job, Leftover, thread};
use crate::{
    loader::{Loaded, Running, SetupFacts, StopReason},
    reload::{ReloadError, event::Event},
};

/// After this long a setup is worth a line in the log.
const SLOW: Duration = Duration::from_secs(5);

/// Runs the app's setup on a thread of its own, and does not wait for it for ever.
pub(super) async fn run(
    job: &Job,
    loaded: Loaded,
    facts: SetupFacts,
    mut waiting: watch::Receiver<bool>,
) -> Result<Running, ReloadError> {
    let options = job.config.options_of(&facts.name);
    let (limit, cleanup) = (options.setup_timeout, options.cleanup_timeout);
    let name = facts.name.clone();
    let generation = facts.generation;
    let unload = {
        let (path, name, sender) = (job.path.clone(), name.clone(), job.sender.clone());
        move |stopped| {
            let _ = sender.send(Event::Left(Box::new(Leftover::Stopped {
                path: path.clone(),
                name: name.clone(),
                generation,
                stopped: Box::new(stopped),
            })));
        }
    };
    let unload_late = unload.clone();
    let path = job.path.clone();
    // Nobody waits any more: what it comes to is stopped. On another thread, since this one has left
    // its thread-locals behind, and its runtime's are needed to stop it.
    let late = move |result: Result<Running, ReloadError>| {
        if let Ok(running) = result {
            let stop = move || unload_late(running.stop(StopReason::Abandoned, cleanup).0);
            if let Err(error) = thread::spawn("stop", stop, drop) {
                tracing::error!("cannot start a thread: {error}; it stays loaded");
            }
        }
        tracing::info!(path = %path, "a setup that had been given up has ended");
    };
    let setup = move || {
        loaded.setup(&facts).map_err(|failed| {
            let (error, stopped) = *failed;
            unload(stopped);
            ReloadError::Setup(error)
        })
    };
    let mut result = thread::spawn("setup", setup, late).map_err(ReloadError::Thread)?;
    let first = limit.min(SLOW);
    let result = match within(first, &mut result, &mut waiting).await {
        Some(result) => result,
        None => {
            if limit > first {
                tracing::warn!(
                    event = "setup-slow",
                    app = name.as_str(),
                    generation = generation.get(),
                    path = %job.path,
                    seconds = first.as_secs(),
                    "setup is still running after {first:?}; it is given up after {limit:?}",
                );
            }
            within(limit - first, &mut result, &mut waiting)
                .await
                .ok_or(ReloadError::SetupTimeout { limit })?
        }
    };
    result.map_err(|_| ReloadError::Internal)?
}

/// What comes of it within that time; the time in which it waits for the generation before does
/// not count.
async fn within<F: Future + Unpin>(
    time: Duration,
    work: &mut F,
    waiting: &mut watch::Receiver<bool>,
) -> Option<F::Output> {
    let mut left = time;
    loop {
        let began = Instant::now();
        tokio::select! {
            done = &mut *work => return Some(done),
            () = sleep(left) => return None,
            _ = waiting.wait_for(|waits| *waits) => left = left.saturating_sub(began.elapsed()),
        }
        tokio::select! {
            done = &mut *work => return Some(done),
            _ = waiting.wait_for(|waits| !*waits) => {}
        }
    }
}
