//! What a generation has in the process, to those who ask while it lives.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::library::Library;
use crate::process::{Owner, PluginThread, Usage};

/// What a generation has in the process. Keeps nothing of it alive.
#[derive(Clone, Debug)]
pub struct Footprint {
    owner: Arc<Owner>,
    usage: Arc<Usage>,
    staged: PathBuf,
}

impl Footprint {
    pub(super) fn of(library: &Library) -> Self {
        Self {
            owner: Arc::clone(library.owner()),
            usage: Arc::clone(library.usage()),
            staged: library.staged_path().to_owned(),
        }
    }

    /// Bytes in use on its heap; 0, if its allocator is not Replug's.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.usage.bytes()
    }

    /// Whether that is more than its limit allows.
    #[must_use]
    pub fn exceeds_its_limit(&self) -> bool {
        self.usage.is_exceeded()
    }

    /// That it used more has been dealt with: the next time is told, too.
    pub fn tell_again(&self) {
        self.usage.tell_again();
    }

    /// Its threads that are running: those of its runtime, and those it started by itself.
    #[must_use]
    pub fn threads(&self) -> Vec<PluginThread> {
        self.owner.threads()
    }

    /// Its private copy, and where in the process that is: what names are found with.
    #[must_use]
    pub fn code(&self) -> Option<(&Path, usize)> {
        Some((&self.staged, self.owner.base()?))
    }
}
