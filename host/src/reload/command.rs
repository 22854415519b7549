//! What can be asked of the actor while it runs.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    Reloader,
    event::{Event, Handle},
    slot::{Cause, Work},
    status::Status,
};
use crate::id::ArtifactPath;

/// What a reload that was asked for came to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Reply {
    /// That generation of that app serves now.
    Serving {
        /// The app's name.
        app: String,
        /// The generation.
        generation: u64,
    },
    /// It was refused. What served before serves on.
    Refused {
        /// Why.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// There is no such app.
    Unknown {
        /// Those that there are.
        known: Vec<String>,
    },
    /// The host ends.
    Ending,
}

impl Handle {
    /// Reloads an app, named by its name or its artifact's path, though its file be the same.
    /// `force`: however many old generations of it stay loaded. Returns when the new one serves,
    /// or was refused.
    pub async fn reload(&self, app: String, force: bool) -> Reply {
        let (reply, replied) = oneshot::channel();
        let _ = self.0.send(Event::Reload { app, force, reply });
        replied.await.unwrap_or(Reply::Ending)
    }

    /// What there is and how it does. `None`: the host ends.
    pub async fn status(&self) -> Option<Status> {
        let (reply, replied) = oneshot::channel();
        let _ = self.0.send(Event::Status(reply));
        replied.await.ok()
    }
}

impl Reloader {
    pub(super) fn asked_to_reload(
        &mut self,
        app: &str,
        force: bool,
        reply: oneshot::Sender<Reply>,
    ) {
        let Some(path) = self.path_of(app) else {
            let known = self.known();
            let _ = reply.send(Reply::Unknown { known });
            return;
        };
        let Some(slot) = self.slots.get_mut(&path) else {
            return;
        };
        let cause = Cause::Command { force };
        match &mut slot.work {
            Work::Idle => {
                slot.waiting.push(reply);
                self.begin_load(&path, cause);
            }
            // What is being loaded now may be older than what was asked for.
            Work::Loading { again, removed, .. } => {
                *again = (*again).max(Some(cause));
                *removed = false;
                slot.waiting_for_next.push(reply);
            }
        }
    }

    /// The artifact of an app that serves under that name, or has that path.
    fn path_of(&self, app: &str) -> Option<ArtifactPath> {
        let named = |(path, slot): &(&ArtifactPath, &super::slot::Slot)| {
            slot.name().is_some_and(|name| name.as_str() == app) || path.as_path() == app
        };
        self.slots.iter().find(named).map(|(path, _)| path.clone())
    }

    fn known(&self) -> Vec<String> {
        let mut known: Vec<String> = self
            .slots
            .iter()
            .map(|(path, slot)| match slot.name() {
                Some(name) => name.to_string(),
                None => path.to_string(),
            })
            .collect();
        known.sort();
        known
    }
}
