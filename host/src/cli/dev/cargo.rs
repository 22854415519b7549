//! Cargo: which package is the plugin, and building it.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Instant, SystemTime},
};

use cargo_metadata::{CrateType, Message, MetadataCommand, Package};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// A plugin's package.
#[derive(Clone, Debug)]
pub(super) struct Project {
    pub(super) dir: PathBuf,
    pub(super) package: String,
    /// Manifests and the lock file: a build depends on them, too.
    pub(super) manifests: Vec<PathBuf>,
    target: String,
    cargo_args: Vec<String>,
}

/// Why there is nothing to build.
#[derive(Debug, thiserror::Error)]
pub(super) enum CargoError {
    #[error("{} is not a directory", .0.display())]
    NoDirectory(PathBuf),
    #[error("cargo cannot read the project in {}: {reason}", dir.display())]
    Metadata { dir: PathBuf, reason: String },
    #[error("no package in {} is a plugin: none has the crate type `cdylib`", .0.display())]
    NoPlugin(PathBuf),
    #[error("{} has several plugins: {}", dir.display(), names.join(", "))]
    Several { dir: PathBuf, names: Vec<String> },
    #[error("{} has no plugin named `{name}`; it has: {}", dir.display(), names.join(", "))]
    Unknown {
        dir: PathBuf,
        name: String,
        names: Vec<String>,
    },
    #[error("cannot run cargo: {0}")]
    Run(io::Error),
    #[error("cargo built `{0}`, but named no library of it")]
    NoArtifact(String),
}

impl CargoError {
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::NoDirectory(_) => "name the directory that has the plugin's Cargo.toml",
            Self::Metadata { .. } => "mend what cargo names",
            Self::NoPlugin(_) => "add to its Cargo.toml: [lib] crate-type = [\"cdylib\"]",
            Self::Several { .. } | Self::Unknown { .. } => "name one with --package",
            Self::Run(_) => "install Rust from https://rustup.rs, or set CARGO to its path",
            Self::NoArtifact(_) => "check the crate types in its Cargo.toml",
        }
    }
}

fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

fn cdylib_name(package: &Package) -> Option<String> {
    let is_cdylib = |kinds: &[CrateType]| kinds.contains(&CrateType::CDyLib);
    package
        .targets
        .iter()
        .find(|t| is_cdylib(&t.crate_types))
        .map(|t| t.name.clone())
}

impl Project {
    pub(super) fn find(
        dir: &Path,
        wanted: Option<&str>,
        cargo_args: Vec<String>,
    ) -> Result<Self, CargoError> {
        let found = dir.canonicalize().ok().filter(|dir| dir.is_dir());
        let dir = found.ok_or_else(|| CargoError::NoDirectory(dir.to_owned()))?;
        let metadata = MetadataCommand::new()
            .cargo_path(cargo())
            .current_dir(&dir)
            .no_deps()
            .exec()
            .map_err(|error| CargoError::Metadata {
                dir: dir.clone(),
                reason: reason(&error),
            })?;
        let plugins: Vec<(&Package, String)> = metadata
            .packages
            .iter()
            .filter_map(|package| Some((package, cdylib_name(package)?)))
            .collect();
        let names = || {
            plugins
                .iter()
                .map(|(package, _)| package.name.to_string())
                .collect()
        };
        let here = |package: &Package| package.manifest_path.parent().is_some_and(|p| p == dir);
        let chosen = match wanted {
            Some(name) => plugins
                .iter()
                .find(|(package, _)| package.name == name)
                .ok_or_else(|| CargoError::Unknown {
                    dir: dir.clone(),
                    name: name.to_owned(),
                    names: names(),
                })?,
            None => match (
                plugins.iter().find(|(package, _)| here(package)),
                &plugins[..],
            ) {
                (Some(plugin), _) => plugin,
                (None, []) => return Err(CargoError::NoPlugin(dir)),
                (None, [only]) if metadata.workspace_root == dir => only,
                (None, _) => {
                    return Err(CargoError::Several {
                        dir,
                        names: names(),
                    });
                }
            },
        };
        let (package, target) = chosen;
        let root = metadata.workspace_root.as_std_path();
        let mut manifests = vec![
            package.manifest_path.clone().into_std_path_buf(),
            root.join("Cargo.toml"),
            root.join("Cargo.lock"),
            root.join(".cargo/config.toml"),
        ];
        add_dependencies(package, &metadata.packages, &mut manifests);
        Ok(Self {
            dir,
            package: package.name.to_string(),
            manifests,
            target: target.clone(),
            cargo_args,
        })
    }
}

