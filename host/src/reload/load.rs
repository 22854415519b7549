//! From a path to a generation that can take requests.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

mod open;
mod probe;
mod setup;

use super::{
    ReloadError,
    cause::{Cause, Origin},
    event::Event,
    services::{Asked, Asking},
    slot::Place,
    thread::{self, ms},
};
use crate::{
    app::{App, Patience},
    artifact::{Fingerprint, Inspected, StagingArea},
    config::{AppOptions, Config, Mount},
    generation::{Body, Facts, Live, Tally},
    id::{AppName, ArtifactPath, Digest, GenerationId, GroupName},
    loader::{Post, SetupFacts, Stopped},
    registry::{Claimant, ROUTE, Registry},
    router::Router,
    watcher::Tracked,
};

/// What is to be loaded.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) path: ArtifactPath,
    pub(super) place: Place,
    pub(super) origin: Origin,
    pub(super) cause: Cause,
    pub(super) generation: GenerationId,
    pub(super) serial: u64,
    pub(super) config: Arc<Config>,
    pub(super) router: Arc<Router>,
    /// Apps whose mounts are no obstacle: they are switched together with this one.
    pub(super) beside: Arc<HashSet<ArtifactPath>>,
    pub(super) registry: Arc<Registry>,
    /// The worker that this is; `None`: it is the host itself.
    pub(super) post: Option<Post>,
    pub(super) staging: Arc<StagingArea>,
    /// The file that serves now, if that need not be loaded again.
    pub(super) loaded: Option<(Fingerprint, Digest)>,
    /// Artifacts that were rolled back, and need not be loaded again.
    pub(super) bad: Vec<Digest>,
    /// Nothing serves, and no request waits: an app that is to be loaded by its first request is
    /// only looked at.
    pub(super) may_wait: bool,
    pub(super) sender: mpsc::UnboundedSender<Event>,
}

/// What a load came to.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The number of the load.
    pub(super) serial: u64,
    /// What held when it was begun.
    pub(super) config: Arc<Config>,
    /// What it was a load of, as far as that was found out.
    pub(super) digest: Option<Digest>,
    pub(super) times: Times,
    pub(super) result: Result<Loaded, ReloadError>,
}

/// What was loaded.
#[derive(Debug)]
pub(super) enum Loaded {
    /// It is ready for requests.
    Started(Box<Started>),
    /// It was only looked at, and is to be loaded by its first request.
    Found(Found),
    /// It was only looked at, and is to be loaded by the workers of its group.
    Enlisted(Box<Enlisted>),
}

/// An artifact that a group's workers are to load.
#[derive(Debug)]
pub(super) struct Enlisted {
    pub(super) group: GroupName,
    pub(super) app: Arc<App>,
    pub(super) artifact: Arc<Inspected>,
    pub(super) fingerprint: Fingerprint,
    /// What it is linked to, and what the operator wants tracked.
    pub(super) tracked: Vec<Tracked>,
}

/// A generation that has been set up, and its app.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) app: Arc<App>,
    pub(super) live: Live,
    /// In whose name it has registered things.
    pub(super) claimant: Claimant,
    /// Its further mounts.
    pub(super) routes: Vec<Mount>,
    /// What else it has asked for.
    pub(super) asked: Asked,
    pub(super) fingerprint: Fingerprint,
    /// The private copy.
    pub(super) staged: PathBuf,
    /// The group that has it loaded, and what of; `None`: this process has.
    pub(super) elsewhere: Option<(GroupName, Arc<Inspected>)>,
    pub(super) times: Times,
}

/// An artifact that may be loaded, and is not.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) app: Arc<App>,
    pub(super) digest: Digest,
}

/// A generation that never served, and is to be unloaded.
#[derive(Debug)]
pub(super) enum Leftover {
    /// Its setup failed.
    Stopped {
        path: ArtifactPath,
        name: AppName,
        generation: GenerationId,
        stopped: Box<Stopped>,
    },
    /// It did not answer its probe as it should.
    Running { path: ArtifactPath, live: Box<Live> },
}

/// How long each step took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Times {
    pub(super) staged_ms: f64,
    pub(super) loaded_ms: f64,
    pub(super) setup_ms: f64,
    pub(super) probed_ms: f64,
}

pub(super) async fn run(job: Job) -> Attempt {
    let mut attempt = Attempt {
        serial: job.serial,
        config: Arc::clone(&job.config),
        digest: None,
        times: Times::default(),
        result: Err(ReloadError::Internal),
    };
    let (digest, times) = (&mut attempt.digest, &mut attempt.times);
    attempt.result = load(Arc::new(job), digest, times).await;
    attempt
}

