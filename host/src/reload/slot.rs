//! What the actor knows of one artifact.

use std::{collections::VecDeque, sync::Arc};

use tokio::{sync::oneshot, time::Instant};

use super::{
    Handed, Said, StateAsk, Wanted, cause::Cause, command::Reply, guard::Samples,
    guarding::Guarded, history::History, load::Started, outpost::Aside,
};
use crate::{
    app::App,
    artifact::{Fingerprint, Inspected},
    config::{AppOptions, Config, Mount},
    generation::{Live, Paused, States},
    id::{AppName, Digest, GenerationId, GroupName},
    loader::Snapshot,
    router::Router,
    watcher::Tracked,
};

/// Artifacts that did worse than the one before are remembered, so many.
const BAD: usize = 16;

/// What an operator has said of an app; the rest its manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Where it is mounted; else where the configuration says, by its name.
    pub(super) mount: Option<Mount>,
    /// Its name.
    pub(super) name: Option<AppName>,
    /// It is all that there is to serve.
    pub(super) alone: bool,
}

impl Place {
    pub(super) fn of(wanted: &Wanted) -> Self {
        Self {
            mount: wanted.mount.clone(),
            name: wanted.name.clone(),
            alone: wanted.alone,
        }
    }

    /// Whether the operator named the artifact: then its slot stays when its file goes.
    pub(super) fn is_fixed(&self) -> bool {
        *self != Self::default()
    }
}

/// What is being done for an artifact now.
#[derive(Debug)]
pub(super) enum Work {
    Idle,
    Loading(Loading),
}

/// A load that is under way.
#[derive(Debug)]
pub(super) struct Loading {
    pub(super) cause: Cause,
    /// Tells this load from others of the app.
    pub(super) serial: u64,
    /// Meanwhile there is a cause to load once more.
    pub(super) again: Option<Cause>,
    /// Meanwhile the file was removed.
    pub(super) removed: bool,
    /// It is not known yet whether it is an app of a group.
    pub(super) looking: bool,
    pub(super) old: Old,
    /// Workers that wait for the state of the one before.
    pub(super) asks: Vec<StateAsk>,
    /// What the workers before have saved, once they stand aside.
    pub(super) states: States,
}

/// What became of the generation before, while the next is being loaded.
#[derive(Debug)]
pub(super) enum Old {
    /// It serves on, or there is none.
    Serves,
    /// Its requests are waited for.
    Pausing,
    /// It has saved its state, and takes no requests.
    Paused(Paused, Option<Snapshot>),
    /// It was stopped, since two of them cannot be alive: its number, and what it was loaded from.
    Stopped((GenerationId, Digest)),
}

/// Why an artifact was refused last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) remedy: String,
}

impl Loading {
    pub(super) fn of(cause: Cause, serial: u64) -> Self {
        Self {
            cause,
            serial,
            again: None,
            removed: false,
            looking: true,
            old: Old::Serves,
            asks: Vec::new(),
            states: States::new(),
        }
    }
}

