//! What a manifest says, for people and programs that read a report.

use std::sync::LazyLock;

use replug_plugin::manifest::{self, Manifest, PanicStrategy};
use serde::Serialize;

/// The target triple that this host was built for.
#[must_use]
pub fn host_target() -> &'static str {
    // The host is built with the same `replug-plugin`, whose own manifest text knows it.
    static TARGET: LazyLock<String> = LazyLock::new(|| {
        let text = manifest::Options::new("host", "0").parts().concat();
        Manifest::parse(text.as_bytes())
            .map(|it| it.target)
            .unwrap_or_default()
    });
    &TARGET
}

/// A manifest as a report shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ManifestReport {
    /// The app's default name.
    pub name: String,
    /// The package's version.
    pub version: String,
    /// ABI version, `MAJOR.MINOR`.
    pub abi: String,
    /// What `rustc --version` printed.
    pub rustc: String,
    /// The target triple.
    pub target: String,
    /// `unwind` or `abort`.
    pub panic: String,
    /// Whether it may be unmapped.
    pub unload_safe: bool,
    /// Whether its memory is of the generation's heap.
    pub heap: bool,
}

impl From<Manifest> for ManifestReport {
    fn from(manifest: Manifest) -> Self {
        let Manifest {
            name,
            version,
            abi,
            rustc,
            target,
            panic,
            unload_safe,
            heap,
        } = manifest;
        let panic = match panic {
            PanicStrategy::Unwind => "unwind",
            PanicStrategy::Abort => "abort",
        };
        Self {
            name,
            version,
            abi: format!("{}.{}", abi.0, abi.1),
            rustc,
            target,
            panic: panic.to_owned(),
            unload_safe,
            heap,
        }
    }
}
