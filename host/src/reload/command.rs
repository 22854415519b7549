//! What can be asked of the actor while it runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Reloader,
    cause::Cause,
    event::{Event, Handle},
    services::Wish,
    slot::{Asker, Slot, Work},
    status::{HistoryStatus, Status},
};
use crate::{
    id::{ArtifactPath, Digest},
    loader::Registered,
};

/// At least so much time passes between two reloads that an app asks for itself: one whose setup
/// does so would be loaded without end.
const BETWEEN: Duration = Duration::from_secs(1);

/// What is to be done with an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Load it, though its file be the same.
    Reload {
        /// However many old generations of it stay loaded.
        force: bool,
        /// Answer when the new generation has been watched, and not when it begins to serve.
        guard: bool,
    },
    /// Load an artifact that served before.
    Rollback {
        /// The beginning of its digest; `None`: the one before.
        digest: Option<String>,
    },
    /// Let an artifact serve, whatever becomes of the file.
    Pin {
        /// The beginning of its digest; `None`: the one that serves.
        digest: Option<String>,
    },
    /// Let the file's changes say again what serves, those of the meantime, too.
    Unpin,
}

/// What came of it.
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
    /// The app is mounted, and is loaded by its first request.
    Waiting {
        /// The app's name.
        app: String,
    },
    /// It was refused. What served before serves on.
    Refused {
        /// Why.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// The new generation did worse than the one before, and was replaced by that.
    RolledBack {
        /// The app's name.
        app: String,
        /// The generation that serves now.
        generation: u64,
        /// What it did worse.
        reason: String,
    },
    /// That artifact stays.
    Pinned {
        /// The app's name.
        app: String,
        /// The artifact's digest.
        digest: String,
    },
    /// The file's changes say again what serves.
    Unpinned {
        /// The app's name.
        app: String,
        /// It has changed meanwhile.
        changed: bool,
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
    /// Has something done with an app, named by its name or its artifact's path. Returns when it
    /// is done, or was refused.
    pub async fn command(&self, app: String, command: Command) -> Reply {
        let (reply, replied) = oneshot::channel();
        let _ = self.0.send(Event::Command {
            app,
            command,
            reply,
        });
        replied.await.unwrap_or(Reply::Ending)
    }

    /// What was loaded for an app, and what of it is kept.
    ///
    /// # Errors
    /// When there is no such app, or the host ends.
    pub async fn history(&self, app: String) -> Result<HistoryStatus, Reply> {
        let (reply, replied) = oneshot::channel();
        let _ = self.0.send(Event::History { app, reply });
        replied.await.unwrap_or(Err(Reply::Ending))
    }

    /// What all apps have registered, in the order of first registration. `None`: the host ends.
    pub async fn registry(&self) -> Option<Vec<Registered>> {
        let (reply, replied) = oneshot::channel();
        let _ = self.0.send(Event::Registry(reply));
        replied.await.ok()
    }

    /// What there is and how it does. `None`: the host ends.
    pub async fn status(&self) -> Option<Status> {
        let (reply, replied) = oneshot::channel();
        let _ = self.0.send(Event::Status(reply));
        replied.await.ok()
    }
}

/// Commands, to the actor.
impl Reloader {
    pub(super) fn command(&mut self, app: &str, command: Command, reply: oneshot::Sender<Reply>) {
        let Some(path) = self.path_of(app) else {
            let known = self.known();
            let _ = reply.send(Reply::Unknown { known });
            return;
        };
        let Some(slot) = self.slots.get_mut(&path) else {
            return;
        };
        let guard = matches!(command, Command::Reload { guard: true, .. });
        let cause = match command {
            Command::Reload { force, .. } => Ok(Cause::Command { force }),
            Command::Rollback { digest } => rollback(slot, digest),
            Command::Pin { digest } => pin(slot, digest),
            Command::Unpin => return self.unpin(&path, reply),
        };
        match cause {
            Ok(cause) => self.ask(&path, cause, Asker { reply, guard }),
            // It is done, or will not be.
            Err(outcome) => drop(reply.send(outcome)),
        }
    }

    /// Loads it for somebody, now or when what is under way has ended.
    pub(super) fn ask(&mut self, path: &ArtifactPath, cause: Cause, asker: Asker) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        match &mut slot.work {
            Work::Idle => {
                slot.waiting.push(asker);
                self.begin_load(path, cause);
            }
            // What is being loaded now may be older than what was asked for.
            Work::Loading(loading) => {
                loading.again = loading.again.take().max(Some(cause));
                loading.removed = false;
                slot.waiting_for_next.push(asker);
            }
        }
    }

    fn unpin(&mut self, path: &ArtifactPath, reply: oneshot::Sender<Reply>) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        let app = slot.name().map(ToString::to_string).unwrap_or_default();
        slot.pin = None;
        let pending = slot.pending.take();
        let _ = reply.send(Reply::Unpinned {
            app,
            changed: pending.is_some(),
        });
        if let Some(cause) = pending {
            if path.as_path().exists() {
                self.changed(path, cause);
            } else {
                self.removed(path);
            }
        }
    }

    /// A worker's generation of the app wants it to be reloaded.
    pub(super) fn worker_asked(&mut self, path: &ArtifactPath) {
        let slot = self.slots.get(path);
        if let Some(live) = slot.and_then(|slot| slot.live.as_ref()) {
            self.app_asked(path, live.lease.load, Wish::default());
        }
    }

    /// A generation of the app wants it to be reloaded.
    pub(super) fn app_asked(&mut self, path: &ArtifactPath, serial: u64, wish: Wish) {
        let Some(slot) = self.slots.get_mut(path) else {
            return;
        };
        if !slot.may_ask(serial) {
            tracing::debug!(path = %path, "a generation that has been replaced asks for a reload");
            return;
        }
        if let (Some(superior), Some(app)) = (&self.superior, slot.name()) {
            // Nobody listens when it ends anyway.
            let _ = superior.reload.send(app.clone());
            return;
        }
        let now = Instant::now();
        if let Some(due) = slot
            .asked
            .map(|last| last + BETWEEN)
            .filter(|due| *due > now)
        {
            tracing::warn!(
                event = "asks-often",
                app = slot.name().map(crate::id::AppName::as_str),
                path = %path,
                remedy = "have it ask when something has changed, and not at each setup",
                "it asks for a reload again within {BETWEEN:?}; that is put off",
            );
            let path = path.clone();
            return self.tell_later(due, Event::AppAsked { path, serial, wish });
        }
        slot.asked = Some(now);
        if let Work::Loading(loading) = &mut slot.work {
            loading.again = loading.again.take().max(Some(Cause::App));
            return;
        }
        self.begin_load(path, Cause::App);
    }

    pub(super) fn history(&self, app: &str) -> Result<HistoryStatus, Reply> {
        let path = self.path_of(app);
        let slot = path.as_ref().and_then(|path| self.slots.get(path));
        let slot = slot.ok_or_else(|| Reply::Unknown {
            known: self.known(),
        })?;
        Ok(HistoryStatus::of(slot))
    }

    /// The artifact of an app that has that name, or that path.
    fn path_of(&self, app: &str) -> Option<ArtifactPath> {
        let named = |(path, slot): &(&ArtifactPath, &Slot)| {
            slot.name().is_some_and(|name| name.as_str() == app) || path.as_path() == app
        };
        let mut slots = self.slots.iter().filter(|(_, slot)| !slot.is_to_come());
        slots.find(named).map(|(path, _)| path.clone())
    }

    fn known(&self) -> Vec<String> {
        let mut known: Vec<String> = self
            .slots
            .iter()
            .filter(|(_, slot)| !slot.is_to_come())
            .map(|(path, slot)| match slot.name() {
                Some(name) => name.to_string(),
                None => path.to_string(),
            })
            .collect();
        known.sort();
        known
    }
}

