//! All that can happen to the actor, and the way to tell it.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    ReloadError,
    command::Reply,
    load::{Leftover, Started},
    retire::Outcome,
    retiring::Retiring,
    status::Status,
};
use crate::{
    id::{ArtifactPath, GenerationId},
    watcher::WatchEvent,
};

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
    /// A setup failed, or ended when nobody waited any more.
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
    /// Somebody wants an app reloaded.
    Reload {
        app: String,
        force: bool,
        reply: oneshot::Sender<Reply>,
    },
    /// Somebody wants to know how it is.
    Status(oneshot::Sender<Status>),
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