async fn load(
    job: Arc<Job>,
    digest: &mut Option<Digest>,
    times: &mut Times,
) -> Result<Loaded, ReloadError> {
    let looker = Arc::clone(&job);
    let looked = on_thread("load", move || open::look(&looker)).await?;
    *digest = looked.digest;
    times.staged_ms = looked.staged_ms;
    let artifact = looked.artifact?;
    let options = job.config.options_of(&artifact.name);
    let app = app(&job, &artifact.name, &artifact.mount, options);
    if job.may_wait && !options.preload {
        return Ok(Loaded::Found(Found {
            app,
            digest: artifact.digest,
        }));
    }
    if let Some((group, _)) = job.config.group_of(&artifact.name) {
        return Ok(Loaded::Enlisted(Box::new(artifact.enlist(group, app))));
    }
    let _ = job.sender.send(Event::Looked {
        path: job.path.clone(),
        serial: job.serial,
    });
    if !options.overlap {
        make_room(&job).await?;
    }
    let opener = Arc::clone(&job);
    let opened = on_thread("load", move || open::open(&opener, artifact)).await??;
    times.loaded_ms = opened.loaded_ms;
    let claimant = Claimant {
        app: app.name.clone(),
        serial: job.serial,
    };
    let asking = Arc::new(Asking::new(
        job.path.clone(),
        claimant.clone(),
        Arc::clone(&job.registry),
        Arc::clone(&job.router),
        Arc::clone(&job.beside),
        job.sender.clone(),
    ));
    let started = start(&job, app, opened, &asking, times).await;
    if started.is_err() {
        // First, so that a setup that was given up, and goes on, registers nothing any more: that
        // would stand in other apps' way for ever.
        asking.finish();
        job.registry.discard(&claimant);
    }
    started
}

/// From an open library to a generation that can take requests.
async fn start(
    job: &Job,
    app: Arc<App>,
    opened: open::Opened,
    asking: &Arc<Asking>,
    times: &mut Times,
) -> Result<Loaded, ReloadError> {
    let options = job.config.options_of(&app.name);
    let facts = SetupFacts {
        name: app.name.clone(),
        mount: app.mount.to_string(),
        generation: job.generation,
        settings: job.config.settings_of(&app.name),
        post: job.post.clone(),
        services: Arc::clone(asking) as _,
    };
    let began = Instant::now();
    let running = setup::run(job, opened.loaded, facts, asking.waiting()).await?;
    let mut asked = asking.finish();
    asked.tracked.extend(opened.tracked);
    times.setup_ms = ms(began);
    let facts = Facts {
        app: app.name.clone(),
        mount: app.mount.clone(),
        id: job.generation,
        digest: opened.digest,
        since: Instant::now(),
        footprint: Some(running.footprint()),
        load: job.serial,
        tally: Arc::new(tally(&job.path, job.generation, options, &job.sender)),
        direct: Arc::default(),
    };
    let mut live = Live::new(Body::Here(Box::new(running)), facts);
    live.opened = Some(opened.before.until_now());
    let began = Instant::now();
    if let Err(error) = judge(&live, &asked, options).await {
        let left = Leftover::Running {
            path: job.path.clone(),
            live: Box::new(live),
        };
        let _ = job.sender.send(Event::Left(Box::new(left)));
        return Err(error);
    }
    times.probed_ms = ms(began);
    // Each was looked at when it was registered.
    let routes = job.registry.staged(&asking.claimant, ROUTE);
    let routes = routes.iter().filter_map(|mount| mount.parse().ok());
    Ok(Loaded::Started(Box::new(Started {
        app,
        live,
        claimant: asking.claimant.clone(),
        routes: routes.collect(),
        asked,
        fingerprint: opened.fingerprint,
        staged: opened.staged,
        elsewhere: None,
        times: *times,
    })))
}

/// Whether it may serve.
async fn judge(live: &Live, asked: &Asked, options: &AppOptions) -> Result<(), ReloadError> {
    if let Some(reason) = &asked.stateless {
        return Err(ReloadError::State(reason.clone()));
    }
    match &options.probe {
        Some(path) => probe::run(&live.lease, path, options.probe_timeout).await,
        None => Ok(()),
    }
}

/// Asks the actor to stop the generation that serves, and waits until it is.
async fn make_room(job: &Job) -> Result<(), ReloadError> {
    let (go, gone) = oneshot::channel();
    let _ = job.sender.send(Event::Prepared {
        path: job.path.clone(),
        serial: job.serial,
        go,
    });
    gone.await
        .map_err(|_| ReloadError::CalledOff)?
        .map_err(ReloadError::State)
}

fn app(job: &Job, name: &AppName, mount: &Mount, options: &AppOptions) -> Arc<App> {
    let patience = Patience {
        time: options.wait_timeout,
        most: options.max_waiting,
    };
    let (path, sender) = (job.path.clone(), job.sender.clone());
    Arc::new(App::new(
        job.path.clone(),
        name.clone(),
        mount.clone(),
        patience,
        move || {
            let _ = sender.send(Event::Wanted(path.clone()));
        },
    ))
}

/// Counts its requests, and tells when they are as many as it may answer.
pub(super) fn tally(
    path: &ArtifactPath,
    generation: GenerationId,
    options: &AppOptions,
    sender: &mpsc::UnboundedSender<Event>,
) -> Tally {
    if options.max_requests == 0 {
        return Tally::default();
    }
    let (path, sender) = (path.clone(), sender.clone());
    Tally::with_limit(jittered(options.max_requests), move || {
        let _ = sender.send(Event::Worn {
            path: path.clone(),
            generation,
            cause: Cause::Requests,
        });
    })
}

/// Less up to a tenth, so that apps that were started together are not renewed together.
pub(super) fn jittered(number: u64) -> u64 {
    number - fastrand::u64(..=number / 10)
}

/// The same for a time.
pub(super) fn jittered_time(time: Duration) -> Duration {
    time.mul_f64(1.0 - fastrand::f64() / 10.0)
}

async fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReloadError> {
    thread::spawn(name, work, drop)
        .map_err(ReloadError::Thread)?
        .await
        .map_err(|_| ReloadError::Internal)
}
