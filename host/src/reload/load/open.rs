//! Looking at an artifact, and opening it.

use std::{path::PathBuf, sync::Arc, time::Instant};

use super::{Enlisted, Job, ms};
use crate::{
    app::App,
    artifact::{self, Fingerprint, InspectPolicy, Inspected},
    config::Mount,
    id::{AppName, Digest, GroupName},
    loader::{self, Loaded},
    process::{Before, Usage},
    reload::{ReloadError, cause::Origin, event::Event},
    watcher::Tracked,
};

/// What was seen.
pub(super) struct Looked {
    /// `None`: it could not even be copied.
    pub(super) digest: Option<Digest>,
    pub(super) artifact: Result<Artifact, ReloadError>,
    pub(super) staged_ms: f64,
}

/// An artifact that may be loaded.
pub(super) struct Artifact {
    inspected: Inspected,
    pub(super) name: AppName,
    pub(super) mount: Mount,
    pub(super) digest: Digest,
    fingerprint: Fingerprint,
    /// What it is linked to, and what the operator wants tracked, as that is now.
    tracked: Vec<Tracked>,
}

impl Artifact {
    /// It is to be loaded by that group's workers.
    pub(super) fn enlist(self, group: &GroupName, app: Arc<App>) -> Enlisted {
        Enlisted {
            group: group.clone(),
            app,
            artifact: Arc::new(self.inspected),
            fingerprint: self.fingerprint,
            tracked: self.tracked,
        }
    }
}

/// A library that is open.
pub(super) struct Opened {
    pub(super) loaded: Loaded,
    /// The private copy.
    pub(super) staged: PathBuf,
    pub(super) digest: Digest,
    pub(super) fingerprint: Fingerprint,
    /// What it is linked to, and what the operator wants tracked, as that was before it was opened.
    pub(super) tracked: Vec<Tracked>,
    pub(super) before: Before,
    pub(super) loaded_ms: f64,
}

/// Copies it and judges the copy, having run nothing of it.
pub(super) fn look(job: &Job) -> Looked {
    let began = Instant::now();
    let mut digest = None;
    let artifact = examine(job, &mut digest);
    Looked {
        digest,
        artifact,
        staged_ms: ms(began),
    }
}

fn examine(job: &Job, digest: &mut Option<Digest>) -> Result<Artifact, ReloadError> {
    let staged = match &job.origin {
        Origin::File => job.staging.stage(&job.path, job.serial)?,
        Origin::Kept { file, digest } => job
            .staging
            .stage_kept(file, &job.path, *digest, job.serial)?,
        Origin::Handed { file, digest } => job.staging.handed(file, &job.path, *digest)?,
    };
    let fingerprint = *staged.fingerprint();
    let found = *staged.digest();
    *digest = Some(found);
    if job.loaded == Some((fingerprint, found)) {
        return Err(ReloadError::Unchanged);
    }
    if job.cause.is_change() && job.bad.contains(&found) {
        return Err(ReloadError::Bad { digest: found });
    }
    let named = job.place.name.as_ref();
    let policy = |own: &str| InspectPolicy::of(&job.config, named, own);
    let inspected = artifact::inspect(staged, policy)?;
    let name = match named {
        Some(name) => name.clone(),
        None => AppName::try_from(inspected.manifest().name.as_str())?,
    };
    let said = job.place.mount.as_ref();
    let mount = job.config.mount_of(&name, said, job.place.alone);
    // Asked before any of its code runs.
    job.router.check_beside(&mount, &job.path, &job.beside)?;
    for warning in inspected.warnings() {
        tracing::warn!(app = name.as_str(), path = %job.path, "{warning}");
    }
    let linked = artifact::all_linked(inspected.staged_path(), job.path.as_path());
    let linked = linked.iter().map(|path| Tracked::file_or_directory(path));
    let globs = job.config.options_of(&name).track.iter();
    let globs = globs.filter_map(|glob| {
        // It was looked at when the configuration was read.
        let found = Tracked::glob(glob).inspect_err(|error| tracing::error!("{error}"));
        found.ok()
    });
    Ok(Artifact {
        tracked: linked.chain(globs).collect(),
        inspected,
        name,
        mount,
        digest: found,
        fingerprint,
    })
}

/// Opens it: its constructors run here.
pub(super) fn open(job: &Job, artifact: Artifact) -> Result<Opened, ReloadError> {
    let usage = Arc::new(usage(job, &artifact.name));
    let began = Instant::now();
    let before = Before::now();
    let staged = artifact.inspected.staged_path().to_owned();
    let loaded = loader::load(artifact.inspected, usage)?;
    Ok(Opened {
        loaded,
        staged,
        digest: artifact.digest,
        fingerprint: artifact.fingerprint,
        tracked: artifact.tracked,
        before,
        loaded_ms: ms(began),
    })
}

fn usage(job: &Job, name: &AppName) -> Usage {
    let Some(limit) = job.config.options_of(name).most_memory() else {
        return Usage::unlimited();
    };
    let (path, generation, sender) = (job.path.clone(), job.generation, job.sender.clone());
    Usage::limited(limit, move || {
        let path = path.clone();
        let _ = sender.send(Event::Exhausted { path, generation });
    })
}
