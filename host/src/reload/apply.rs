//! A changed configuration, taken as one transaction: all of it, or nothing.
//!
//! What the new configuration has otherwise is worked out for each app and group (`plan`). All that
//! takes a new generation is loaded, set up and probed beside what serves, by the steps that any
//! load takes; groups have new crews started. Nothing of that is seen from outside. When all of it
//! is ready, the actor switches everything in one step (`commit`); when one part fails, it gives up
//! the others, and what served serves on.
//!
//! What else happens to an app meanwhile waits for the end, as it waits for the end of any load.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    path::PathBuf,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

mod aside;
mod commit;
mod crews;
mod give_up;
mod loading;
mod plan;
mod targets;

pub use targets::Target;

use super::{
    ReloadError, Reloader,
    event::{Event, Handle},
    load::{Attempt, Enlisted},
    slot::Place,
};
use crate::{
    config::Config,
    generation::Crew,
    id::{ArtifactPath, GroupName},
};
use crews::{Manned, Rolled};

/// A configuration that is to be in force.
pub struct Order {
    /// The configuration.
    pub config: Arc<Config>,
    /// What it is to serve.
    pub targets: Vec<Target>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// What changes besides apps and groups.
    pub changes: Vec<Change>,
    /// Done in the step in which all is switched.
    pub switch: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order")
            .field("targets", &self.targets)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

/// One thing that changes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Change {
    /// What it is: an `app`, a `group`, or where the host is to `listen`.
    pub kind: String,
    /// Its name, or its artifact's path if that is not known yet.
    pub name: String,
    /// How it changes.
    pub how: How,
    /// What of it, as the configuration calls it.
    pub keys: Vec<String>,
}

/// How something changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It is new.
    Added,
    /// It is not wanted any more.
    Removed,
    /// It is made anew: a new generation of an app, new workers of a group.
    Changed,
    /// What serves goes on, with other options.
    Set,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            How::Added => "added",
            How::Removed => "removed",
            How::Changed => "changed",
            How::Set => "set",
        };
        write!(f, "{how} {} {}", self.kind, self.name)?;
        if self.keys.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.keys.join(", "))
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Applied {
    /// It is in force.
    Applied {
        /// What has changed.
        changes: Vec<Change>,
    },
    /// It would be tried.
    Planned {
        /// What would change.
        changes: Vec<Change>,
    },
    /// It is what is in force.
    Unchanged,
    /// It was refused. Nothing has changed.
    Refused {
        /// Whose fault it is: an app's name, or its artifact's path; `null`: no app's.
        app: Option<String>,
        /// Why.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
}

impl Applied {
    /// What a host that ends says.
    #[must_use]
    pub fn ending() -> Self {
        Self::Refused {
            app: None,
            reason: "the host is about to end".to_owned(),
            remedy: "start it again: it reads its configuration then".to_owned(),
        }
    }

    fn refused(app: Option<String>, error: &ReloadError) -> Self {
        Self::Refused {
            app,
            reason: error.to_string(),
            remedy: error.remedy(),
        }
    }
}

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Applying {
    order: Order,
    reply: oneshot::Sender<Applied>,
    changes: Vec<Change>,
    /// What is to be said of each artifact by its path.
    places: BTreeMap<ArtifactPath, Place>,
    /// Artifacts that are loaded for it, and how far that has come.
    loads: BTreeMap<ArtifactPath, Step>,
    /// Artifacts that are not to be served any more.
    removed: BTreeSet<ArtifactPath>,
    /// All of these: what they have now, they will not have.
    beside: Arc<HashSet<ArtifactPath>>,
    /// Folders and artifacts that are watched for it.
    watched: Watched,
    /// Folders that it does not name any more.
    left: Vec<ArtifactPath>,
    /// Tells it from others.
    number: u64,
    /// Groups whose workers are replaced whoever is in them.
    groups: BTreeSet<GroupName>,
    /// Groups that have new workers started, and these.
    crews: BTreeMap<GroupName, Option<Manned>>,
    /// Those of them that others have made room for.
    rolled: Vec<Rolled>,
    /// Groups that listen themselves, and who takes connections for them until all is switched; `None`:
    /// they have not been told to stand aside.
    aside: Option<Vec<Aside>>,
    /// Artifacts whose generation before must be stopped first, and who waits for that.
    rooms: Vec<Room>,
}

/// A group that listens itself, when all is ready.
#[derive(Debug)]
struct Aside {
    crew: Option<Arc<dyn Crew>>,
    before: Vec<Arc<dyn Crew>>,
}

#[derive(Debug, Default)]
struct Watched {
    folders: Vec<ArtifactPath>,
    artifacts: Vec<ArtifactPath>,
}

/// How far a load has come.
#[derive(Debug)]
enum Step {
    /// It begins when what is under way for that artifact has ended.
    Waiting,
    /// It is being loaded, by that serial.
    Loading(u64),
    /// It may be loaded by a group's workers.
    Enlisted(Attempt, Box<Enlisted>),
    /// It can be switched to.
    Ready(Attempt),
}

#[derive(Debug)]
struct Room {
    path: ArtifactPath,
    serial: u64,
    go: oneshot::Sender<Result<(), String>>,
}

impl Handle {
    /// Has a configuration in force, or says why not. To be called once the first round of loading
    /// is over.
    pub async fn apply(&self, order: Order) -> Applied {
        let (reply, replied) = oneshot::channel();
        let order = Box::new(order);
        let _ = self.0.send(Event::Apply { order, reply });
        replied.await.unwrap_or_else(|_| Applied::ending())
    }
}

/// Transactions, to the actor.
impl Reloader {
    pub(super) fn apply(&mut self, order: Order, reply: oneshot::Sender<Applied>) {
        if self.ending.is_some() {
            let _ = reply.send(Applied::ending());
            return;
        }
        if self.applying.is_some() {
            let _ = reply.send(Applied::Refused {
                app: None,
                reason: "another configuration is being applied".to_owned(),
                remedy: "wait for its end, and apply this one then".to_owned(),
            });
            return;
        }
        let plan = match self.plan_apply(&order) {
            Ok(plan) => plan,
            Err(refused) => return drop(reply.send(refused)),
        };
        if order.dry_run || plan.changes.is_empty() {
            let changes = plan.changes;
            let reply_with = match changes.is_empty() {
                true => Applied::Unchanged,
                false => Applied::Planned { changes },
            };
            let _ = reply.send(reply_with);
            return;
        }
        self.begin_apply(order, plan, reply);
    }

    /// Files that changed in folders that are not wanted any more, or not yet, are no apps.
    pub(super) fn is_wanted(&self, path: &ArtifactPath) -> bool {
        self.slots.contains_key(path) || self.is_in_folder(path)
    }

    /// Whether new workers of that group are started for a transaction.
    pub(super) fn is_manned(&self, group: &GroupName) -> bool {
        let applying = self.applying.as_ref();
        applying.is_some_and(|applying| applying.crews.contains_key(group))
    }

    fn is_in_folder(&self, path: &ArtifactPath) -> bool {
        let dir = path.as_path().parent().map(PathBuf::from);
        dir.is_some_and(|dir| self.folders.iter().any(|folder| *folder.as_path() == *dir))
    }
}
