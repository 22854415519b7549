//! The actor that takes a change through stage → inspect → load → set up → probe → swap → drain →
//! stop → unload.
//!
//! One task owns all apps. What takes long (copying, setting up, draining) runs elsewhere and
//! comes back as an event; so no app's slowness delays another's, and no two steps for one
//! app overlap.

use std::{
    collections::HashMap,
    fmt,
    future::pending,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

mod apply;
mod begin;
mod cause;
mod change;
mod command;
mod error;
mod event;
mod finish;
mod first_round;
mod groups;
mod guard;
mod guarding;
mod history;
mod launch;
mod load;
mod outpost;
mod pause;
mod renewal;
mod retire;
mod retiring;
mod schedules;
mod services;
mod slot;
mod stale;
mod status;
mod swap;
mod thread;
mod timetable;

pub use apply::{Applied, Change, How, Order, Target};
pub use command::{Command, Reply};
pub use error::ReloadError;
pub use event::Handle;
pub use first_round::FirstRound;
pub use history::Outcome;
pub use launch::{CrewWanted, LaunchError, Launched, Launcher, Member, Said, StateAsk};
pub use status::{
    AppStatus, AttemptStatus, ConfigurationStatus, FootprintStatus, HistoryStatus, RetiringStatus,
    ServingStatus, Status, WorkerStatus,
};
pub use timetable::{ScheduleCounts, ScheduleStatus};

use crate::{
    artifact::StagingArea,
    config::{Config, Mount},
    id::{AppName, ArtifactPath, Digest, GenerationId},
    loader::{Post, StopReason, StopReport},
    process::HostThreads,
    registry::Registry,
    router::Router,
    state::StateStore,
    watcher::{WatchError, WatchEvent, Watcher},
};
use apply::Applying;
use cause::Cause;
use event::{Event, Shutdown};
use first_round::FirstRoundState;
use groups::Groups;
use retiring::Retiring;
use services::Wish;
use slot::{Old, Place, Slot, Work};
use timetable::Timetable;

/// How long a file that is not whole may stay so before that is reported.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// An artifact that is to be served, and where.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The artifact.
    pub path: ArtifactPath,
    /// Where to mount it; `None`: where [`Config::mount_of`] says.
    pub mount: Option<Mount>,
    /// Its name; `None`: its manifest's.
    pub name: Option<AppName>,
    /// It is all that there is to serve.
    pub alone: bool,
    /// What to load instead of the file, and as which generation: another host has chosen it.
    pub handed: Option<Handed>,
}

/// A private copy of another host's, and what it is to be.
#[derive(Clone, Debug)]
pub struct Handed {
    /// The copy, which is not written to.
    pub file: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// The number of the generation that it is to be.
    pub generation: GenerationId,
}

/// What the actor works with.
#[derive(Debug)]
pub struct Parts {
    /// What the operator wants.
    pub config: Arc<Config>,
    /// Where apps are mounted.
    pub router: Arc<Router>,
    /// Where private copies are made.
    pub staging: Arc<StagingArea>,
    /// The threads that have run plugins' code when those are to go.
    pub host_threads: Arc<HostThreads>,
    /// What tells of changes; `None`: files are nothing to this host, another one tells it.
    pub watcher: Option<Watcher>,
    /// Where it tells.
    pub watch_events: mpsc::UnboundedReceiver<WatchEvent>,
    /// Where apps' state is kept.
    pub store: Arc<StateStore>,
    /// Where apps' wish for another process image goes.
    pub restart: mpsc::Sender<AppName>,
    /// What starts the workers of process groups; `None`: there are none.
    pub launcher: Option<Arc<dyn Launcher>>,
    /// The host that this one works for: it makes the scheduled calls, and is told of apps' wish to
    /// be reloaded. `None`: there is none.
    pub superior: Option<Superior>,
}

/// The host that a worker works for.
#[derive(Clone, Debug)]
pub struct Superior {
    /// The worker's place.
    pub post: Post,
    /// Where apps' wish to be reloaded goes.
    pub reload: mpsc::UnboundedSender<AppName>,
    /// Who is told what becomes of apps.
    pub chronicle: Arc<dyn Chronicle>,
}

/// Whoever hears what becomes of apps, besides the log.
pub trait Chronicle: fmt::Debug + Send + Sync {
    /// Nothing holds an app that goes any more: it is to save its state and to clean up.
    fn drained(&self, app: &AppName);
    /// An app has stopped: its cleanup hooks have run.
    fn stopped(&self, app: &AppName, report: StopReport);
}

