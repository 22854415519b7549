//! Why a file is not loaded.

use std::io;

use replug_plugin::{
    abi::{ABI_MAJOR, PLUGIN_SYMBOL},
    manifest::ManifestError,
};

use super::kind::FileKind;
use crate::id::ArtifactPath;

/// Why an artifact was refused, with its name.
#[derive(Debug, thiserror::Error)]
#[error("{path} {refusal}")]
pub struct InspectError {
    /// The artifact, as the operator named it.
    pub path: ArtifactPath,
    /// What is wrong with it.
    pub refusal: Refusal,
}

impl InspectError {
    /// As [`Refusal::maybe_incomplete`].
    #[must_use]
    pub fn maybe_incomplete(&self) -> bool {
        self.refusal.maybe_incomplete()
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        self.refusal.remedy()
    }
}

/// What is wrong with a file; each text goes on after the file's name.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The bytes could not be read.
    #[error("could not be read to its end: {0}")]
    Unreadable(io::Error),
    /// It is no ELF file.
    #[error("is {0}, not a dynamic library")]
    Kind(FileKind),
    /// It was built for another sort of processor.
    #[error("is built for {found}, and this host runs on {host}")]
    Architecture {
        /// What it was built for.
        found: String,
        /// What the host was built for.
        host: &'static str,
    },
    /// It is in ELF, and no dynamic library.
    #[error("is {0}, not a dynamic library")]
    NotALibrary(&'static str),
    /// A part of it lies beyond its end.
    #[error("is cut short: its {part} ends at byte {end}, and the file at {size}")]
    CutShort {
        /// Which part.
        part: String,
        /// Where that part ends.
        end: u64,
        /// The file's length.
        size: u64,
    },
    /// Its tables contradict themselves.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// It does not say that it is a plugin.
    #[error("has no Replug manifest: it was built without export_app!")]
    NoManifest,
    /// What it says of itself cannot be read.
    #[error("has a manifest that cannot be read: {0}")]
    Manifest(ManifestError),
    /// Its manifest's place in the file is not written yet.
    #[error("has zeros where its manifest should be")]
    BlankManifest,
    /// It was built against an ABI of another major version.
    #[error("speaks plugin ABI {}.{}, and this host speaks {ABI_MAJOR}.x", found.0, found.1)]
    Abi {
        /// Its major and minor version.
        found: (u16, u16),
    },
    /// It does not export the plugin table.
    #[error("has a manifest and does not export `{PLUGIN_SYMBOL}`")]
    NoEntry,
    /// Any panic in it would end the host.
    #[error("is built with panic = \"abort\": any panic in it would end the host")]
    PanicAbort,
}

impl Refusal {
    /// Whether the file may still be being written, so that the watcher's next event is worth
    /// waiting for before anyone is told.
    #[must_use]
    pub fn maybe_incomplete(&self) -> bool {
        match self {
            Self::CutShort { .. } | Self::Damaged(_) | Self::BlankManifest => true,
            Self::Kind(kind) => matches!(kind, FileKind::Zeros | FileKind::ElfBeginning),
            Self::Unreadable(_)
            | Self::Architecture { .. }
            | Self::NotALibrary(_)
            | Self::NoManifest
            | Self::Manifest(_)
            | Self::Abi { .. }
            | Self::NoEntry
            | Self::PanicAbort => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "check the disk it is on",
            Self::Kind(kind) => kind.remedy(),
            Self::Architecture { .. } => {
                "build it on this machine, or with --target for this machine"
            }
            Self::NotALibrary(_) => {
                "set crate-type = [\"cdylib\"] under [lib] in its Cargo.toml, and name the .so file"
            }
            Self::CutShort { .. } | Self::BlankManifest => {
                "copy it again; it is taken when it is complete"
            }
            Self::Damaged(_) => "build it again, and do not change the file afterwards",
            Self::NoManifest => {
                "call replug_plugin::export_app!(app) in its lib.rs; in a workspace, name the \
                 plugin's own library"
            }
            Self::Manifest(_) | Self::NoEntry => {
                "rebuild it with the replug-plugin crate of this host's version"
            }
            Self::Abi { found } if found.0 > ABI_MAJOR => {
                "update replug, or rebuild it with the replug-plugin crate of this host's version"
            }
            Self::Abi { .. } => "rebuild it with the replug-plugin crate of this host's version",
            Self::PanicAbort => {
                "remove panic = \"abort\" from its profile in Cargo.toml, or allow it: \
                 allow-panic-abort = true"
            }
        }
    }
}
