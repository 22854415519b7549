//! From a path to a generation that can take requests.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::timeout};

use super::{
    ReloadError,
    event::Event,
    slot::Place,
    thread::{self, ms},
};
use crate::{
    app::App,
    artifact::{self, Fingerprint, InspectPolicy, StagingArea},
    config::{Config, Mount},
    generation::Live,
    id::{AppName, ArtifactPath, Digest, GenerationId},
    loader::{self, Loaded, Running, SetupFacts, StopReason, Stopped},
    process::{Before, Usage},
    router::Router,
};

/// After this long a setup is worth a line in the log.
const SLOW: Duration = Duration::from_secs(5);

/// What is to be loaded.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) path: ArtifactPath,
    pub(super) place: Place,
    pub(super) generation: GenerationId,
    pub(super) serial: u64,
    pub(super) config: Arc<Config>,
    pub(super) router: Arc<Router>,
    pub(super) staging: Arc<StagingArea>,
    /// The file that serves now, if that need not be loaded again.
    pub(super) loaded: Option<(Fingerprint, Digest)>,
    pub(super) sender: mpsc::UnboundedSender<Event>,
}

/// A generation that was stopped before it served, and is to be unloaded.
#[derive(Debug)]
pub(super) struct Leftover {
    pub(super) path: ArtifactPath,
    pub(super) name: AppName,
    pub(super) generation: GenerationId,
    pub(super) stopped: Stopped,
}

/// A generation that has been set up, and its app.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) app: Arc<App>,
    pub(super) live: Live,
    pub(super) fingerprint: Fingerprint,
    pub(super) times: Times,
}

/// How long each step took, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) staged_ms: f64,
    pub(super) loaded_ms: f64,
    pub(super) setup_ms: f64,
}

/// A library that is open, and what it says of itself.
struct Opened {
    loaded: Loaded,
    name: AppName,
    mount: Mount,
    digest: Digest,
    fingerprint: Fingerprint,
    before: Before,
    staged_ms: f64,
    loaded_ms: f64,
}

pub(super) async fn run(job: Job) -> Result<Started, ReloadError> {
    let job = Arc::new(job);
    let opener = Arc::clone(&job);
    let opened = thread::spawn("load", move || open(&opener), drop)
        .map_err(ReloadError::Thread)?
        .await
        .map_err(|_| ReloadError::Internal)??;
    let Opened {
        loaded,
        name,
        mount,
        digest,
        fingerprint,
        before,
        staged_ms,
        loaded_ms,
    } = opened;
    let facts = SetupFacts {
        name: name.clone(),
        mount: mount.to_string(),
        generation: job.generation,
        settings: job.config.settings_of(&name),
    };
    let began = Instant::now();
    let running = set_up(&job, loaded, facts).await?;
    let times = Times {
        staged_ms,
        loaded_ms,
        setup_ms: ms(began),
    };
    let mut live = Live::new(running, name.clone(), job.generation, digest);
    live.opened = Some(before.until_now());
    let app = Arc::new(App::new(job.path.clone(), name, mount));
    Ok(Started {
        app,
        live,
        fingerprint,
        times,
    })
}

fn open(job: &Job) -> Result<Opened, ReloadError> {
    let began = Instant::now();
    let staged = job.staging.stage(&job.path, job.serial)?;
    let fingerprint = *staged.fingerprint();
    let digest = *staged.digest();
    if job.loaded == Some((fingerprint, digest)) {
        return Err(ReloadError::Unchanged);
    }
    let policy = InspectPolicy {
        allow_panic_abort: job.config.defaults.allow_panic_abort,
    };
    let inspected = artifact::inspect(staged, policy)?;
    let staged_ms = ms(began);
    let name = AppName::try_from(inspected.manifest().name.as_str())?;
    let mount = match &job.place {
        Place::Fixed(mount) => mount.clone(),
        Place::ByName => Mount::of(&name),
    };
    // Asked before any of its code runs.
    job.router.check(&mount, &job.path)?;
    for warning in inspected.warnings() {
        tracing::warn!(app = name.as_str(), path = %job.path, "{warning}");
    }
    let usage = Arc::new(usage(job, &name));
    let began = Instant::now();
    let before = Before::now();
    let loaded = loader::load(inspected, usage)?;
    Ok(Opened {
        loaded,
        name,
        mount,
        digest,
        fingerprint,
        before,
        staged_ms,
        loaded_ms: ms(began),
    })
}

fn usage(job: &Job, name: &AppName) -> Usage {
    let Some(limit) = job.config.memory_limit_of(name) else {
        return Usage::unlimited();
    };
    let (path, generation, sender) = (job.path.clone(), job.generation, job.sender.clone());
    Usage::limited(limit, move || {
        let path = path.clone();
        let _ = sender.send(Event::Exhausted { path, generation });
    })
}

/// Runs the app's setup on a thread of its own, and does not wait for it for ever.
async fn set_up(job: &Job, loaded: Loaded, facts: SetupFacts) -> Result<Running, ReloadError> {
    let (limit, cleanup) = (
        job.config.defaults.setup_timeout,
        job.config.defaults.cleanup_timeout,
    );
    let name = facts.name.clone();
    let generation = facts.generation;
    let unload = {
        let (path, name, sender) = (job.path.clone(), name.clone(), job.sender.clone());
        move |stopped| {
            let _ = sender.send(Event::Left(Box::new(Leftover {
                path: path.clone(),
                name: name.clone(),
                generation,
                stopped,
            })));
        }
    };
    let unload_late = unload.clone();
    let path = job.path.clone();
    // Nobody waits any more: what it comes to is stopped where it is.
    let late = move |result: Result<Running, ReloadError>| {
        if let Ok(running) = result {
            unload_late(running.stop(StopReason::Abandoned, cleanup).0);
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
    let result = match timeout(first, &mut result).await {
        Ok(result) => result,
        Err(_) => {
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
            timeout(limit - first, result)
                .await
                .map_err(|_| ReloadError::SetupTimeout { limit })?
        }
    };
    result.map_err(|_| ReloadError::Internal)?
}
