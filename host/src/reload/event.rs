//! All that can happen to the actor, and the way to tell it.

use std::{collections::HashMap, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    apply::{Applied, Order},
    cause::Cause,
    command::{Command, Reply},
    groups::Launch,
    launch::{Said, StateAsk},
    load::{Attempt, Leftover},
    outpost::Direct,
    pause::Stood,
    retire::Outcome,
    retiring::Retiring,
    services::Wish,
    status::{HistoryStatus, Status},
};
use crate::{
    id::{AppName, ArtifactPath, GenerationId, GroupName},
    loader::{Registered, Snapshot, StopReason},
    watcher::WatchEvent,
};

/// All that can happen.
#[derive(Debug)]
pub(super) enum Event {
    /// A file changed or is gone.
    Watched(WatchEvent),
    /// It is known what an app is that is being loaded: it is none of a group.
    Looked { path: ArtifactPath, serial: u64 },
    /// A worker of a crew that is being started wants the state of the one before it.
    StateAsked {
        group: GroupName,
        launch: u64,
        ask: StateAsk,
    },
    /// A group's workers are ready, or did not become so.
    Launched(Box<Launch>),
    /// Workers that a transaction replaces have stood aside.
    AppliedAside { number: u64 },
    /// A load has ended.
    Loaded {
        path: ArtifactPath,
        attempt: Box<Attempt>,
    },
    /// An artifact may be opened as soon as the generation that serves is stopped.
    Prepared {
        path: ArtifactPath,
        serial: u64,
        go: oneshot::Sender<Result<(), String>>,
    },
    /// A new generation's setup wants the state of the one before.
    Handover {
        path: ArtifactPath,
        serial: u64,
        reply: oneshot::Sender<Result<Option<Snapshot>, String>>,
    },
    /// A generation has ended its requests and saved its state, to make way for that load.
    Stood {
        path: ArtifactPath,
        serial: u64,
        stood: Box<Stood>,
    },
    /// A scheduled call has ended.
    Called {
        path: ArtifactPath,
        name: String,
        well: bool,
    },
    /// The generation of that load wants its app to be reloaded.
    AppAsked {
        path: ArtifactPath,
        serial: u64,
        wish: Wish,
    },
    /// The same of one that a worker has loaded.
    WorkerAsked(ArtifactPath),
    /// An app wants the host to replace itself.
    Restart { app: AppName, wish: Wish },
    /// A request waits for an app that nobody loads.
    Wanted(ArtifactPath),
    /// A file that was not whole has had time to become so.
    SecondLook(ArtifactPath),
    /// What was loaded did not come to serve.
    Left(Box<Leftover>),
    /// A generation is unloaded, or quarantined for good.
    Retired {
        retiring: Arc<Retiring>,
        outcome: Outcome,
    },
    /// A generation uses more memory than it may.
    Exhausted {
        path: ArtifactPath,
        generation: GenerationId,
    },
    /// A generation has answered as many requests, or served as long, as it may.
    Worn {
        path: ArtifactPath,
        generation: GenerationId,
        cause: Cause,
    },
    /// It is time to look at what a generation has answered.
    Look {
        path: ArtifactPath,
        generation: GenerationId,
    },
    /// Somebody wants something done with an app.
    Command {
        app: String,
        command: Command,
        reply: oneshot::Sender<Reply>,
    },
    /// Another configuration is to be in force.
    Apply {
        order: Box<Order>,
        reply: oneshot::Sender<Applied>,
    },
    /// Somebody wants to know what was loaded for an app.
    History {
        app: String,
        reply: oneshot::Sender<Result<HistoryStatus, Reply>>,
    },
    /// The host that this one works for wants to know what apps said in their setup.
    Said(oneshot::Sender<HashMap<ArtifactPath, Said>>),
    /// It wants a scheduled call made.
    RunSchedule {
        app: AppName,
        name: String,
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// It wants an app's state, which has no requests meanwhile; or they end first, until then.
    SaveState {
        app: AppName,
        until: Option<Instant>,
        reply: oneshot::Sender<Result<Option<Snapshot>, String>>,
    },
    /// An app of which it has had the state takes requests again.
    Resume(ArtifactPath),
    /// It wants to know what those have come to who did not come by way of it.
    Direct(oneshot::Sender<Vec<Direct>>),
    /// What all apps of that host have registered from now on.
    MirrorRegistry(Vec<Registered>),
    /// Somebody wants to know what is registered.
    Registry(oneshot::Sender<Vec<Registered>>),
    /// Somebody wants to know how it is.
    Status(oneshot::Sender<Status>),
    /// The same, when workers have said what they have answered themselves.
    Counted(oneshot::Sender<Status>),
    /// The host ends: tell all apps, and answer when the last generation is retired. Comes twice:
    /// first to tell, then to retire.
    Shutdown(Shutdown),
}

#[derive(Debug)]
pub(super) enum Shutdown {
    /// Tell the apps that draining has begun, and why; requests still reach them.
    Tell(StopReason),
    /// The same for one.
    TellOne(ArtifactPath, StopReason),
    /// Retire all generations, and cut at that time what is left.
    Retire {
        deadline: Instant,
        done: oneshot::Sender<()>,
    },
}

/// The way to the actor.
#[derive(Clone, Debug)]
pub struct Handle(pub(super) mpsc::UnboundedSender<Event>);

impl Handle {
    /// Tells all apps that the host is about to end, for that reason.
    pub fn announce_shutdown(&self, reason: StopReason) {
        let _ = self.0.send(Event::Shutdown(Shutdown::Tell(reason)));
    }

    /// Tells an app that it is about to be stopped, for that reason.
    pub fn announce_end_of(&self, path: ArtifactPath, reason: StopReason) {
        let _ = self
            .0
            .send(Event::Shutdown(Shutdown::TellOne(path, reason)));
    }

    /// Stops all apps, and cuts at `deadline` what they still do; returns when all are stopped.
    pub async fn shutdown(&self, deadline: Instant) {
        let (done, finished) = oneshot::channel();
        if self
            .0
            .send(Event::Shutdown(Shutdown::Retire { deadline, done }))
            .is_ok()
        {
            let _ = finished.await;
        }
    }
}
