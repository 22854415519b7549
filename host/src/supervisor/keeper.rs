//! Keeping the states of a crew's workers: one thing after the other, and none of them on the
//! supervisor's own thread, since files may be slow.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::{
    channel::Handed,
    loader::Snapshot,
    state::{Owner, StateStore},
};

/// Who keeps them. A clone is the same one.
#[derive(Clone, Debug)]
pub(super) struct Keeper(mpsc::UnboundedSender<Errand>);

#[derive(Debug)]
enum Errand {
    Put {
        owner: Owner,
        serial: u64,
        snapshot: Snapshot,
    },
    Get {
        owner: Owner,
        reply: oneshot::Sender<Handed>,
    },
    Tell(oneshot::Sender<()>),
}

impl Keeper {
    pub(super) fn new(store: Arc<StateStore>) -> Self {
        let (errands, mut wanted) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(errand) = wanted.recv().await {
                let store = Arc::clone(&store);
                // One that panics has told so.
                let _ = tokio::task::spawn_blocking(move || run(&store, errand)).await;
            }
        });
        Self(errands)
    }

    /// Keeps what the worker of that serial number has saved.
    pub(super) fn put(&self, owner: Owner, serial: u64, snapshot: Snapshot) {
        let _ = self.0.send(Errand::Put {
            owner,
            serial,
            snapshot,
        });
    }

    /// Hands out what was kept last.
    pub(super) fn get(&self, owner: Owner, reply: oneshot::Sender<Handed>) {
        let _ = self.0.send(Errand::Get { owner, reply });
    }

    /// Tells when all that was to be kept by now is.
    pub(super) fn tell(&self, done: oneshot::Sender<()>) {
        let _ = self.0.send(Errand::Tell(done));
    }
}

fn run(store: &StateStore, errand: Errand) {
    match errand {
        Errand::Put {
            owner,
            serial,
            snapshot,
        } => {
            let path = owner.app.clone();
            if let Err(error) = store.put(owner, serial, &snapshot) {
                tracing::error!(
                    event = "state-not-written",
                    path = %path,
                    reason = %error,
                    remedy = error.remedy(),
                    "it is kept in memory only",
                );
            }
        }
        Errand::Get { owner, reply } => {
            let path = owner.app.clone();
            let found = store.get(owner).map_err(|error| {
                let remedy = error.remedy();
                tracing::error!(event = "state-lost", path = %path, remedy, "{error}");
                format!("{error}; {remedy}")
            });
            let _ = reply.send(found);
        }
        Errand::Tell(done) => drop(done.send(())),
    }
}
