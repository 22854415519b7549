//! The apps that can be soaked.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use replug_tests::deploy::Artifact;

/// An app, and with it what its clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum App {
    /// GET /
    Hello,
    /// POST / counts, GET / reads
    Counter,
    /// GET / and a WebSocket: in, said, heard, out
    Chat,
    /// A unary call over HTTP/2
    Grpc,
    /// An item of the SQLite list: added, found, removed
    Todo,
    /// A download of 200 kB and an echo
    Streaming,
    /// GET /mixed of the tests' probe, which tells its version
    Probe,
    /// The probe with all that an app can ask of the host: it counts, hands the count on at each
    /// reload, is called by the clock, has registered entries, and tracks a file, whose changes are
    /// every second reload
    Asking,
}

/// What [`App::Asking`] registers, as a client sees it.
pub(super) const REGISTERED: usize = 20;

impl App {
    /// Its package.
    #[must_use]
    pub fn package(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Counter => "counter",
            Self::Chat => "chat",
            Self::Grpc => "grpc",
            Self::Todo => "todo",
            Self::Streaming => "streaming",
            Self::Probe | Self::Asking => "fixture-probe",
        }
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Asking => "asking probe",
            _ => self.package().trim_start_matches("fixture-"),
        }
    }

    /// Whether each answer says which version it is of.
    #[must_use]
    pub fn tells_version(self) -> bool {
        matches!(self, Self::Probe | Self::Asking)
    }

    /// The library as that version: other bytes each time, and to those who can tell, another
    /// answer.
    pub(super) fn version(self, library: &Artifact, version: u64) -> Artifact {
        if self.tells_version() {
            library.with_version(version)
        } else {
            library.numbered(version)
        }
    }

    /// What `replug serve` is to be told besides.
    pub(super) fn settings(self, site: &Path) -> Vec<String> {
        match self {
            Self::Todo => {
                let database = site.join("todo.db");
                vec![
                    "--set".to_owned(),
                    format!("todo.database={}", database.display()),
                ]
            }
            Self::Asking => asking(site),
            _ => Vec::new(),
        }
    }

    /// Makes the change that brings that generation about.
    pub(super) fn change(self, library: &Artifact, generation: u64, path: &Path, site: &Path) {
        if self == Self::Asking && generation.is_multiple_of(2) {
            // In one step, as a deploy would.
            let new = site.join("new");
            fs::write(&new, generation.to_string()).expect("room");
            fs::rename(new, tracked(site)).expect("the same folder");
        } else {
            self.version(library, generation).install(path);
        }
    }
}

fn tracked(site: &Path) -> PathBuf {
    site.join("tracked")
}

fn asking(site: &Path) -> Vec<String> {
    let entries: Vec<String> = (0..REGISTERED)
        .map(|number| format!("{{kind=\"soak\", key=\"{number}\", value=[{number}]}}"))
        .collect();
    fs::write(tracked(site), "1").expect("room");
    let schedules = "[{name=\"often\", every-ms=2, log=\"/dev/null\"}, \
                     {name=\"long\", every-ms=15, for-ms=10, log=\"/dev/null\"}]";
    let settings = [
        "state={schema=1}".to_owned(),
        format!("register=[{}]", entries.join(", ")),
        format!("schedule={schedules}"),
        format!("track=[{:?}]", tracked(site)),
    ];
    // Each change is to be a reload of its own, and soon.
    let mut args: Vec<String> = ["--settle", "1ms", "--guard", "0s"]
        .map(str::to_owned)
        .into();
    for setting in settings {
        args.extend(["--set".to_owned(), format!("fixture-probe.{setting}")]);
    }
    args
}
