//! What is measured, built with the profile of this program, and started.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use replug_tests::{Host, cargo, host::Site};

/// The programs and libraries.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) replug: PathBuf,
    pub(crate) native: PathBuf,
    pub(crate) plain_load: PathBuf,
    pub(crate) payload: PathBuf,
    pub(crate) probe: PathBuf,
}

impl Programs {
    pub(crate) fn build() -> Self {
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
        let mut programs = build(&["replug", "replug-bench"]).programs;
        let mut libraries = build(&["bench-payload", "fixture-probe"]).libraries;
        let mut program = |name| programs.remove(name).expect("cargo has built it");
        let (replug, native) = (program("replug"), program("native"));
        let plain_load = program("plain-load");
        let mut library = |name| libraries.remove(name).expect("cargo has built it");
        let (payload, probe) = (library("bench_payload"), library("fixture_probe"));
        Self {
            replug,
            native,
            plain_load,
            payload,
            probe,
        }
    }

    /// A host that serves that library at `/`.
    pub(crate) async fn serve(&self, library: &Path, threads: usize, site: &Site) -> Host {
        let staging = site.path().join("staging");
        let mut command = Command::new(&self.replug);
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
            .args(["--control", "none"])
            .arg(library);
        Host::spawn(command, Some(staging)).await
    }
}

/// The same app on axum's own server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Native {
    child: Child,
    pub(crate) address: String,
}

impl Native {
    pub(crate) fn start(programs: &Programs, threads: usize) -> Self {
        let mut command = Command::new(&programs.native);
        let mut child = command
            .arg(threads.to_string())
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
