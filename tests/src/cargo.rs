//! Runs cargo.

use std::{
    collections::HashMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use cargo_metadata::{Message, TargetKind};

/// The files that a build made, by the name of their target.
#[derive(Debug, Default)]
pub struct Built {
    /// Programs.
    pub programs: HashMap<String, PathBuf>,
    /// Dynamic libraries.
    pub libraries: HashMap<String, PathBuf>,
}

/// The repository's top folder.
#[must_use]
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("tests/ stands in a folder")
        .to_owned()
}

/// Where the tests have their libraries built: not where people build theirs, so that no build
/// swaps a file under a running test, and without debug information, so that they are small.
///
/// # Panics
/// When the test program stands where cargo does not put test programs.
#[must_use]
pub fn target_dir() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // TARGET/debug/deps/TEST
    let profile = test
        .ancestors()
        .find(|path| ["debug", "release"].iter().any(|name| path.ends_with(name)));
    let target = profile
        .and_then(Path::parent)
        .expect("a test program of cargo's");
    target.join("tests")
}

/// Runs `cargo build` with those arguments in that folder.
///
/// # Panics
/// When it fails; cargo has then said why on standard error.
#[must_use]
pub fn build(folder: &Path, target_dir: &Path, args: &[&str]) -> Built {
    let output = command(folder, target_dir)
        .args(["build", "--message-format=json-render-diagnostics"])
        .args(args)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo build {args:?} failed");
    let mut built = Built::default();
    for message in Message::parse_stream(&output.stdout[..]) {
        let Message::CompilerArtifact(artifact) = message.unwrap() else {
            continue;
        };
        if let Some(program) = artifact.executable {
            built.programs.insert(artifact.target.name, program.into());
        } else if artifact.target.kind.contains(&TargetKind::CDyLib) {
            let library = artifact
                .filenames
                .into_iter()
                .find(|f| f.extension() == Some("so"));
            let library = library.expect("a cdylib is a .so here");
            built.libraries.insert(artifact.target.name, library.into());
        }
    }
    built
}

/// Cargo, as the tests run it.
#[must_use]
pub fn command(folder: &Path, target_dir: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target_dir)
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_PROFILE_DEV_STRIP", "debuginfo")
        .env("CARGO_INCREMENTAL", "0");
    command
}
