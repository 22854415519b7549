//! Loads that were begun by a configuration which is not in force any more when they end.

use std::sync::Arc;

use super::{
    Reloader,
    load::{Attempt, Loaded},
};
use crate::{config::Config, id::ArtifactPath};

impl Reloader {
    /// Whether it was loaded by a configuration that is not in force any more, and that had other
    /// things to say of it.
    pub(super) fn is_stale(&self, attempt: &Attempt) -> bool {
        if Arc::ptr_eq(&attempt.config, &self.config) {
            return false;
        }
        let app = match &attempt.result {
            Ok(Loaded::Started(started)) => &started.app,
            Ok(Loaded::Found(found)) => &found.app,
            Ok(Loaded::Enlisted(enlisted)) => &enlisted.app,
            // The new one may be what it needs.
            Err(_) => return true,
        };
        let difference = attempt.config.app_difference(&self.config, &app.name);
        let mount = |config: &Config| config.apps.get(&app.name)?.mount.clone();
        !difference.fresh.is_empty() || mount(&attempt.config) != mount(&self.config)
    }

    /// Loads it by the configuration that is in force now.
    pub(super) fn load_again(&mut self, path: &ArtifactPath, attempt: Attempt) {
        if let Some((slot, mut loading)) = self.ended(path, &attempt) {
            let cause = loading.again.take().max(Some(loading.cause));
            let askers = std::mem::take(&mut slot.waiting);
            let next = std::mem::take(&mut slot.waiting_for_next);
            let removed = loading.removed;
            self.restore(path, loading.old);
            if removed {
                self.drop_slot(path);
            } else {
                self.go_on(path, askers.into_iter().chain(next).collect(), cause);
            }
        }
        self.abandon(path, attempt.result);
    }
}
