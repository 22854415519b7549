//! Process groups: starting sets of workers, keeping them alive, and ending them.
//!
//! The supervisor is the host itself. It binds, watches, copies and inspects; which artifact is to
//! serve it decides as it does for its own apps (`reload`). What is loaded elsewhere is loaded by a
//! crew: a full set of workers, all with the same artifacts. No code of a group's plugins ever
//! runs here.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::{mpsc, watch};

mod backoff;
mod calls;
mod cgroups;
mod crew;
mod hand;
mod keeper;
mod log;
mod muster;
mod sizes;
mod sockets;
mod spawn;
mod wear;

use crate::{
    artifact::StagingArea,
    channel::{Begin, BeginApp, Ready},
    config::{Config, GroupOptions},
    id::{AppName, ArtifactPath, GroupName},
    process::cgroup::Area,
    reload::{CrewWanted, LaunchError, Launched, Launcher, Member, Said},
    state::StateStore,
};
use crew::{Crew, Plan};
use keeper::Keeper;

pub use cgroups::{Cgroups, limits};
pub use sizes::{Change, Sizes};
pub use sockets::GroupSockets;

/// What an app in a worker wants of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To be reloaded, though its file be the same.
    Reload(ArtifactPath),
    /// The whole host is to go on in a fresh image of its process.
    Restart(AppName),
}

/// Starts the workers of all groups.
#[derive(Debug)]
pub struct Supervisor {
    staging: Arc<StagingArea>,
    wishes: mpsc::UnboundedSender<Wish>,
    /// What all apps have registered, as JSON.
    registry: watch::Receiver<Arc<str>>,
    store: Arc<StateStore>,
    sizes: Sizes,
    cgroups: Cgroups,
    /// What groups listen on themselves.
    sockets: HashMap<GroupName, Arc<GroupSockets>>,
    /// Numbers crews.
    next: AtomicU64,
}

impl Supervisor {
    /// One that has started none. Sockets are made in the staging area; what apps wish goes to
    /// `wishes`, `registry` says in JSON what all apps have registered, `store` keeps the state of each
    /// worker's, `sizes` says how many workers groups are to have, `cgroups` where these have control
    /// groups, and `sockets` are those of groups that listen themselves.
    #[must_use]
    pub fn new(
        staging: Arc<StagingArea>,
        wishes: mpsc::UnboundedSender<Wish>,
        registry: watch::Receiver<Arc<str>>,
        store: Arc<StateStore>,
        sizes: Sizes,
        cgroups: Cgroups,
        sockets: HashMap<GroupName, Arc<GroupSockets>>,
    ) -> Self {
        Self {
            staging,
            wishes,
            registry,
            store,
            sizes,
            cgroups,
            sockets,
            next: AtomicU64::new(1),
        }
    }

    fn plan(&self, config: &Config, group: &GroupName, members: Vec<Member>) -> Plan {
        let options = config.groups.get(group).cloned().unwrap_or_default();
        let crew = self.next.fetch_add(1, Ordering::Relaxed);
        let dir = self.staging.path().join(format!("crew-{crew}"));
        Plan {
            group: group.clone(),
            size: self.sizes.of(group, options.processes),
            begin: begin(config, group, &options, &members, &dir),
            dir,
            options,
            cgroups: None,
            keeper: Keeper::new(Arc::clone(&self.store)),
            alone: is_any_alone(config, &members),
            members,
            sockets: self.sockets.get(group).cloned(),
            wishes: self.wishes.clone(),
            registry: self.registry.clone(),
        }
    }
}

fn is_any_alone(config: &Config, members: &[Member]) -> bool {
    let mut members = members.iter();
    members.any(|member| !config.options_of(&member.name).overlap)
}

fn begin(
    config: &Config,
    group: &GroupName,
    options: &GroupOptions,
    members: &[Member],
    dir: &Path,
) -> Begin {
    let mut all = members.iter();
    let has_most_requests = all.any(|it| config.options_of(&it.name).max_requests > 0);
    let apps = members.iter();
    Begin {
        group: group.to_string(),
        number: 0,
        threads: options.http_threads(),
        drain: options.graceful_timeout,
        request_timeout: options.request_timeout,
        count_every: wear::counting(options, has_most_requests),
        staging: dir.to_owned().into(),
        apps: apps.map(|member| BeginApp::new(member, config)).collect(),
        registry: String::new(),
    }
}

impl Launcher for Supervisor {
    fn launch(
        &self,
        config: &Config,
        group: &GroupName,
        wanted: CrewWanted,
    ) -> BoxFuture<'static, Result<Launched, LaunchError>> {
        let CrewWanted {
            members,
            in_place_of,
            asks,
        } = wanted;
        let mut plan = self.plan(config, group, members);
        let cgroups = self.cgroups.clone();
        async move {
            let paths: HashMap<String, ArtifactPath> = plan
                .members
                .iter()
                .map(|member| (member.name.to_string(), member.path.clone()))
                .collect();
            plan.cgroups = cgroups_of(cgroups, &plan).await?;
            let (crew, ready) = if in_place_of.is_empty() {
                Crew::start(plan, &asks).await?
            } else {
                Crew::roll(plan, in_place_of, &asks).await?
            };
            Ok(Launched {
                said: said(&paths, ready),
                crew: Arc::new(crew),
            })
        }
        .boxed()
    }
}

/// Where its workers have control groups.
async fn cgroups_of(cgroups: Cgroups, plan: &Plan) -> Result<Option<Arc<Area>>, LaunchError> {
    let (group, options) = (plan.group.clone(), plan.options.clone());
    let found = tokio::task::spawn_blocking(move || cgroups.of(&group, &options)).await;
    let failed = |reason: String, remedy: &str| LaunchError {
        app: None,
        reason: format!("its workers cannot have control groups: {reason}"),
        remedy: remedy.to_owned(),
    };
    found
        .map_err(|error| failed(error.to_string(), "set `cgroup` of the group to \"off\""))?
        .map_err(|error| failed(error.to_string(), error.remedy()))
}

/// What apps said in the first worker, and how long their setup took in the slowest.
fn said(
    paths: &HashMap<String, ArtifactPath>,
    ready: Vec<Vec<Ready>>,
) -> HashMap<ArtifactPath, Said> {
    let mut all: HashMap<ArtifactPath, Said> = HashMap::new();
    for one in ready.into_iter().flatten() {
        let Some(path) = paths.get(&one.app) else {
            continue;
        };
        let setup = one.setup;
        match all.get_mut(path) {
            Some(known) => known.setup = known.setup.max(setup),
            None => {
                let app = one.app.clone();
                match one.into_said() {
                    Ok(said) => drop(all.insert(path.clone(), said)),
                    Err(error) => tracing::error!(app, "a worker's report means nothing: {error}"),
                }
            }
        }
    }
    all
}

/// Where a worker listens.
fn socket_of(dir: &Path, serial: u64) -> PathBuf {
    dir.join(format!("{serial}.sock"))
}