/// The manifests of what a package depends on by its path, and of what that depends on.
fn add_dependencies(package: &Package, all: &[Package], manifests: &mut Vec<PathBuf>) {
    for dir in package
        .dependencies
        .iter()
        .filter_map(|it| it.path.as_ref())
    {
        let manifest = dir.join("Cargo.toml");
        if manifests.iter().any(|known| *known == manifest) {
            continue;
        }
        manifests.push(manifest.clone().into_std_path_buf());
        if let Some(next) = all.iter().find(|it| it.manifest_path == manifest) {
            add_dependencies(next, all, manifests);
        }
    }
}

fn reason(error: &cargo_metadata::Error) -> String {
    match error {
        cargo_metadata::Error::CargoMetadata { stderr } => stderr.trim().to_owned(),
        other => other.to_string(),
    }
}

/// What a build came to.
#[derive(Debug)]
pub(super) enum Built {
    Artifact(PathBuf),
    /// Cargo has said why.
    Failed,
}

/// A running `cargo build`.
#[derive(Debug)]
pub(super) struct Build<'a> {
    project: &'a Project,
    child: Child,
    /// What is changed later may not be in it.
    pub(super) began: SystemTime,
    clock: Instant,
}

impl<'a> Build<'a> {
    /// Its progress and diagnostics go to standard error as cargo writes them.
    pub(super) fn start(project: &'a Project) -> Result<Self, CargoError> {
        let (began, clock) = (SystemTime::now(), Instant::now());
        let child = Command::new(cargo())
            .args([
                "build",
                "--message-format=json-render-diagnostics",
                "--package",
            ])
            .arg(&project.package)
            .args(&project.cargo_args)
            .current_dir(&project.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(CargoError::Run)?;
        Ok(Self {
            project,
            child,
            began,
            clock,
        })
    }

    pub(super) async fn finish(&mut self) -> Result<Built, CargoError> {
        let mut artifact = None;
        if let Some(stdout) = self.child.stdout.take() {
            let mut lines = BufReader::new(stdout).lines();
            while let Some(line) = lines.next_line().await.map_err(CargoError::Run)? {
                // Lines that are no messages are what build scripts and macros print.
                if let Ok(Message::CompilerArtifact(made)) = serde_json::from_str(&line)
                    && made.target.name == self.project.target
                    && made.target.crate_types.contains(&CrateType::CDyLib)
                {
                    let library = |path: &&cargo_metadata::camino::Utf8PathBuf| {
                        path.extension() == Some(env::consts::DLL_EXTENSION)
                    };
                    artifact = made.filenames.iter().find(library).cloned().or(artifact);
                }
            }
        }
        let status = self.child.wait().await.map_err(CargoError::Run)?;
        if !status.success() {
            return Ok(Built::Failed);
        }
        let artifact =
            artifact.ok_or_else(|| CargoError::NoArtifact(self.project.package.clone()))?;
        tracing::info!(
            event = "built",
            path = %artifact,
            seconds = (self.clock.elapsed().as_secs_f64() * 100.0).round() / 100.0,
            "built {}",
            self.project.package,
        );
        Ok(Built::Artifact(artifact.into_std_path_buf()))
    }

    /// Ends it; what it has compiled so far is kept by cargo.
    pub(super) async fn cancel(&mut self) {
        let _ = self.child.kill().await;
    }
}