/// The actor's state.
#[derive(Debug)]
pub struct Reloader {
    config: Arc<Config>,
    router: Arc<Router>,
    staging: Arc<StagingArea>,
    host_threads: Arc<HostThreads>,
    watcher: Option<Watcher>,
    sender: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
    slots: HashMap<ArtifactPath, Slot>,
    /// What apps want called from time to time. Beside the slots, since a call may outlive its
    /// app's file, and the next must not overlap it when there is one again.
    timetables: HashMap<ArtifactPath, Timetable>,
    first: Option<FirstRoundState>,
    /// Generations on their way out, the oldest first; those that stay for good among them.
    retiring: Vec<Arc<Retiring>>,
    /// How many of them a task is busy with.
    busy: usize,
    all_end: CancellationToken,
    ending: Option<Ending>,
    /// Numbers loads.
    serial: u64,
    registry: Arc<Registry>,
    store: Arc<StateStore>,
    /// Why all apps end, once they do.
    end_reason: StopReason,
    /// Where the wish for another process image goes.
    restart: mpsc::Sender<AppName>,
    groups: Option<Groups>,
    superior: Option<Superior>,
    /// Folders in which each library is an app.
    folders: Vec<ArtifactPath>,
    /// A configuration that is being applied.
    applying: Option<Applying>,
    /// When the one in force came to be so.
    applied: SystemTime,
}

#[derive(Debug)]
struct Ending {
    done: oneshot::Sender<()>,
}

impl Reloader {
    /// An actor that has nothing to serve yet.
    #[must_use]
    pub fn new(parts: Parts) -> (Self, Handle) {
        let Parts {
            config,
            router,
            staging,
            host_threads,
            watcher,
            mut watch_events,
            store,
            restart,
            launcher,
            superior,
        } = parts;
        let (sender, events) = mpsc::unbounded_channel();
        let forward = sender.clone();
        tokio::spawn(async move {
            while let Some(event) = watch_events.recv().await {
                if forward.send(Event::Watched(event)).is_err() {
                    return;
                }
            }
        });
        let handle = Handle(sender.clone());
        let reloader = Self {
            config,
            router,
            staging,
            host_threads,
            watcher,
            sender,
            events,
            slots: HashMap::new(),
            timetables: HashMap::new(),
            first: None,
            retiring: Vec::new(),
            busy: 0,
            all_end: CancellationToken::new(),
            ending: None,
            serial: 0,
            registry: Arc::default(),
            store,
            end_reason: StopReason::HostShutdown,
            restart,
            groups: launcher.map(Groups::new),
            superior,
            folders: Vec::new(),
            applying: None,
            applied: SystemTime::now(),
        };
        (reloader, handle)
    }

