//! What the actor knows of one artifact.

use std::sync::Arc;

use crate::{
    app::App,
    artifact::Fingerprint,
    config::Mount,
    generation::Live,
    id::{AppName, Digest, GenerationId},
    router::Router,
};

use tokio::{sync::oneshot, time::Instant};

use super::{command::Reply, load::Started};

/// Where an app is to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where the operator said.
    Fixed(Mount),
    /// At `/` and its manifest's name.
    ByName,
}

/// What is being done for an artifact now.
#[derive(Debug)]
pub(super) enum Work {
    Idle,
    /// A load is under way. Meanwhile there may be a cause for it `again`, or the file have been
    /// `removed`.
    Loading {
        cause: Cause,
        again: Option<Cause>,
        removed: bool,
    },
}

/// Why a load is begun; of two, the greater counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// The file changed, or is new.
    Change,
    /// The generation that serves uses more memory than it may.
    Memory,
    /// Somebody asked. `force`: however many old generations stay loaded.
    Command { force: bool },
}

/// Why an artifact was refused last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) remedy: String,
}

impl Work {
    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) place: Place,
    /// The number of the next generation.
    pub(super) next: GenerationId,
    pub(super) work: Work,
    /// The app and the generation that answers for it.
    pub(super) live: Option<(Arc<App>, Live)>,
    /// The mount that another app had when this one was refused for it.
    pub(super) blocked_on: Option<Mount>,
    /// The file was not whole, and is given time.
    pub(super) waited: bool,
    /// A reload was refused because too many old generations stay loaded; it is tried again when
    /// one of them goes.
    pub(super) held: bool,
    /// Why the newest file does not serve.
    pub(super) refusal: Option<Refusal>,
    /// Who asked for a reload, and waits for what it comes to.
    pub(super) waiting: Vec<oneshot::Sender<Reply>>,
    /// Who asked while a load was under way, and waits for the next.
    pub(super) waiting_for_next: Vec<oneshot::Sender<Reply>>,
    /// When a fresh generation was last made because of the memory limit.
    pub(super) renewed: Option<Instant>,
    /// The generation that turns requests away until the next one is due.
    pub(super) turning_away: Option<GenerationId>,
    loaded: Option<(Fingerprint, Digest)>,
}

impl Slot {
    pub(super) fn new(place: Place) -> Self {
        let next = GenerationId::FIRST;
        Self {
            place,
            next,
            work: Work::Idle,
            live: None,
            blocked_on: None,
            waited: false,
            held: false,
            refusal: None,
            waiting: Vec::new(),
            waiting_for_next: Vec::new(),
            renewed: None,
            turning_away: None,
            loaded: None,
        }
    }

    /// The file that the live generation came from.
    pub(super) fn loaded(&self) -> Option<(Fingerprint, Digest)> {
        self.live.as_ref().and(self.loaded)
    }

    /// Tells those who asked what it came to.
    pub(super) fn answer(&mut self, reply: &Reply) {
        for waiting in self.waiting.drain(..) {
            // Who has gone away is not told.
            let _ = waiting.send(reply.clone());
        }
    }

    pub(super) fn name(&self) -> Option<&AppName> {
        self.live.as_ref().map(|(app, _)| &app.name)
    }

    pub(super) fn live_generation(&self) -> Option<GenerationId> {
        self.live.as_ref().map(|(_, live)| live.lease.id)
    }

    /// From here on, requests get `started`. Returns what they got before. `alone`: no other app is
    /// there.
    pub(super) fn take_over(
        &mut self,
        started: Started,
        router: &Router,
        alone: bool,
    ) -> Option<(Arc<App>, Live)> {
        let Started {
            app,
            live,
            fingerprint,
            times,
        } = started;
        self.loaded = Some((fingerprint, live.lease.digest));
        let lease = live.lease.clone();
        let mut previous = self.live.take();
        if let (true, Some((_, old)), Some(new)) = (alone, &mut previous, &live.opened)
            && let Some(opened) = &mut old.opened
        {
            opened.lived_alone_until(new);
        }
        let app = match &previous {
            // The same app: one atomic store is the whole reload.
            Some((old, _)) if old.name == app.name && old.mount == app.mount => {
                old.swap(Some(lease.clone()));
                Arc::clone(old)
            }
            // Its manifest has another name now: the new place is there before the old one goes.
            _ => {
                app.swap(Some(lease.clone()));
                if let Err(error) = router.mount(&app) {
                    // Only this actor mounts, and it has just asked.
                    tracing::error!("{error}");
                }
                if let Some((old, _)) = &previous {
                    router.unmount(old);
                    // For a request that has been routed to it already.
                    old.swap((old.mount == app.mount).then(|| lease.clone()));
                }
                app
            }
        };
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
        self.live = Some((app, live));
        previous
    }
}