/// What to load for a rollback; or why there is nothing.
fn rollback(slot: &mut Slot, digest: Option<String>) -> Result<Cause, Reply> {
    let serving = slot.serving();
    let digest = match digest {
        Some(prefix) => named(slot, &prefix)?,
        None => serving
            .and_then(|serving| slot.history.before(&serving, &slot.bad))
            .ok_or_else(|| Reply::Refused {
                reason: "no earlier artifact of it is kept".to_owned(),
                remedy: "deploy the one that is to serve".to_owned(),
            })?,
    };
    if serving == Some(digest) {
        return Err(Reply::Refused {
            reason: format!("{} serves already", digest.short()),
            remedy: "`replug history` shows what is kept".to_owned(),
        });
    }
    if let Some(pin) = slot.pin {
        return Err(Reply::Refused {
            reason: format!("it is pinned to {}", pin.short()),
            remedy: "unpin it first, or pin the one that is to serve".to_owned(),
        });
    }
    Ok(Cause::Rollback(digest))
}

/// What to load for a pin; or what came of it.
fn pin(slot: &mut Slot, digest: Option<String>) -> Result<Cause, Reply> {
    let serving = slot.serving();
    let digest = match digest {
        Some(prefix) => named(slot, &prefix)?,
        None => serving.ok_or_else(|| Reply::Refused {
            reason: "nothing of it serves".to_owned(),
            remedy: "name the digest of an artifact that is kept: `replug history`".to_owned(),
        })?,
    };
    if serving != Some(digest) {
        return Ok(Cause::Pin(digest));
    }
    slot.pin = Some(digest);
    Err(Reply::Pinned {
        app: slot.name().map(ToString::to_string).unwrap_or_default(),
        digest: digest.to_string(),
    })
}

/// The artifact whose digest begins so.
fn named(slot: &Slot, prefix: &str) -> Result<Digest, Reply> {
    let mut found = slot.history.named(&prefix.to_ascii_lowercase());
    if prefix.len() < 4 {
        found.clear();
    }
    match found[..] {
        [digest] => Ok(digest),
        _ => {
            let kept: Vec<_> = slot.history.kept().map(|kept| kept.short()).collect();
            Err(Reply::Refused {
                reason: format!("`{prefix}` is not the beginning of one kept artifact's digest"),
                remedy: format!(
                    "name at least four digits of one of those that are kept: {}",
                    kept.join(", ")
                ),
            })
        }
    }
}
