//! The program and the libraries under test, built once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use crate::{
    cargo::{self, Built},
    deploy::Artifact,
};

/// The plugins. They are built in one call, so that all tests have the same files, and not in the
/// host's: cargo gives each dependency the features that any package of a call wants, and the
/// host's tokio has what a plugin's had better not have (signals: two descriptors a reload).
pub const PLUGINS: &[&str] = &[
    "hello",
    "counter",
    "streaming",
    "chat",
    "todo",
    "grpc",
    "fixture-probe",
    "fixture-axum07",
    "fixture-tower",
    "fixture-no-manifest",
    "fixture-leaver",
];

/// Plugins that want features of a dependency that the others had better not have. Each is built
/// in a call of its own.
pub const PLUGINS_APART: &[&str] = &["fixture-signals"];

static BUILT: LazyLock<Built> = LazyLock::new(|| {
    let build = |packages: &[&str]| {
        let args: Vec<&str> = packages
            .iter()
            .flat_map(|package| ["-p", package])
            .collect();
        cargo::build(&cargo::workspace(), &cargo::target_dir(), &args)
    };
    let mut programs = build_host().programs;
    programs.extend(build(&["fixture-embedder"]).programs);
    let mut libraries = build(PLUGINS).libraries;
    for package in PLUGINS_APART {
        libraries.extend(build(&[package]).libraries);
    }
    Built {
        programs,
        libraries,
    }
});

/// With the features that `REPLUG_TEST_FEATURES` names, if it does.
fn build_host() -> Built {
    let features = std::env::var("REPLUG_TEST_FEATURES").unwrap_or_default();
    let args = ["-p", "replug", "--features", &features];
    cargo::build(&cargo::workspace(), &cargo::target_dir(), &args)
}

/// The `replug` program.
///
/// # Panics
/// When it does not compile.
#[must_use]
pub fn replug() -> &'static Path {
    &BUILT.programs["replug"]
}

/// A copy of it, which can be executed at once. Another process makes it: a file that is written here
/// may be open in a child that another test starts meanwhile, and is busy then.
///
/// # Panics
/// When it cannot be made.
pub fn copy_replug(to: &Path) {
    let copied = Command::new("cp").arg(replug()).arg(to).status().unwrap();
    assert!(copied.success(), "cannot copy to {}", to.display());
}

/// A program that embeds the host without exporting the process hooks.
///
/// # Panics
/// When it does not compile.
#[must_use]
pub fn embedder() -> &'static Path {
    &BUILT.programs["fixture-embedder"]
}

/// The library of a package.
///
/// # Panics
/// When it does not compile, or is none of [`PLUGINS`] and [`PLUGINS_APART`].
#[must_use]
pub fn path(package: &str) -> &'static Path {
    &BUILT.libraries[&package.replace('-', "_")]
}

/// The bytes of a package's library.
///
/// # Panics
/// When they cannot be read.
#[must_use]
pub fn library(package: &str) -> Artifact {
    Artifact::new(fs::read(path(package)).unwrap())
}

/// The probe fixture, made to call itself that version.
#[must_use]
pub fn probe(version: u64) -> Artifact {
    static PROBE: LazyLock<Artifact> = LazyLock::new(|| {
        // Looks for the marker once, for all versions.
        library("fixture-probe").with_version(1)
    });
    PROBE.with_version(version)
}

/// The plugin that is written in C, linked to a library beside it whose text it answers with.
#[must_use]
pub fn linked_plugin() -> Artifact {
    let (_, dir) = linked_library("hello from 0\n");
    let dir = dir.path().to_str().expect("UTF-8");
    compile(
        "cc",
        &[
            "-std=c11",
            "-DLINKED",
            "plain.c",
            "-L",
            dir,
            "-llinked",
            "-Wl,-rpath,$ORIGIN/../lib",
        ],
    )
}

/// What that is linked to, with a text of 13 bytes. It is to be put in `lib`, beside the plugin's
/// folder, as `liblinked.so`.
#[must_use]
pub fn linked_to(text: &str) -> Artifact {
    linked_library(text).0
}

fn linked_library(text: &str) -> (Artifact, tempfile::TempDir) {
    assert_eq!(text.len(), 13, "as content-length says");
    let text = format!("-DTEXT={text:?}");
    let args = ["-std=c11", &text, "-Wl,-soname,liblinked.so", "linked.c"];
    let library = compile("cc", &args);
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("liblinked.so"), library.bytes()).expect("room");
    (library, dir)
}

/// The plugin that is written in C.
#[must_use]
pub fn c_plugin() -> Artifact {
    static PLAIN: LazyLock<Artifact> = LazyLock::new(|| compile("cc", &["-std=c11", "plain.c"]));
    PLAIN.clone()
}

/// A plugin in C that asks its host for nonsense. `oddity`: what is odd about it besides; see
/// `tests/c/odd.c`.
#[must_use]
pub fn odd_plugin(oddity: &str) -> Artifact {
    let oddity = format!("-D{oddity}");
    compile("cc", &["-std=gnu11", "-pthread", &oddity, "odd.c"])
}

/// The same with a part in C++ that has unique symbols. Linked without rustc, which exports no
/// symbols from a `cdylib` but Rust's own.
#[must_use]
pub fn cpp_plugin() -> Artifact {
    static UNIQUE: LazyLock<Artifact> = LazyLock::new(|| {
        let files = ["-x", "c", "plain.c", "-x", "c++", "unique.cc"];
        compile("g++", &[&["-fgnu-unique"], &files[..]].concat())
    });
    UNIQUE.clone()
}

/// The same with a thread that the C++ library has started for it.
#[must_use]
pub fn cpp_plugin_with_a_thread() -> Artifact {
    let files = ["-x", "c", "plain.c", "-x", "c++", "thread.cc"];
    compile(
        "g++",
        &[&["-fno-gnu-unique", "-pthread"], &files[..]].concat(),
    )
}

/// Makes a library of files of `tests/c`.
fn compile(compiler: &str, args: &[&str]) -> Artifact {
    let folder = tempfile::tempdir().unwrap();
    let (top, library) = (cargo::workspace(), folder.path().join("library.so"));
    let status = Command::new(compiler)
        .current_dir(top.join("tests/c"))
        .args(["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I"])
        .arg(top.join("plugin-api/include"))
        .arg("-o")
        .arg(&library)
        .args(args)
        .status();
    let status = status.unwrap_or_else(|error| panic!("a compiler named {compiler}: {error}"));
    assert!(status.success(), "{compiler} {args:?} failed");
    Artifact::new(fs::read(library).unwrap())
}

/// All that is built, as `name path` lines; for people and scripts.
#[must_use]
pub fn list() -> Vec<(String, PathBuf)> {
    let files = BUILT.programs.iter().chain(&BUILT.libraries);
    let mut files: Vec<_> = files
        .map(|(name, path)| (name.clone(), path.clone()))
        .collect();
    files.sort();
    files
}
