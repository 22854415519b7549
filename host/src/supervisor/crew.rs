//! A full set of workers with the same artifacts, from its start to its end.

use std::{
    collections::HashSet,
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

use futures_util::{FutureExt as _, future::BoxFuture, future::try_join_all};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Wish, hand::Hand, muster::Muster};
use crate::{
    channel::{Begin, Ready},
    config::GroupOptions,
    generation,
    id::{AppName, ArtifactPath, GroupName},
    loader::StopReason,
    reload::{LaunchError, Member},
    workers::{Patience, Set},
};

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
    pub(super) wishes: mpsc::UnboundedSender<Wish>,
    /// What all apps of the host have registered, as JSON.
    pub(super) registry: watch::Receiver<Arc<str>>,
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

    /// `None`: any time.
    pub(super) fn startup_timeout(&self) -> Option<Duration> {
        Some(self.options.startup_timeout).filter(|time| !time.is_zero())
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

/// What those who have a crew want of it.
#[derive(Debug)]
pub(super) enum Command {
    Announce(StopReason),
    Leave {
        app: AppName,
        reason: StopReason,
        done: oneshot::Sender<()>,
    },
    RunSchedule {
        app: AppName,
        name: String,
        reply: oneshot::Sender<Result<(), String>>,
    },
}

/// A crew that serves.
#[derive(Debug)]
pub(super) struct Crew {
    set: Set,
    commands: mpsc::UnboundedSender<Command>,
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
    pub(super) async fn start(mut plan: Plan) -> Result<(Self, Vec<Vec<Ready>>), LaunchError> {
        plan.make_dir().map_err(|error| LaunchError {
            app: None,
            reason: format!("cannot make {}: {error}", plan.dir.display()),
            remedy: "see that the staging directory is there and has room".to_owned(),
        })?;
        let processes = u32::try_from(plan.options.processes.get()).unwrap_or(u32::MAX);
        let numbers = 0..processes;
        let starting = numbers.map(|number| Hand::start(&plan, number, next_serial()));
        let hands = try_join_all(starting).await?;
        let (hands, ready): (Vec<_>, Vec<_>) = hands.into_iter().unzip();
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
        let apps: HashSet<AppName> = plan.members.iter().map(|it| it.name.clone()).collect();
        let muster = Muster::new(plan, set.clone(), apps, hands);
        tokio::spawn(muster.run(commanded));
        let crew = Self {
            set,
            commands,
            connect_timeout,
            request_timeout,
        };
        Ok((crew, ready))
    }
}

impl generation::Crew for Crew {
    fn set(&self) -> &Set {
        &self.set
    }

    fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    fn announce(&self, _app: &AppName, reason: StopReason) {
        let _ = self.commands.send(Command::Announce(reason));
    }

    fn leave(&self, app: &AppName, reason: StopReason) -> BoxFuture<'static, ()> {
        let (done, left) = oneshot::channel();
        let app = app.clone();
        let _ = self.commands.send(Command::Leave { app, reason, done });
        async move {
            // An end of the other side is one, too.
            let _ = left.await;
        }
        .boxed()
    }

    fn run_schedule(&self, app: &AppName, name: &str) -> BoxFuture<'static, Result<(), String>> {
        let (reply, ran) = oneshot::channel();
        let (app, name) = (app.clone(), name.to_owned());
        let _ = self
            .commands
            .send(Command::RunSchedule { app, name, reply });
        async move {
            ran.await
                .unwrap_or_else(|_| Err("its workers have ended".to_owned()))
        }
        .boxed()
    }
}
