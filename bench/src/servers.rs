//! What is measured, built with the profile of this program, and started.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use replug_tests::{
    Host,
    cargo::{self, Built},
    host::Site,
};

/// The programs and libraries.
#[derive(Debug)]
pub struct Programs {
    /// The host.
    pub replug: PathBuf,
    /// The benchmark's app on axum's own server.
    pub native: PathBuf,
    /// What copies and opens a library, and nothing else.
    pub plain_load: PathBuf,
    /// The benchmark's app.
    pub payload: PathBuf,
    /// What measures allocators.
    pub allocator: PathBuf,
    /// The probe fixture.
    pub probe: PathBuf,
}

impl Programs {
    /// Builds them.
    ///
    /// # Panics
    /// When they do not compile.
    #[must_use]
    pub fn build() -> Self {
        let mut built = build(
            &["replug", "replug-bench"],
            &["bench-payload", "bench-allocator", "fixture-probe"],
        );
        let mut program = |name| built.programs.remove(name).expect("cargo has built it");
        let (replug, native) = (program("replug"), program("native"));
        let plain_load = program("plain-load");
        let mut library = |name| built.libraries.remove(name).expect("cargo has built it");
        let (payload, probe) = (library("bench_payload"), library("fixture_probe"));
        let allocator = library("bench_allocator");
        Self {
            replug,
            native,
            plain_load,
            payload,
            allocator,
            probe,
        }
    }

    /// A host that serves that library at `/`.
    pub async fn serve(&self, library: &Path, threads: usize, site: &Site) -> Host {
        self.serve_with(library, threads, site, &[]).await
    }

    /// The same with further arguments of `replug serve`.
    pub async fn serve_with(
        &self,
        library: &Path,
        threads: usize,
        site: &Site,
        more: &[String],
    ) -> Host {
        serve(&self.replug, library, threads, site, more).await
    }
}

/// Builds packages of programs, and packages of plugins.
///
/// # Panics
/// When they do not compile.
#[must_use]
pub fn build(programs: &[&str], plugins: &[&str]) -> Built {
    let target = cargo::target_dir();
    // Where people's own builds are, so that what cargo has built is not built again.
    let target = target
        .parent()
        .expect("the tests' folder is in the target folder");
    // Plugins apart from the host, as their authors build them: in one call they would get
    // all that the host wants of the crates they share.
    let build = |packages: &[&str]| {
        let mut args: Vec<&str> = packages
            .iter()
            .flat_map(|package| ["-p", package])
            .collect();
        if !cfg!(debug_assertions) {
            args.push("--release");
        }
        cargo::build(&cargo::workspace(), target, &args)
    };
    Built {
        programs: build(programs).programs,
        libraries: build(plugins).libraries,
    }
}

/// A host that serves that library at `/`, with further arguments of `replug serve`.
pub async fn serve(
    replug: &Path,
    library: &Path,
    threads: usize,
    site: &Site,
    more: &[String],
) -> Host {
    let staging = site.path().join("staging");
    let mut command = Command::new(replug);
    command
        .args([
            "serve",
            "--log-format",
            "json",
            "--listen",
            "127.0.0.1:0",
            "--threads",
        ])
        .arg(threads.to_string())
        .arg("--staging-dir")
        .arg(&staging)
        .arg("--control")
        .arg(site.control())
        .args(more)
        .arg(library);
    Host::spawn(command, Some(staging)).await
}

/// The same app on axum's own server; killed when dropped.
#[derive(Debug)]
pub struct Native {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl Native {
    /// Starts it, on a Unix socket if one is named, and waits until it listens.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(programs: &Programs, threads: usize, socket: Option<&Path>) -> Self {
        let mut command = Command::new(&programs.native);
        let mut child = command
            .arg(threads.to_string())
            .args(socket)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut address).unwrap();
        Self {
            child,
            address: address.trim().to_owned(),
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // It ends only so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
