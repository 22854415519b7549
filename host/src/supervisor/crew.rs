//! A full set of workers with the same artifacts, from its start to its end.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

mod commands;

use futures_util::future::{join_all, try_join_all};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    GroupSockets, Wish,
    hand::{Asks, Hand},
    keeper::Keeper,
    muster::Muster,
    sizes::CrewSize,
};
use crate::{
    channel::{Begin, Ready},
    config::GroupOptions,
    generation,
    id::{ArtifactPath, GroupName},
    process::cgroup::Area,
    reload::{LaunchError, Member},
    workers::{Patience, Set},
};

pub(super) use commands::Command;

/// What a crew is to be.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) group: GroupName,
    pub(super) options: GroupOptions,
    /// The artifacts stay as long as this does: workers may be started again.
    pub(super) members: Vec<Member>,
    /// What each worker is told.
    pub(super) begin: Begin,
    /// Where its sockets are.
    pub(super) dir: PathBuf,
    /// What the group listens on itself.
    pub(super) sockets: Option<Arc<GroupSockets>>,
    pub(super) wishes: mpsc::UnboundedSender<Wish>,
    /// What all apps of the host have registered, as JSON.
    pub(super) registry: watch::Receiver<Arc<str>>,
    /// Where each worker has a control group.
    pub(super) cgroups: Option<Arc<Area>>,
    /// Keeps what its workers save.
    pub(super) keeper: Keeper,
    /// How many workers there are to be.
    pub(super) size: CrewSize,
    /// No two workers with the same number are there at the same time: an app must not be there
    /// twice.
    pub(super) alone: bool,
}

impl Plan {
    /// What its processes are called.
    pub(super) fn title(&self) -> String {
        self.options.display_name(&self.group)
    }

    /// Makes its directory. Workers that run as another user than the host have it as their own,
    /// with copies of the artifacts that they can read and not change; of what else the host has
    /// there they can read nothing.
    fn make_dir(&mut self) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(&self.dir)?;
        let identity = self.options.identity().map_err(io::Error::other)?;
        let Some(identity) = identity else {
            return Ok(());
        };
        if let Some(staging) = self.dir.parent() {
            fs::set_permissions(staging, Permissions::from_mode(0o711))?;
        }
        for (at, app) in self.begin.apps.iter_mut().enumerate() {
            let copy = self.dir.join(format!("{at}.so"));
            fs::copy(app.file(), &copy)?;
            fs::set_permissions(&copy, Permissions::from_mode(0o440))?;
            chown(&copy, None, Some(identity.gid))?;
            app.set_file(copy);
        }
        chown(&self.dir, Some(identity.uid), Some(identity.gid))
    }

    /// How many workers it is to have.
    pub(super) fn size(&self) -> u32 {
        self.size.now()
    }

    /// `None`: any time.
    pub(super) fn startup_timeout(&self) -> Option<Duration> {
        Some(self.options.startup_timeout).filter(|time| !time.is_zero())
    }

    pub(super) fn name_of(&self, app: &ArtifactPath) -> Option<String> {
        let mut members = self.members.iter();
        let found = members.find(|member| member.path == *app);
        found.map(|member| member.name.to_string())
    }

    pub(super) fn path_of(&self, app: &str) -> Option<ArtifactPath> {
        let mut members = self.members.iter();
        let found = members.find(|member| member.name.as_str() == app);
        found.map(|member| member.path.clone())
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A crew that serves.
#[derive(Debug)]
pub(super) struct Crew {
    set: Set,
    size: watch::Receiver<u32>,
    commands: mpsc::UnboundedSender<Command>,
    gone: CancellationToken,
    listens: bool,
    connect_timeout: Duration,
    request_timeout: Duration,
}

/// Numbers workers of all crews.
pub(super) fn next_serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Crew {
    /// Starts all workers at the same time, and waits until each is ready. On an error nothing of
    /// them is left.
    pub(super) async fn start(
        mut plan: Plan,
        asks: &Asks,
    ) -> Result<(Self, Vec<Vec<Ready>>), LaunchError> {
        plan.make_dir().map_err(|error| no_dir(&plan, &error))?;
        let size = plan.size();
        let starting = (0..size).map(|number| Hand::start(&plan, number, next_serial(), asks));
        let hands = try_join_all(starting).await?;
        let (hands, ready): (Vec<_>, Vec<_>) = hands.into_iter().unzip();
        Ok((Self::employ(plan, size, hands), ready))
    }

    /// The same in the place of crews that have an app which must not be there twice: one worker
    /// after the other, each when those with its number are gone. All but the last of theirs make
    /// room that way; for the last, the apps must have been switched to the new ones, which
    /// are ready by then. On an error the workers before are not there: somebody must refill them.
    pub(super) async fn roll(
        mut plan: Plan,
        before: Vec<Arc<dyn generation::Crew>>,
        asks: &Asks,
    ) -> Result<(Self, Vec<Vec<Ready>>), LaunchError> {
        plan.make_dir().map_err(|error| no_dir(&plan, &error))?;
        let last = before.iter().map(|crew| crew.size()).max().unwrap_or(0);
        // One that is the only one makes room, too: requests wait meanwhile.
        let size = plan.size();
        let first = last.saturating_sub(1).max(1).min(size);
        let mut hands = Vec::new();
        let mut ready = Vec::new();
        for number in 0..first {
            join_all(before.iter().map(|crew| crew.vacate(number))).await;
            match Hand::start(&plan, number, next_serial(), asks).await {
                Ok((hand, said)) => {
                    hands.push(hand);
                    ready.push(said);
                }
                Err(error) => {
                    // Before those who were there come again.
                    join_all(hands.into_iter().map(Hand::end)).await;
                    return Err(error);
                }
            }
        }
        let crew = Self::employ(plan, size, hands);
        let commands = crew.commands.downgrade();
        tokio::spawn(async move {
            let gone = before.iter().map(|crew| crew.gone()).collect::<Vec<_>>();
            drop(before);
            join_all(gone).await;
            if let Some(commands) = commands.upgrade() {
                let _ = commands.send(Command::Refill);
            }
        });
        Ok((crew, ready))
    }

    /// A crew of so many places, of those who are ready. The other places are empty.
    fn employ(plan: Plan, places: u32, hands: Vec<Hand>) -> Self {
        let patience = Patience {
            // 0 is any number.
            queue: match plan.options.queue {
                0 => usize::MAX,
                most => most,
            },
            queue_timeout: plan.options.queue_timeout,
        };
        let workers = hands.iter().map(|hand| Arc::clone(&hand.worker));
        let set = Set::new(workers.collect(), patience);
        let (commands, commanded) = mpsc::unbounded_channel();
        let (connect_timeout, request_timeout) =
            (plan.options.connect_timeout, plan.options.request_timeout);
        let size = plan.size.wanted();
        let listens = plan.sockets.is_some();
        let gone = CancellationToken::new();
        let muster = Muster::new(plan, set.clone(), places, hands);
        let ended = gone.clone().drop_guard();
        tokio::spawn(async move {
            muster.run(commanded).await;
            drop(ended);
        });
        Self {
            set,
            size,
            commands,
            gone,
            listens,
            connect_timeout,
            request_timeout,
        }
    }
}

fn no_dir(plan: &Plan, error: &io::Error) -> LaunchError {
    LaunchError {
        app: None,
        reason: format!("cannot make {}: {error}", plan.dir.display()),
        remedy: "see that the staging directory is there and has room".to_owned(),
    }
}
