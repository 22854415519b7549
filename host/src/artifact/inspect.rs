//! Judging a library without running any of it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

use object::ReadCache;
use replug_plugin::{
    abi::{ABI_MAJOR, PLUGIN_SYMBOL},
    manifest::{Manifest, ManifestError, PanicStrategy, SECTION},
};

use super::{
    elf::{FlagsWord, Library},
    kind::{FileKind, HEAD},
    manifest::host_target,
    refusal::{InspectError, Refusal},
    staging::Staged,
    warning::Warning,
};
use crate::{
    config::Config,
    id::{AppName, ArtifactPath},
};

/// What the operator allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InspectPolicy {
    /// Whether to take plugins built with `panic = "abort"`, where any panic ends the host.
    pub allow_panic_abort: bool,
}

impl InspectPolicy {
    /// What is allowed to the app of that name; without one, of the one that its manifest has.
    #[must_use]
    pub fn of(config: &Config, named: Option<&AppName>, own: &str) -> Self {
        let options = match named.cloned().or_else(|| AppName::try_from(own).ok()) {
            Some(name) => config.options_of(&name),
            None => &config.defaults,
        };
        Self {
            allow_panic_abort: options.allow_panic_abort,
        }
    }
}

/// An artifact that may be loaded: complete, of this host's architecture, and a plugin of its ABI.
#[derive(Debug)]
pub struct Inspected {
    staged: Staged,
    manifest: Manifest,
    dependencies: Vec<String>,
    warnings: Vec<Warning>,
}

impl Inspected {
    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The libraries it is linked to, as it names them.
    #[must_use]
    pub fn dependencies(&self) -> &[String] {
        &self.dependencies
    }

    /// What may make trouble later.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The private copy, the file to load; deleted when this is dropped.
    #[must_use]
    pub fn staged(&self) -> &Staged {
        &self.staged
    }

    /// The private copy's path.
    #[must_use]
    pub fn staged_path(&self) -> &Path {
        self.staged.path()
    }

    /// What it is a copy of.
    #[must_use]
    pub fn source(&self) -> &ArtifactPath {
        self.staged.source()
    }
}

/// Judges a private copy by what stands in it, and by what the operator allows an app of the name
/// that its manifest has. Reads its tables only, not all of it.
///
/// # Errors
/// When it is not to be loaded; the copy is deleted then.
pub fn inspect(
    staged: Staged,
    policy: impl Fn(&str) -> InspectPolicy,
) -> Result<Inspected, InspectError> {
    let mut findings = Findings::default();
    let verdict = File::open(staged.path())
        .map_err(Refusal::Unreadable)
        .and_then(|file| examine(&file, policy, &mut findings));
    let Findings {
        dependencies,
        warnings,
        no_delete,
        ..
    } = findings;
    let verdict = verdict.and_then(|manifest| {
        if let Some(flags) = no_delete.filter(|_| manifest.unload_safe) {
            clear(&staged, flags).map_err(Refusal::Unreadable)?;
        }
        Ok(manifest)
    });
    match verdict {
        Ok(manifest) => Ok(Inspected {
            staged,
            manifest,
            dependencies,
            warnings,
        }),
        Err(refusal) => Err(InspectError {
            path: staged.source().clone(),
            refusal,
        }),
    }
}

/// Takes the flag that pins a library out of its private copy: its author says that it can go, and
/// a toolchain may set it for every library (rust-lang/rust#158402).
fn clear(staged: &Staged, flags: FlagsWord) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(staged.path())?;
    file.write_all_at(&flags.cleared.to_ne_bytes(), flags.offset)
}

/// What was found out before the verdict; a report shows it even if that is a refusal.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) manifest: Option<Manifest>,
    pub(super) dependencies: Vec<String>,
    pub(super) warnings: Vec<Warning>,
    /// It is linked with `-z nodelete`.
    pub(super) no_delete: Option<FlagsWord>,
}

/// Takes the checks in the order in which a failed one makes the later ones meaningless.
pub(super) fn examine(
    file: &File,
    policy: impl Fn(&str) -> InspectPolicy,
    findings: &mut Findings,
) -> Result<Manifest, Refusal> {
    let kind = FileKind::of(&head_of(file)?);
    if kind != FileKind::Elf {
        return Err(Refusal::Kind(kind));
    }
    let cache = ReadCache::new(file);
    let library = Library::open(&cache)?;
    let dynamic = library.dynamic()?;
    let symbols = library.symbols(PLUGIN_SYMBOL)?;
    findings.no_delete = dynamic.no_delete;
    findings.warnings.extend(unique_symbols(&symbols.unique));
    let allocator = library.allocator()?;
    findings
        .warnings
        .extend(allocator.map(|name| Warning::Allocator { name }));
    findings.warnings.extend(dynamic_std(&dynamic.needed));
    findings.dependencies = dynamic.needed;

    let manifest = read_manifest(&library)?;
    findings.warnings.extend(of_manifest(&manifest));
    findings.manifest = Some(manifest.clone());
    if manifest.abi.0 != ABI_MAJOR {
        return Err(Refusal::Abi {
            found: manifest.abi,
        });
    }
    if !symbols.has_entry {
        return Err(Refusal::NoEntry);
    }
    if manifest.panic == PanicStrategy::Abort && !policy(&manifest.name).allow_panic_abort {
        return Err(Refusal::PanicAbort);
    }
    Ok(manifest)
}

fn head_of(file: &File) -> Result<Vec<u8>, Refusal> {
    use std::io::{Read, Seek};

    let mut head = Vec::with_capacity(HEAD);
    let mut reader = file;
    reader.rewind().map_err(Refusal::Unreadable)?;
    reader
        .take(HEAD as u64)
        .read_to_end(&mut head)
        .map_err(Refusal::Unreadable)?;
    Ok(head)
}

fn read_manifest(library: &Library<'_>) -> Result<Manifest, Refusal> {
    let bytes = library.manifest(SECTION)?.ok_or(Refusal::NoManifest)?;
    Manifest::parse(bytes).map_err(|error| match error {
        // A linker that maps its output fills it in any order.
        ManifestError::Magic if bytes.iter().all(|&byte| byte == 0) => Refusal::BlankManifest,
        error => Refusal::Manifest(error),
    })
}

fn unique_symbols(unique: &[String]) -> Option<Warning> {
    let example = unique
        .iter()
        .take(2)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    (!unique.is_empty()).then_some(Warning::UniqueSymbols {
        count: unique.len(),
        example,
    })
}

fn dynamic_std(needed: &[String]) -> Option<Warning> {
    let library = needed.iter().find(|name| name.starts_with("libstd-"))?;
    Some(Warning::DynamicStd {
        library: library.clone(),
    })
}

fn of_manifest(manifest: &Manifest) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if manifest.panic == PanicStrategy::Abort {
        warnings.push(Warning::PanicAbort);
    }
    if manifest.target != host_target() {
        let (plugin, host) = (manifest.target.clone(), host_target().to_owned());
        warnings.push(Warning::OtherTarget { plugin, host });
    }
    if !manifest.unload_safe {
        warnings.push(Warning::NotUnloadSafe);
    }
    warnings
}

#[cfg(test)]
mod tests;
