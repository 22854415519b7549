//! All that can happen to the actor, and the way to tell it.

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{ReloadError, load::Started};
use crate::{id::ArtifactPath, watcher::WatchEvent};

/// All that can happen.
#[derive(Debug)]
pub(super) enum Event {
    /// A file changed or is gone.
    Watched(WatchEvent),
    /// A load has ended.
    Loaded {
        path: ArtifactPath,
        result: Box<Result<Started, ReloadError>>,
    },
    /// A file that was not whole has had time to become so.
    SecondLook(ArtifactPath),
    /// A generation is stopped and unloaded, or quarantined.
    Retired,
    /// The host ends: tell all apps, and answer when the last generation is retired. Comes twice:
    /// first to tell, then to retire.
    Shutdown(Shutdown),
}

#[derive(Debug)]
pub(super) enum Shutdown {
    /// Tell the apps that draining has begun; requests still reach them.
    Tell,
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
    /// Tells all apps that the host is about to end.
    pub fn announce_shutdown(&self) {
        let _ = self.0.send(Event::Shutdown(Shutdown::Tell));
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
