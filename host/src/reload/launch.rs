//! What starts the workers of a group, as the actor sees it.

use std::{collections::HashMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::{
    artifact::Inspected,
    config::{Config, Mount},
    generation::Crew,
    id::{AppName, ArtifactPath, GenerationId, GroupName},
    loader::Snapshot,
};

/// Starts crews: sets of worker processes that have the apps of a group loaded.
pub trait Launcher: fmt::Debug + Send + Sync {
    /// Starts a full crew for these apps, as that configuration says, and resolves when each of its workers is ready. On an
    /// error, and when it is dropped before it resolves, nothing of the crew stays.
    ///
    /// If an app must not be there twice, the workers of the crews in whose place it comes end one by
    /// one before their successors start, all but the last: it resolves then, and the last of the
    /// new ones start when those crews are gone. After an error, the caller has their workers
    /// started again ([`Crew::refill`]).
    ///
    /// The error is a [`LaunchError`].
    fn launch(
        &self,
        config: &Config,
        group: &GroupName,
        wanted: CrewWanted,
    ) -> BoxFuture<'static, Result<Launched, LaunchError>>;
}

/// What a crew is to be.
#[derive(Debug)]
pub struct CrewWanted {
    /// What it is to load.
    pub members: Vec<Member>,
    /// The crews that have an app loaded which must not be there twice.
    pub in_place_of: Vec<Arc<dyn Crew>>,
    /// Where its workers' apps ask for the state of those before. A question that is not answered
    /// holds the worker up; that time is not its start's.
    pub asks: mpsc::UnboundedSender<StateAsk>,
}

/// A worker that is being started wants the state that the one before it in its place has.
#[derive(Debug)]
pub struct StateAsk {
    /// The app.
    pub app: ArtifactPath,
    /// The worker's number.
    pub worker: u32,
    /// Takes the state, if there is one, or why the app must not begin.
    pub reply: oneshot::Sender<Result<Option<Snapshot>, String>>,
}

/// An app that a crew is to load.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its identity.
    pub path: ArtifactPath,
    /// Its name.
    pub name: AppName,
    /// Where it is mounted.
    pub mount: Mount,
    /// The number of the generation that it will be.
    pub generation: GenerationId,
    /// The private copy, which stays as long as this does.
    pub artifact: Arc<Inspected>,
}

/// A crew that is ready.
#[derive(Debug)]
pub struct Launched {
    /// The crew.
    pub crew: Arc<dyn Crew>,
    /// What its apps have said in their setup.
    pub said: HashMap<ArtifactPath, Said>,
}

/// What an app has said in its setup. Each worker's says the same.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// What it registers, routes among it: kind, key and value.
    pub registered: Vec<(String, String, Value)>,
    /// What is to be called, and how often.
    pub schedules: Vec<(String, Duration)>,
    /// Files and directories whose changes make it reload.
    pub tracked: Vec<PathBuf>,
    /// How long its setup took in the slowest worker.
    pub setup: Duration,
}

/// Why there is no crew.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct LaunchError {
    /// The app whose fault it is; `None`: no app's.
    pub app: Option<ArtifactPath>,
    /// What happened.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}