impl Work {
    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// The load with that number.
    pub(super) fn loading(&mut self, serial: u64) -> Option<&mut Loading> {
        match self {
            Self::Loading(loading) if loading.serial == serial => Some(loading),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) place: Place,
    /// The number of the next generation.
    pub(super) next: GenerationId,
    pub(super) work: Work,
    /// The app, while it is mounted.
    pub(super) app: Option<Arc<App>>,
    /// The generation that answers for it.
    pub(super) live: Option<Live>,
    /// A change that is not loaded yet, or not to be loaded.
    pub(super) pending: Option<Cause>,
    /// The artifact that is to stay, whatever becomes of the file.
    pub(super) pin: Option<Digest>,
    /// What serves is not what the file is, or was: it was rolled back, or pinned.
    pub(super) off_file: bool,
    /// Artifacts that were rolled back: taken again only when somebody asks.
    pub(super) bad: VecDeque<Digest>,
    pub(super) history: History,
    /// What it has answered, for the guard's window before a swap.
    pub(super) samples: Samples,
    /// The generation that serves is being watched.
    pub(super) guarded: Option<Guarded>,
    /// The mount that another app had when this one was refused for it.
    pub(super) blocked_on: Option<Mount>,
    /// The file was not whole, and is given time.
    pub(super) waited: bool,
    /// A reload was refused because too many old generations stay loaded; it is tried again when
    /// one of them goes.
    pub(super) held: bool,
    /// Why the newest file does not serve.
    pub(super) refusal: Option<Refusal>,
    /// Who asked for something, and waits for what it comes to.
    pub(super) waiting: Vec<Asker>,
    /// Who asked while a load was under way, and waits for the next.
    pub(super) waiting_for_next: Vec<Asker>,
    /// The serial of the newest load.
    pub(super) newest: u64,
    /// When the app was last reloaded because it asked for that.
    pub(super) asked: Option<Instant>,
    /// When a fresh generation was last made because of the memory limit.
    pub(super) renewed: Option<Instant>,
    /// The generation that turns requests away until the next one is due.
    pub(super) turning_away: Option<GenerationId>,
    pub(super) loaded: Option<(Fingerprint, Digest)>,
    /// What another host has chosen for it.
    pub(super) handed: Option<Handed>,
    /// What it said in its setup, for that host.
    pub(super) said: Said,
    /// What belongs to the generation that serves.
    pub(super) tracked: Vec<Tracked>,
    /// It stands aside for another host.
    pub(super) aside: Option<Aside>,
    /// The group that has it loaded, and what of.
    pub(super) elsewhere: Option<(GroupName, Arc<Inspected>)>,
}

/// Who has asked for something.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) reply: oneshot::Sender<Reply>,
    /// Waits until the guard's window is over.
    pub(super) guard: bool,
}

