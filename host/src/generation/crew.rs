//! The workers of a group, as the owner of a generation sees them.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::Tally;
use crate::{
    id::AppName,
    loader::{Snapshot, StopReason, StopReport},
    workers::Set,
};

/// The states of a crew's workers, by their numbers.
pub type States = Vec<Option<Snapshot>>;

/// Worker processes that have the apps of a group loaded, each all of them.
pub trait Crew: fmt::Debug + Send + Sync {
    /// Where requests go.
    fn set(&self) -> &Set;

    /// How long a request waits to be connected to a worker; zero: the proxy's own bound.
    fn connect_timeout(&self) -> Duration;

    /// How long a request may take, with its response; zero: any time.
    fn request_timeout(&self) -> Duration;

    /// Tells an app, in each worker, that draining has begun, and why. Returns at once.
    fn announce(&self, app: &AppName, reason: StopReason);

    /// Nothing of an app is under way any more: it is stopped in each worker, and the workers end
    /// with the last of their apps. Resolves when that is so, at the latest when their time for it
    /// is over and they have been killed; with what they said of it, if they have ended.
    fn leave(&self, app: &AppName, reason: StopReason) -> BoxFuture<'static, Option<Stops>>;

    /// How many workers it is to have; their numbers begin with 0.
    fn size(&self) -> u32;

    /// A worker gets no new requests, ends what it has, and goes; none takes its place until
    /// [`Crew::refill`]. Resolves when it is gone. Requests for which no worker is left wait.
    fn vacate(&self, worker: u32) -> BoxFuture<'static, ()>;

    /// The workers that have made room are started again.
    fn refill(&self);

    /// Its workers take no connections themselves any more. Resolves when no request can begin on
    /// those that they took; these go on in workers that accept.
    fn stand_aside(&self) -> BoxFuture<'static, ()>;

    /// Its workers take connections themselves from now on, where their group listens.
    fn accept(&self);

    /// What its workers answer to those who come to them themselves is counted there, too, where their
    /// group listens.
    fn count_in(&self, app: &AppName, tally: &Arc<Tally>);

    /// Has that brought up to date; `None`: its group does not listen. Resolves when it is, at the
    /// latest when its workers have had some time to say.
    fn count(&self) -> Option<BoxFuture<'static, ()>>;

    /// Resolves when its last worker is gone, and none will be started.
    fn gone(&self) -> BoxFuture<'static, ()>;

    /// Has each worker save its state of an app, which must have no requests; by their numbers, and
    /// `None` where there is none. What a worker left that is not there any more counts. Requests
    /// of the app's that came to workers themselves end first, at the latest at the deadline, and new
    /// ones wait there until [`Crew::resume`].
    ///
    /// The error says why one of them could not.
    fn save_state(
        &self,
        app: &AppName,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<States, String>>;

    /// An app whose state was saved takes requests again.
    fn resume(&self, app: &AppName);

    /// Has one worker make a scheduled call.
    ///
    /// The error says what went wrong: the app's own words, or that the worker died.
    fn run_schedule(&self, app: &AppName, name: &str) -> BoxFuture<'static, Result<(), String>>;
}

/// How an app stopped in the workers of a crew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stops {
    /// How many workers have stopped it; those count that were replaced earlier.
    pub workers: u32,
    /// What they did together.
    pub all: StopReport,
}

impl Stops {
    /// Another worker has stopped it.
    pub fn add(&mut self, one: StopReport) {
        self.workers += 1;
        self.all.hooks_done += one.hooks_done;
        self.all.hooks_failed += one.hooks_failed;
        self.all.threads_left += one.threads_left;
        self.all.panicked |= one.panicked;
    }
}

/// One app's part in what a crew has loaded.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The app.
    pub app: AppName,
    /// Who has it loaded.
    pub crew: Arc<dyn Crew>,
}
