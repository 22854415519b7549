//! The actor that takes a change through stage → inspect → load → set up → swap → drain → stop →
//! unload.
//!
//! One task owns all apps. What takes long (copying, setting up, draining) runs elsewhere and
//! comes back as an event; so no app's slowness delays another's, and no two steps for one
//! app overlap.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

mod command;
mod error;
mod event;
mod first_round;
mod load;
mod renewal;
mod retire;
mod retiring;
mod slot;
mod status;
mod thread;

pub use command::Reply;
pub use error::ReloadError;
pub use event::Handle;
pub use first_round::FirstRound;
pub use status::{AppStatus, FootprintStatus, RetiringStatus, ServingStatus, Status};

use crate::{
    artifact::{OpenError, StageError, StagingArea},
    config::{Config, Mount},
    id::{ArtifactPath, GenerationId},
    loader::StopReason,
    process::HostThreads,
    router::Router,
    watcher::{WatchError, WatchEvent, Watcher},
};
use event::{Event, Shutdown};
use first_round::FirstRoundState;
use load::{Job, Started};
use retiring::Retiring;
use slot::{Cause, Place, Refusal, Slot, Work};

/// How long a file that is not whole may stay so before that is reported.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// An artifact that is to be served, and where.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The artifact.
    pub path: ArtifactPath,
    /// Where to mount it; `None`: at `/` and its manifest's name.
    pub mount: Option<Mount>,
}

/// The actor's state.
#[derive(Debug)]
pub struct Reloader {
    config: Arc<Config>,
    router: Arc<Router>,
    staging: Arc<StagingArea>,
    host_threads: Arc<HostThreads>,
    watcher: Watcher,
    sender: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
    slots: HashMap<ArtifactPath, Slot>,
    first: Option<FirstRoundState>,
    /// Generations on their way out, the oldest first; those that stay for good among them.
    retiring: Vec<Arc<Retiring>>,
    /// How many of them a task is busy with.
    busy: usize,
    all_end: CancellationToken,
    ending: Option<Ending>,
    serial: u64,
}

#[derive(Debug)]
struct Ending {
    done: oneshot::Sender<()>,
}

