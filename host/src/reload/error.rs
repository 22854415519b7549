//! Why an artifact was not taken.

use std::{io, time::Duration};

use crate::{
    artifact::{InspectError, StageError},
    id::{AppName, ArtifactPath, Digest, GenerationId, GroupName, NameError},
    loader::{LoadError, SetupError},
    registry::RegisterError,
    router::MountTaken,
};

/// Why an artifact was not taken. What served before it serves on.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It could not be copied.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// Its file says that it is no plugin for this host.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// Its name cannot be an app's.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Another app has its mount.
    #[error(transparent)]
    Mount(#[from] MountTaken),
    /// It could not be opened.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its setup failed.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Its setup took too long.
    #[error("its setup did not end within {limit:?}")]
    SetupTimeout {
        /// The limit.
        limit: Duration,
    },
    /// The system gives no thread.
    #[error("cannot start a thread for it: {0}")]
    Thread(io::Error),
    /// A thread of the host's ended without a word.
    #[error("the host failed while it loaded it")]
    Internal,
    /// Too many old generations of the app stay loaded.
    #[error("old generations of it stay loaded ({count} by now): {reason}")]
    Quarantined {
        /// How many.
        count: usize,
        /// Why the newest of them does.
        reason: String,
    },
    /// It was rolled back before.
    #[error("{} was rolled back, and is not tried again", digest.short())]
    Bad {
        /// Its digest.
        digest: Digest,
    },
    /// The copy is not there that is to be loaded again.
    #[error("no copy of {} is kept", digest.short())]
    NotKept {
        /// Its digest.
        digest: Digest,
    },
    /// It did not answer its probe as it should.
    #[error("its probe {path} {reason}")]
    Probe {
        /// What was asked for.
        path: String,
        /// What came of it.
        reason: String,
    },
    /// What it registers another app has.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The workers of its group did not become ready.
    #[error("group `{group}`: {reason}")]
    Workers {
        /// The group.
        group: GroupName,
        /// Why.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// The one before could not save its state.
    #[error("the generation before it did not hand over its state: {0}")]
    State(String),
    /// It was removed, or the host is about to end.
    #[error("it is not wanted any more")]
    CalledOff,
    /// The file is the very one that serves already; nothing is to be done.
    #[error("it serves already")]
    Unchanged,
}

impl ReloadError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Stage(error) => error.remedy().to_string(),
            Self::Inspect(error) => error.remedy().to_string(),
            Self::Name(_) => "name it with letters, digits, `-`, `_` and `.` only: \
                              export_app!(app, name = \"…\")"
                .to_owned(),
            Self::Mount(_) => "give one of the two another mount, PATH=/MOUNT, or another name, \
                               export_app!(app, name = \"…\")"
                .to_owned(),
            Self::Load(error) => error.remedy().to_owned(),
            Self::Setup(SetupError::Failed(_)) => {
                "mend what the message names; the file is tried again when it changes".to_owned()
            }
            Self::Setup(SetupError::Panicked(_)) => {
                "mend the setup function, or let it return an error; the file is tried again when \
                 it changes"
                    .to_owned()
            }
            Self::SetupTimeout { .. } => "start what takes long in a task of its own, or allow \
                                          more with --setup-timeout; the file is tried again when \
                                          it changes"
                .to_owned(),
            Self::Quarantined { .. } => {
                "end what keeps them; the file is tried again then. `replug \
                                         reload NAME --force` loads it all the same, and \
                                         --max-quarantined allows more. An app that cannot be \
                                         unloaded belongs into a process group (daemon mode), \
                                         where a reload is a new process"
                    .to_owned()
            }
            Self::Thread(_) => {
                "raise the limit of threads (ulimit -u), or lower the load".to_owned()
            }
            Self::Bad { .. } => "deploy another, or load it with `replug reload`".to_owned(),
            Self::NotKept { .. } => "deploy it again".to_owned(),
            Self::Probe { .. } => "let it answer with 2xx when it is ready to serve, in the time \
                                   that `probe-timeout` gives; the file is tried again when it \
                                   changes"
                .to_owned(),
            Self::Register(_) => {
                "let the two apps register different keys, or the same value; the \
                                  file is tried again when it changes"
                    .to_owned()
            }
            Self::Workers { remedy, .. } => remedy.clone(),
            Self::State(_) => "mend what saves it, or give it more time (`cleanup-timeout`) or \
                               room (`state-limit`); the file is tried again when it changes"
                .to_owned(),
            Self::Internal | Self::Unchanged | Self::CalledOff => {
                "the log before this line says more".to_owned()
            }
        }
    }

    /// Whether the file may be in the middle of being written or replaced.
    pub(super) fn maybe_incomplete(&self) -> bool {
        match self {
            Self::Stage(error) => error.maybe_incomplete(),
            Self::Inspect(error) => error.maybe_incomplete(),
            _ => false,
        }
    }

    /// Says so in the log.
    pub(super) fn log(
        &self,
        path: &ArtifactPath,
        app: Option<&AppName>,
        serving: Option<GenerationId>,
    ) {
        let serves = match (app, serving) {
            (Some(app), Some(generation)) => {
                format!("; {app} generation {generation} keeps serving")
            }
            _ => String::new(),
        };
        tracing::error!(
            event = "refused",
            app = app.map(AppName::as_str),
            path = %path,
            reason = %self,
            remedy = self.remedy(),
            "refused {path}{serves}",
        );
    }
}
