//! Real libraries for tests, made by the C compiler.

use std::{fs, path::PathBuf, process::Command};

use replug_plugin::{
    abi::{ABI_MAJOR, ABI_MINOR, PLUGIN_SYMBOL},
    manifest::MAGIC,
};
use tempfile::TempDir;

use super::manifest::host_target;

/// A directory with what was made in it.
pub(super) struct Sample {
    pub(super) dir: TempDir,
}

impl Sample {
    pub(super) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Compiles `source` to a file.
    pub(super) fn compile(&self, name: &str, source: &str, flags: &[&str]) -> PathBuf {
        let (input, output) = (self.dir.path().join("sample.c"), self.dir.path().join(name));
        fs::write(&input, source).unwrap();
        let done = Command::new("cc")
            .args(["-fPIC", "-w", "-o"])
            .arg(&output)
            .arg(&input)
            .args(flags)
            .output()
            .expect("these tests need a C compiler");
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        output
    }

    /// A library with that manifest.
    pub(super) fn plugin(&self, manifest: &str) -> PathBuf {
        self.compile("libsample.so", &source(manifest), &["-shared", "-nostdlib"])
    }
}

/// A manifest that this host accepts.
pub(super) fn manifest() -> String {
    format!(
        "{MAGIC}name=sample\nversion=0.1.0\nabi={ABI_MAJOR}.{ABI_MINOR}\nrustc=rustc 1.95.0\n\
         target={}\npanic=unwind\nunload-safe=true\n",
        host_target(),
    )
}

/// A plugin's source in C.
pub(super) fn source(manifest: &str) -> String {
    let bytes: String = manifest.bytes().map(|byte| format!("{byte},")).collect();
    format!(
        "__attribute__((section(\".replug\"), used)) const char m[] = {{{bytes}}};\n\
         const long {PLUGIN_SYMBOL}[8] = {{64}};\n"
    )
}