impl Reloader {
    /// An actor that has nothing to serve yet. `watch_events` is where `watcher` sends.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        router: Arc<Router>,
        staging: Arc<StagingArea>,
        host_threads: Arc<HostThreads>,
        watcher: Watcher,
        mut watch_events: mpsc::UnboundedReceiver<WatchEvent>,
    ) -> (Self, Handle) {
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
            first: None,
            retiring: Vec::new(),
            busy: 0,
            all_end: CancellationToken::new(),
            ending: None,
            serial: 0,
        };
        (reloader, handle)
    }

    /// Loads what is wanted, and from then on does what events ask for, until shutdown. `first`
    /// is told when each of the wanted has been tried once.
    pub async fn run(mut self, wanted: Vec<Wanted>, first: oneshot::Sender<FirstRound>) {
        let order = wanted.iter().map(|wanted| wanted.path.clone()).collect();
        self.first = Some(FirstRoundState::new(order, first));
        for Wanted { path, mount } in wanted {
            self.slots.insert(
                path.clone(),
                Slot::new(mount.map_or(Place::ByName, Place::Fixed)),
            );
            self.begin_load(&path, Cause::Change);
        }
        self.take_first_round();
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Watched(WatchEvent::Changed(path)) => self.changed(&path),
                Event::Watched(WatchEvent::Removed(path)) => self.removed(&path),
                Event::Loaded { path, result } => self.loaded(&path, *result),
                Event::SecondLook(path) => self.look_again(&path),
                Event::Left(leftover) => self.unload(*leftover),
                Event::Retired { retiring, outcome } => self.retired(&retiring, outcome),
                Event::Exhausted { path, generation } => self.exhausted(&path, generation),
                Event::Reload { app, force, reply } => self.asked_to_reload(&app, force, reply),
                Event::Status(reply) => drop(reply.send(self.status())),
                Event::Shutdown(Shutdown::Tell) => self.announce(),
                Event::Shutdown(Shutdown::Retire { deadline, done }) => self.end(deadline, done),
            }
            if self.ending.is_some() && self.busy == 0 {
                break;
            }
        }
        if let Some(Ending { done }) = self.ending {
            let _ = done.send(());
        }
    }

    fn changed(&mut self, path: &ArtifactPath) {
        let slot = self
            .slots
            .entry(path.clone())
            .or_insert_with(|| Slot::new(Place::ByName));
        match &mut slot.work {
            Work::Idle => self.begin_load(path, Cause::Change),
            Work::Loading { again, removed, .. } => {
                *again = (*again).max(Some(Cause::Change));
                *removed = false;
            }
        }
    }

    /// A file that seemed to be in the middle of being written: it is judged as it is now.
    fn look_again(&mut self, path: &ArtifactPath) {
        if self
            .slots
            .get(path)
            .is_some_and(|slot| slot.waited && slot.work.is_idle())
        {
            self.begin_load(path, Cause::Change);
        }
    }

    fn begin_load(&mut self, path: &ArtifactPath, cause: Cause) {
        if self.ending.is_some() {
            return;
        }
        let hold = self.hold(path, cause);
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        slot.held = hold.is_some();
        if let Some(error) = hold {
            return self.refused(path, error);
        }
        slot.work = Work::Loading {
            cause,
            again: None,
            removed: false,
        };
        self.serial += 1;
        let job = Job {
            path: path.clone(),
            place: slot.place.clone(),
            generation: slot.next,
            serial: self.serial,
            config: Arc::clone(&self.config),
            router: Arc::clone(&self.router),
            staging: Arc::clone(&self.staging),
            loaded: slot.loaded().filter(|_| cause == Cause::Change),
            sender: self.sender.clone(),
        };
        let (path, sender) = (path.clone(), self.sender.clone());
        tokio::spawn(async move {
            let result = Box::new(load::run(job).await);
            let _ = sender.send(Event::Loaded { path, result });
        });
    }

    fn loaded(&mut self, path: &ArtifactPath, result: Result<Started, ReloadError>) {
        let result = match &mut self.first {
            Some(first) => first.keep(path, result),
            None => Some(result),
        };
        match result {
            Some(result) => self.finish_load(path, result),
            None => self.take_first_round(),
        }
    }

    fn take_first_round(&mut self) {
        while let Some((path, result)) = self.first.as_mut().and_then(FirstRoundState::next) {
            self.finish_load(&path, result);
        }
        if let Some(first) = &mut self.first {
            first.finish(self.router.apps().len());
        }
    }

    fn finish_load(&mut self, path: &ArtifactPath, result: Result<Started, ReloadError>) {
        let Some(slot) = self.slots.get_mut(path) else {
            return self.abandon(result);
        };
        let work = std::mem::replace(&mut slot.work, Work::Idle);
        if self.ending.is_some() || matches!(work, Work::Loading { removed: true, .. }) {
            self.abandon(result);
            self.forget_if_gone(path, &work);
            return;
        }
        let reason = match work {
            Work::Loading {
                cause: Cause::Memory,
                ..
            } => StopReason::MemoryLimit,
            _ => StopReason::Reload,
        };
        let next = std::mem::take(&mut slot.waiting_for_next);
        match result {
            Ok(started) => self.swap_in(path, started, reason),
            Err(error) => self.refused(path, error),
        }
        if let Some(slot) = self.slots.get_mut(path) {
            slot.waiting.extend(next);
        }
        if let Work::Loading {
            again: Some(cause), ..
        } = work
        {
            self.begin_load(path, cause);
        }
    }

    /// Makes a started generation the one that answers.
    fn swap_in(&mut self, path: &ArtifactPath, started: Started, reason: StopReason) {
        let only_app = self.slots.len() == 1;
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        // Looked at again: two artifacts may have been loaded side by side.
        if let Err(taken) = self.router.check(&started.app.mount, path) {
            slot.blocked_on = Some(taken.mount.clone());
            let error = ReloadError::Mount(taken);
            error.log(path, Some(&started.app.name), slot.live_generation());
            refuse(slot, &error);
            self.abandon(Ok(started));
            return;
        }
        slot.blocked_on = None;
        slot.waited = false;
        slot.refusal = None;
        slot.next = started.live.lease.id.next();
        let mount = started.app.mount.clone();
        let serving = Reply::Serving {
            app: started.app.name.to_string(),
            generation: started.live.lease.id.get(),
        };
        let generation = started.live.lease.id;
        // The host itself opens more after the first: its HTTP threads'.
        let alone = only_app && generation != GenerationId::FIRST.next();
        let previous = slot.take_over(started, &self.router, alone);
        slot.answer(&serving);
        // It may have taken that much before it served.
        self.exhausted(path, generation);
        if let Some((app, live)) = previous {
            self.retire(&app, live, reason, None);
            if app.mount != mount {
                self.unblock(&app.mount);
            }
        }
    }

    fn refused(&mut self, path: &ArtifactPath, error: ReloadError) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        slot.blocked_on = match &error {
            ReloadError::Mount(taken) => Some(taken.mount.clone()),
            _ => None,
        };
        match error {
            ReloadError::Unchanged => {
                slot.refusal = None;
                slot.waited = false;
                if let Some((app, live)) = &slot.live {
                    let serving = Reply::Serving {
                        app: app.name.to_string(),
                        generation: live.lease.id.get(),
                    };
                    slot.answer(&serving);
                }
                return;
            }
            ReloadError::Stage(StageError::Open(OpenError::Unreadable { .. })) => {
                self.watcher.unread(path);
            }
            _ => {}
        }
        let named = self.first.as_ref().is_some_and(|first| !first.is_over());
        if error.maybe_incomplete() && !named && !slot.waited {
            // Its writer's next event is the better time; if there is none, it stays like this.
            slot.waited = true;
            tracing::info!(event = "waiting", path = %path, "{error}: waiting for its writer");
            let (path, sender) = (path.clone(), self.sender.clone());
            tokio::spawn(async move {
                sleep(SECOND_LOOK).await;
                let _ = sender.send(Event::SecondLook(path));
            });
            return;
        }
        slot.waited = false;
        refuse(slot, &error);
        error.log(path, slot.name(), slot.live_generation());
    }

    fn removed(&mut self, path: &ArtifactPath) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        if let Work::Loading { removed, again, .. } = &mut slot.work {
            *removed = true;
            *again = None;
        }
        slot.waited = false;
        slot.waiting.append(&mut slot.waiting_for_next);
        slot.answer(&Reply::Refused {
            reason: format!("{path} is gone"),
            remedy: "put it back".to_owned(),
        });
        let live = slot.live.take();
        if let Work::Idle = slot.work {
            self.drop_slot(path);
        }
        let Some((app, live)) = live else { return };
        self.router.unmount(&app);
        tracing::info!(
            event = "unmounted",
            app = app.name.as_str(),
            path = %path,
            "{path} is gone: unmounted {}; put it back to serve it again",
            app.mount,
        );
        app.swap(None);
        let mount = app.mount.clone();
        self.retire(&app, live, StopReason::Removal, None);
        self.unblock(&mount);
    }

    /// A slot whose place was said by the operator stays, for the file to come back.
    fn drop_slot(&mut self, path: &ArtifactPath) {
        if self
            .slots
            .get(path)
            .is_some_and(|slot| slot.place == Place::ByName)
        {
            self.slots.remove(path);
        }
    }

    fn forget_if_gone(&mut self, path: &ArtifactPath, work: &Work) {
        if let Work::Loading {
            removed: true,
            again: None,
            ..
        } = work
        {
            self.drop_slot(path);
        }
    }

    /// Tries again what was refused because that mount was taken.
    fn unblock(&mut self, mount: &Mount) {
        let waiting: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.blocked_on.as_ref() == Some(mount))
            .map(|(path, _)| path.clone())
            .collect();
        for path in waiting {
            self.changed(&path);
        }
    }

    fn abandon(&mut self, result: Result<Started, ReloadError>) {
        if let Ok(Started { app, live, .. }) = result {
            self.retire(&app, live, StopReason::Abandoned, None);
        }
    }

    fn announce(&mut self) {
        for (_, live) in self.slots.values().filter_map(|slot| slot.live.as_ref()) {
            live.lease.plugin().shutdown(StopReason::HostShutdown);
        }
    }

    fn end(&mut self, deadline: Instant, done: oneshot::Sender<()>) {
        self.ending = Some(Ending { done });
        self.all_end.cancel();
        let live: Vec<_> = self
            .slots
            .values_mut()
            .filter_map(|slot| slot.live.take())
            .collect();
        for (app, live) in live {
            self.router.unmount(&app);
            app.swap(None);
            self.retire(&app, live, StopReason::HostShutdown, Some(deadline));
        }
    }

    /// Watches a folder: each library in it is an app. Returns those that are there already.
    ///
    /// # Errors
    /// When the folder cannot be watched.
    pub fn watch_directory(&mut self, dir: &Path) -> Result<Vec<ArtifactPath>, WatchError> {
        self.watcher.watch_directory(dir)
    }

    /// Watches one artifact.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn watch_artifact(&mut self, path: &ArtifactPath) -> Result<(), WatchError> {
        self.watcher.watch_artifact(path.clone())
    }
}

/// Keeps the reason for status, and tells who asked for the reload.
fn refuse(slot: &mut Slot, error: &ReloadError) {
    let (reason, remedy) = (error.to_string(), error.remedy());
    slot.answer(&Reply::Refused {
        reason: reason.clone(),
        remedy: remedy.clone(),
    });
    slot.refusal = Some(Refusal { reason, remedy });
}
