//! The apps that can be soaked.

use std::path::Path;

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
    /// GET /mixed of the tests' probe: the only app that tells its version
    Probe,
}

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
            Self::Probe => "fixture-probe",
        }
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        self.package().trim_start_matches("fixture-")
    }

    /// Whether each answer says which version it is of.
    #[must_use]
    pub fn tells_version(self) -> bool {
        self == Self::Probe
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
            _ => Vec::new(),
        }
    }
}