    /// Loads what is wanted, and from then on does what events ask for, until shutdown. `first`
    /// is told when each of the wanted has been tried once.
    pub async fn run(mut self, wanted: Vec<Wanted>, first: oneshot::Sender<FirstRound>) {
        let order = wanted.iter().map(|wanted| wanted.path.clone()).collect();
        self.first = Some(FirstRoundState::new(order, first));
        for Wanted {
            path,
            mount,
            name,
            alone,
            handed,
        } in wanted
        {
            let mut slot = Slot::new(Place { mount, name, alone });
            slot.next = handed
                .as_ref()
                .map_or(slot.next, |handed| handed.generation);
            slot.handed = handed;
            self.slots.insert(path.clone(), slot);
            self.begin_load(&path, Cause::Change);
        }
        self.take_first_round();
        loop {
            let call = self.next_call();
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.handle(event),
                    None => break,
                },
                () = until(call) => self.call_scheduled(),
            }
            if self.ending.is_some() && self.busy == 0 {
                break;
            }
        }
        if let Some(Ending { done }) = self.ending {
            let _ = done.send(());
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Watched(WatchEvent::Changed(path)) => self.changed(&path, Cause::Change),
            Event::Watched(WatchEvent::Removed(path)) => self.removed(&path),
            Event::Watched(WatchEvent::Tracked { artifact, files }) => {
                self.tracked_changed(&artifact, &files);
            }
            Event::Looked { path, serial } => self.looked(&path, serial),
            Event::StateAsked { group, launch, ask } => self.state_asked(&group, launch, ask),
            Event::Launched(launch) => self.launched(*launch),
            Event::AppliedAside { number } => self.applied_aside(number),
            Event::Loaded { path, attempt } => self.loaded(&path, *attempt),
            Event::Prepared { path, serial, go } => self.prepared(&path, serial, go),
            Event::Handover {
                path,
                serial,
                reply,
            } => self.handover(&path, serial, reply),
            Event::Stood {
                path,
                serial,
                stood,
            } => self.stood(&path, serial, *stood),
            Event::Called { path, name, well } => self.called(&path, &name, well),
            Event::AppAsked { path, serial, wish } => self.app_asked(&path, serial, wish),
            Event::WorkerAsked(path) => self.worker_asked(&path),
            Event::Restart { app, wish } => self.restart_asked(&app, wish),
            Event::Wanted(path) => self.wanted(&path),
            Event::SecondLook(path) => self.look_again(&path),
            Event::Left(leftover) => self.unload(*leftover),
            Event::Retired { retiring, outcome } => self.retired(&retiring, outcome),
            Event::Exhausted { path, generation } => self.exhausted(&path, generation),
            Event::Worn {
                path,
                generation,
                cause,
            } => self.worn(&path, generation, cause),
            Event::Look { path, generation } => self.look(&path, generation),
            Event::Command {
                app,
                command,
                reply,
            } => self.command(&app, command, reply),
            Event::Apply { order, reply } => self.apply(*order, reply),
            Event::History { app, reply } => drop(reply.send(self.history(&app))),
            Event::Said(reply) => drop(reply.send(self.said())),
            Event::RunSchedule { app, name, reply } => self.run_schedule(&app, name, reply),
            Event::SaveState { app, until, reply } => self.save_state(&app, until, reply),
            Event::Resume(path) => self.resume_aside(&path),
            Event::MirrorRegistry(entries) => self.registry.mirror(entries),
            Event::Registry(reply) => drop(reply.send(self.registry.all())),
            Event::Direct(reply) => drop(reply.send(self.direct())),
            Event::Status(reply) => self.status_asked(reply),
            Event::Counted(reply) => drop(reply.send(self.status())),
            Event::Shutdown(Shutdown::Tell(reason)) => self.announce(reason),
            Event::Shutdown(Shutdown::TellOne(path, reason)) => {
                let slot = self.slots.get(&path);
                if let Some(live) = slot.and_then(|slot| slot.live.as_ref()) {
                    live.lease.shutdown(reason);
                }
            }
            Event::Shutdown(Shutdown::Retire { deadline, done }) => self.end(deadline, done),
        }
    }

    fn restart_asked(&self, app: &AppName, wish: Wish) {
        // Where one is wished for already, or the host ends anyway, it need not be told.
        let _ = self.restart.try_send(app.clone());
        drop(wish);
    }

    fn announce(&mut self, reason: StopReason) {
        self.end_reason = reason;
        self.give_up_aside();
        for live in self.slots.values().filter_map(|slot| slot.live.as_ref()) {
            live.lease.shutdown(reason);
        }
    }

    fn end(&mut self, deadline: Instant, done: oneshot::Sender<()>) {
        self.apply_ends();
        self.ending = Some(Ending { done });
        self.all_end.cancel();
        let reason = self.end_reason;
        let mut live = Vec::new();
        for (path, slot) in &mut self.slots {
            if let Some(app) = slot.app.take() {
                self.router.unmount(&app);
                app.close();
            }
            let paused = match &mut slot.work {
                Work::Loading(loading) => std::mem::replace(&mut loading.old, Old::Serves),
                Work::Idle => Old::Serves,
            };
            live.push((path.clone(), slot.live.take(), paused));
        }
        for (path, live, old) in live {
            if let Some(live) = live {
                self.retire(&path, live, reason, Some(deadline));
            }
            if let Old::Paused(paused, snapshot) = old {
                self.retire_paused(&path, paused, snapshot, reason, || ());
            }
        }
    }

    /// What apps have registered.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// Watches a folder: each library in it is an app. Returns those that are there already.
    ///
    /// # Errors
    /// When the folder cannot be watched.
    pub fn watch_directory(&mut self, dir: &ArtifactPath) -> Result<Vec<ArtifactPath>, WatchError> {
        let Some(watcher) = &self.watcher else {
            return Ok(Vec::new());
        };
        let found = watcher.watch_directory(dir.as_path())?;
        self.folders.push(dir.clone());
        Ok(found)
    }

    /// Watches one artifact.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn watch_artifact(&mut self, path: &ArtifactPath) -> Result<(), WatchError> {
        let watcher = self.watcher.as_ref();
        watcher.map_or(Ok(()), |watcher| watcher.watch_artifact(path.clone()))
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
