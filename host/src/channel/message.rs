//! The messages.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::Begin;
use crate::{
    id::AppName,
    loader::{Snapshot, StopReason, StopReport},
    reload::Said,
};

/// An app's state, if there is one; or why it cannot be had.
pub type Handed = Result<Option<Snapshot>, String>;

/// What a supervisor tells a worker.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub enum Order {
    /// Load these apps, and serve them. The first order, and comes once.
    Begin(Box<Begin>),
    /// What all apps have registered from now on: a JSON list.
    Registry(String),
    /// Tell an app that draining has begun. Requests still come.
    Announce {
        /// Its name.
        app: String,
        /// Why.
        reason: StopReason,
    },
    /// Drain and unload an app; the others stay.
    Leave {
        /// Its name.
        app: String,
    },
    /// Make a scheduled call, and report how it went.
    RunSchedule {
        /// The number of the call, for the report.
        call: u64,
        /// The app.
        app: String,
        /// The schedule's name.
        name: String,
    },
    /// What was asked for by [`Report::StateWanted`].
    State {
        /// The number that the question had.
        call: u64,
        /// The state, if there is one; or why the app must not begin.
        state: Handed,
    },
    /// Have an app save its state, and report it. It has no requests meanwhile but those that came
    /// to the worker itself: these end first, and from then on requests wait.
    SaveState {
        /// The number of the call, for the report.
        call: u64,
        /// The app.
        app: String,
        /// How long these may take, in milliseconds; `None`: as long as it takes.
        drain_ms: Option<u64>,
    },
    /// An app whose state was saved stays: it takes requests again.
    Resume {
        /// Its name.
        app: String,
    },
    /// Report when each HTTP thread has turned.
    Turn {
        /// The number of the question, for the report.
        turn: u64,
    },
    /// Report what requests that came to the worker itself have come to.
    Count {
        /// The number of the question, for the report.
        call: u64,
    },
    /// Take connections on the group's own sockets from now on.
    Accept,
    /// Take none there any more, and report when no request can begin on those that there are.
    StandAside {
        /// Which time this is, for the report.
        time: u64,
    },
    /// Finish what is under way, stop all apps, and end.
    Stop {
        /// Why.
        reason: StopReason,
        /// How long what is under way may take, in milliseconds; `None`: as long as it takes.
        drain_ms: Option<u64>,
    },
}

/// What a worker tells its supervisor.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub enum Report {
    /// All apps serve.
    Ready(Vec<Ready>),
    /// They do not, and the worker ends.
    Refused {
        /// The app whose fault it is; `None`: no app's.
        app: Option<String>,
        /// What happened.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// A scheduled call has ended.
    RanSchedule {
        /// The number it had in the order.
        call: u64,
        /// What went wrong.
        error: Option<String>,
    },
    /// An app that is set up wants the state that the worker before left.
    StateWanted {
        /// The number of the question, for the order.
        call: u64,
        /// The app.
        app: String,
    },
    /// An app has saved its state, or failed to.
    SavedState {
        /// The number it had in the order.
        call: u64,
        /// The state, if it has one.
        state: Handed,
    },
    /// An app has stopped, and left its state.
    StateLeft {
        /// The app.
        app: String,
        /// The state.
        state: Snapshot,
    },
    /// Nothing holds any app any more: what is left is their cleanup.
    Drained,
    /// An app has stopped: its cleanup hooks have run.
    AppStopped {
        /// The app.
        app: String,
        /// How.
        report: StopReport,
    },
    /// Each HTTP thread has turned since the order.
    Turned {
        /// The number it had in the order.
        turn: u64,
    },
    /// No request can begin on connections that it took itself.
    StoodAside {
        /// What the order said; `None`: it ends.
        time: Option<u64>,
    },
    /// What requests that came to it itself have come to, by now.
    Served {
        /// The question that this answers; `None`: it was not asked.
        call: Option<u64>,
        /// Of each app that serves.
        apps: Vec<Served>,
    },
    /// An app wants to be reloaded.
    ReloadAsked {
        /// Its name.
        app: String,
    },
    /// An app wants the whole host to go on in a fresh image.
    RestartAsked {
        /// Its name.
        app: String,
    },
    /// Somebody else than the supervisor has told it to end: it finishes what is under way.
    Ending {
        /// The signal.
        reason: String,
    },
}

/// What an app has answered to those who came to its worker itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Served {
    /// Its name.
    pub app: String,
    /// Requests.
    pub requests: u64,
    /// Those that were answered with 500 or above.
    pub failures: u64,
    /// Panics in handlers and bodies.
    pub panics: u64,
    /// Requests under way.
    pub in_flight: u64,
}

/// An app that serves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Ready {
    /// Its name.
    pub app: String,
    /// What it registers: kind, key, and value as JSON.
    pub registered: Vec<(String, String, String)>,
    /// What is to be called, and how often.
    pub schedules: Vec<(String, Duration)>,
    /// Files and directories whose changes make it reload, as the system has them.
    pub tracked: Vec<PathBytes>,
    /// How long its setup took.
    pub setup: Duration,
}

impl Ready {
    /// What an app said in its setup.
    #[must_use]
    pub fn new(app: &AppName, said: Said) -> Self {
        let registered = said.registered.into_iter();
        let tracked = said.tracked.into_iter();
        Self {
            app: app.to_string(),
            registered: registered
                .map(|(kind, key, value)| (kind, key, value.to_string()))
                .collect(),
            schedules: said.schedules,
            tracked: tracked.map(PathBytes::from).collect(),
            setup: said.setup,
        }
    }

    /// The same, as the worker had it.
    ///
    /// # Errors
    /// When a value is no JSON, which no worker sends.
    pub fn into_said(self) -> Result<Said, serde_json::Error> {
        let registered = self.registered.into_iter().map(|(kind, key, value)| {
            let value = serde_json::from_str(&value)?;
            Ok((kind, key, value))
        });
        Ok(Said {
            registered: registered.collect::<Result<_, serde_json::Error>>()?,
            schedules: self.schedules,
            tracked: self.tracked.into_iter().map(PathBuf::from).collect(),
            setup: self.setup,
        })
    }
}

/// A path, which need not be text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PathBytes(Vec<u8>);

impl From<PathBuf> for PathBytes {
    fn from(path: PathBuf) -> Self {
        Self(std::os::unix::ffi::OsStringExt::into_vec(
            path.into_os_string(),
        ))
    }
}

impl From<PathBytes> for PathBuf {
    fn from(path: PathBytes) -> Self {
        <std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(path.0).into()
    }
}
