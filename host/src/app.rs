//! An app: its identity, and the generation that answers for it now.

use arc_swap::ArcSwapOption;

use crate::{
    config::Mount,
    generation::{Generation, Lease},
    id::{AppName, ArtifactPath},
};

/// An app. Two paths are two apps, even with the same bytes.
#[derive(Debug)]
pub struct App {
    /// Its identity: the artifact's absolute path.
    pub path: ArtifactPath,
    /// Its name.
    pub name: AppName,
    /// Where it is mounted.
    pub mount: Mount,
    current: ArcSwapOption<Generation>,
}

impl App {
    /// An app that nothing answers for yet.
    #[must_use]
    pub fn new(path: ArtifactPath, name: AppName, mount: Mount) -> Self {
        Self {
            path,
            name,
            mount,
            current: ArcSwapOption::empty(),
        }
    }

    /// A lease on the generation that answers now; `None` while none does.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        self.current.load_full().map(Lease)
    }

    /// From this call on, new requests get this generation. Atomic: every request gets the one
    /// before or this one, and none that begins after it gets the one before.
    pub fn swap(&self, lease: Option<Lease>) {
        self.current.store(lease.map(|lease| lease.0));
    }
}