impl Slot {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            next: GenerationId::FIRST,
            work: Work::Idle,
            app: None,
            live: None,
            pending: None,
            pin: None,
            off_file: false,
            bad: VecDeque::new(),
            history: History::default(),
            samples: Samples::default(),
            guarded: None,
            blocked_on: None,
            waited: false,
            held: false,
            refusal: None,
            waiting: Vec::new(),
            waiting_for_next: Vec::new(),
            newest: 0,
            asked: None,
            renewed: None,
            turning_away: None,
            loaded: None,
            handed: None,
            said: Said::default(),
            tracked: Vec::new(),
            aside: None,
            elsewhere: None,
        }
    }

    /// What holds for the app; the defaults, as long as its name is not known.
    pub(super) fn options<'a>(&self, config: &'a Config) -> &'a AppOptions {
        match self.name() {
            Some(name) => config.options_of(name),
            None => &config.defaults,
        }
    }

    /// The file that the live generation came from.
    pub(super) fn loaded(&self) -> Option<(Fingerprint, Digest)> {
        self.live.as_ref().and(self.loaded)
    }

    /// A load for that cause has come to serve, in the place of `before`.
    pub(super) fn taken(&mut self, cause: &Cause, before: Option<(GenerationId, Digest)>) {
        match cause {
            Cause::Rollback(_) => {
                let guarded = self.guarded.as_ref();
                let why = guarded
                    .and_then(Guarded::verdict)
                    .unwrap_or("somebody asked");
                if let Some((generation, digest)) = before {
                    self.history.rolled_back(generation, why);
                    self.remember_as_bad(digest);
                }
                self.off_file = true;
            }
            Cause::Pin(digest) => {
                self.pin = Some(*digest);
                self.off_file = true;
            }
            Cause::Revival(_) => self.off_file = true,
            Cause::Neighbour | Cause::Apply | Cause::Age | Cause::Requests | Cause::Memory => {}
            Cause::Tracked | Cause::Change | Cause::App | Cause::Command { .. } => {
                if self.pin.is_none() && !(self.off_file && *cause == Cause::Tracked) {
                    self.off_file = false;
                    self.pending = None;
                }
            }
        }
    }

    /// That artifact serves, because somebody asked for it: its changes count again.
    pub(super) fn forgive(&mut self, digest: Digest) {
        self.bad.retain(|bad| *bad != digest);
    }

    /// That artifact did worse than the one before.
    fn remember_as_bad(&mut self, digest: Digest) {
        if self.bad.contains(&digest) {
            return;
        }
        if self.bad.len() == BAD {
            self.bad.pop_front();
        }
        self.bad.push_back(digest);
    }

    /// Tells those who asked what it came to.
    pub(super) fn answer(&mut self, reply: &Reply) {
        answer(self.waiting.drain(..), reply);
    }

    pub(super) fn name(&self) -> Option<&AppName> {
        let mounted = self.app.as_ref().map(|app| &app.name);
        mounted.or(self.place.name.as_ref())
    }

    /// Whether it is there only for a configuration that is not in force.
    pub(super) fn is_to_come(&self) -> bool {
        let applies = matches!(&self.work, Work::Loading(loading) if loading.cause == Cause::Apply);
        applies && self.app.is_none() && !self.place.is_fixed()
    }

    pub(super) fn live_generation(&self) -> Option<GenerationId> {
        self.live.as_ref().map(|live| live.lease.id)
    }

    /// Whether the generation of that load may still ask for another: it serves, or stands aside
    /// for one, or none has been begun since it was.
    pub(super) fn may_ask(&self, serial: u64) -> bool {
        let stands_aside = match &self.work {
            Work::Loading(loading) => match &loading.old {
                Old::Paused(paused, _) => paused.facts().load == serial,
                // Which one that is, a task knows.
                Old::Pausing => true,
                Old::Serves | Old::Stopped(_) => false,
            },
            Work::Idle => false,
        };
        let serves = self.live.as_ref().map(|live| live.lease.load);
        stands_aside || self.newest == serial || serves == Some(serial)
    }

    /// The digest of what serves.
    pub(super) fn serving(&self) -> Option<Digest> {
        self.live.as_ref().map(|live| live.lease.digest)
    }

    /// The app that is mounted, if it is that one in name and mount: it stays over generations.
    pub(super) fn same_or(&self, new: &Arc<App>) -> Arc<App> {
        match &self.app {
            Some(old) if old.name == new.name && old.mount == new.mount => Arc::clone(old),
            _ => Arc::clone(new),
        }
    }

    /// Mounts an app in the place of the one that there was, which is returned if it is another.
    pub(super) fn mount(&mut self, app: &Arc<App>, router: &Router) -> Option<Arc<App>> {
        if self.app.as_ref().is_some_and(|old| Arc::ptr_eq(old, app)) {
            return None;
        }
        // The new place is there before the old one goes.
        if let Err(error) = router.mount(app) {
            // Only the actor mounts, and it has just asked.
            tracing::error!("{error}");
        }
        let old = self.app.replace(Arc::clone(app))?;
        router.unmount(&old);
        Some(old)
    }

    /// From here on, requests get `started`. Returns the app, if it was another, and the generation
    /// that there were before. `alone`: no other app is there.
    pub(super) fn take_over(
        &mut self,
        started: Started,
        router: &Router,
        alone: bool,
    ) -> (Option<Arc<App>>, Option<Live>) {
        let Started {
            app: new,
            live,
            fingerprint,
            elsewhere,
            times,
            ..
        } = started;
        self.elsewhere = elsewhere;
        self.loaded = Some((fingerprint, live.lease.digest));
        let lease = live.lease.clone();
        let mut previous = self.live.take();
        if let (true, Some(old), Some(new)) = (alone, &mut previous, &live.opened)
            && let Some(opened) = &mut old.opened
        {
            opened.lived_alone_until(new);
        }
        let app = self.same_or(&new);
        // For the same app, this atomic store is the whole reload. Another one is not found before
        // it answers.
        app.open(&lease);
        let before = self.mount(&app, router);
        if let Some(before) = &before {
            // For requests that have been routed to it already, or wait there. It goes with the
            // last of them.
            before.open(&lease);
        }
        tracing::info!(
            event = "serving",
            app = app.name.as_str(),
            generation = lease.id.get(),
            mount = app.mount.as_str(),
            path = %app.path,
            digest = %lease.digest,
            staged_ms = times.staged_ms,
            loaded_ms = times.loaded_ms,
            setup_ms = times.setup_ms,
            "serving at {}",
            app.mount,
        );
        self.live = Some(live);
        (before, previous)
    }
}

/// Tells them. Who has gone away is not told.
pub(super) fn answer(askers: impl IntoIterator<Item = Asker>, reply: &Reply) {
    for asker in askers {
        let _ = asker.reply.send(reply.clone());
    }
}
