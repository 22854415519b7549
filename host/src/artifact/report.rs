//! What `replug inspect FILE` tells about a file.

use std::{fmt, fs::File, path::Path};

use replug_plugin::abi::{ABI_MAJOR, ABI_MINOR};
use serde::Serialize;

use super::{
    inspect::{Findings, InspectPolicy, examine},
    manifest::ManifestReport,
    open::{OpenError, open},
    refusal::Refusal,
    warning::Warning,
};
use crate::id::{ArtifactPath, ArtifactPathError, Digest};

/// All that can be told about a file without running any of it.
///
/// Shown, it is lines for people, the last one ended too.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The file.
    pub path: ArtifactPath,
    /// Its length in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
    /// Whether the host would load it.
    pub verdict: Verdict,
    /// What it says of itself, if it does.
    pub manifest: Option<ManifestReport>,
    /// The ABI that this host speaks, `MAJOR.MINOR`.
    pub host_abi: String,
    /// The libraries it is linked to.
    pub dependencies: Vec<String>,
    /// Whether it is linked with `-z nodelete`. The host takes that flag out of its copy, if the
    /// manifest says that the library can be unloaded.
    pub no_delete: bool,
    /// What may make trouble later.
    pub warnings: Vec<Warning>,
}

/// Whether the host would load a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// It would.
    Accepted,
    /// It would not.
    Refused {
        /// Why, as a sentence that begins with "it".
        reason: String,
        /// What to do about it.
        remedy: String,
    },
}

/// Why there is nothing to tell about a file.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Its name is no path.
    #[error(transparent)]
    Path(#[from] ArtifactPathError),
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl ReportError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Path(_) => "name a file by its path",
            Self::Open(error) => error.remedy(),
        }
    }
}

impl Report {
    /// Whether the host would load the file.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.verdict == Verdict::Accepted
    }
}

/// Looks at a file where it is, by the rules of a host that allows nothing out of the ordinary.
///
/// # Errors
/// When there is no file to look at. A file that would be refused is not an error.
pub fn inspect_file(path: impl AsRef<Path>) -> Result<Report, ReportError> {
    inspect_file_by(path, |_| InspectPolicy::default())
}

/// The same by the rules of a host that allows what `policy` says.
///
/// # Errors
/// As there.
pub fn inspect_file_by(
    path: impl AsRef<Path>,
    policy: impl Fn(&str) -> InspectPolicy,
) -> Result<Report, ReportError> {
    let path = ArtifactPath::new(path)?;
    let file = open(&path)?;
    let unreadable = |reason| OpenError::Unreadable {
        path: path.clone(),
        reason,
    };
    let digest = digest_of(&file).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let mut findings = Findings::default();
    let verdict = match examine(&file, policy, &mut findings) {
        Ok(_) => Verdict::Accepted,
        Err(refusal) => refused(&refusal),
    };
    Ok(Report {
        path,
        size,
        digest,
        verdict,
        manifest: findings.manifest.map(ManifestReport::from),
        host_abi: format!("{ABI_MAJOR}.{ABI_MINOR}"),
        dependencies: findings.dependencies,
        no_delete: findings.no_delete.is_some(),
        warnings: findings.warnings,
    })
}

fn refused(refusal: &Refusal) -> Verdict {
    Verdict::Refused {
        reason: format!("it {refusal}"),
        remedy: refusal.remedy().to_owned(),
    }
}

fn digest_of(file: &File) -> std::io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(hasher.finalize().into())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self
            .path
            .as_path()
            .file_name()
            .map(|name| name.to_string_lossy());
        let title = match &self.manifest {
            Some(manifest) => format!("{} {}", manifest.name, manifest.version),
            None => file.unwrap_or_default().into_owned(),
        };
        let mut line = |key: &str, value: &dyn fmt::Display| writeln!(f, "  {key:<12}{value}");
        match &self.verdict {
            Verdict::Accepted => line("accepted", &title)?,
            Verdict::Refused { reason, remedy } => {
                line("refused", &title)?;
                line("reason", reason)?;
                line("remedy", remedy)?;
            }
        }
        line("file", &self.path)?;
        line("size", &Size(self.size))?;
        line("blake3", &self.digest)?;
        if let Some(manifest) = &self.manifest {
            line(
                "abi",
                &format_args!("{} (this host: {})", manifest.abi, self.host_abi),
            )?;
            line("target", &manifest.target)?;
            if !manifest.rustc.is_empty() {
                line("compiler", &manifest.rustc)?;
            }
            line("panic", &manifest.panic)?;
            let unloads = match (manifest.unload_safe, self.no_delete) {
                (false, _) => "no",
                (true, false) => "yes",
                (true, true) => {
                    "yes (linked with -z nodelete, which is cleared in the host's copy)"
                }
            };
            line("unloads", &unloads)?;
            let heap = if manifest.heap {
                "the generation's (freed whole at unloading)"
            } else {
                "its own (what statics hold is lost at each reload)"
            };
            line("memory", &heap)?;
        }
        if !self.dependencies.is_empty() {
            line("needs", &self.dependencies.join(", "))?;
        }
        self.warnings
            .iter()
            .try_for_each(|warning| line("warning", warning))
    }
}

/// Bytes, for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
        let bytes = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} bytes", self.0),
            1_000..1_000_000 => write!(f, "{:.1} kB", bytes / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB", bytes / 1e6),
            _ => write!(f, "{:.1} GB", bytes / 1e9),
        }
    }
}

#[cfg(test)]
mod tests;
