//! Orphans: processes whose parent died, and which became this process's children.
//!
//! That is the lot of process 1, of a container's too, and of a subreaper. Nobody but this process
//! can take their status, and until then each keeps its number. But a child that some other part of
//! this process started looks the same, and its status must not be taken from who waits for it. So
//! the children of this module are left alone, and any other that is dead is given time.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, child_subreaper, getpid, pidfd_open, waitid,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until},
};

use super::fork::is_known;

/// How long a dead child that is not this module's is left to whoever may be waiting for it.
const GRACE: Duration = Duration::from_secs(5);

/// Whether orphans become children of this process: as it is process 1, or a subreaper.
#[must_use]
pub fn adopts_orphans() -> bool {
    getpid() == Pid::INIT || matches!(child_subreaper(), Ok(Some(_)))
}

/// Takes the status of dead orphans, some seconds after their deaths, for as long as it is polled.
/// For a process that [adopts them](adopts_orphans).
///
/// A child that something else in this process has started, and does not wait for within those
/// seconds, is taken for an orphan; waiting for it then fails.
///
/// # Errors
/// When the system does not tell of the deaths of children.
pub async fn reap_orphans() -> io::Result<Infallible> {
    reap_orphans_after(GRACE).await
}

pub(super) async fn reap_orphans_after(grace: Duration) -> io::Result<Infallible> {
    let mut deaths = signal(SignalKind::child())?;
    let mut orphans = Orphans::default();
    loop {
        match orphans.look(grace) {
            Some(next) => tokio::select! {
                _ = deaths.recv() => {}
                () = sleep_until(next) => {}
            },
            None => {
                deaths.recv().await;
            }
        }
    }
}

/// Dead children that are nobody's here that we know of, and when each was first seen.
#[derive(Debug, Default)]
struct Orphans(HashMap<Pid, (OwnedFd, Instant)>);

impl Orphans {
    /// Takes the status of those that have had their time. Returns when the next has.
    fn look(&mut self, grace: Duration) -> Option<Instant> {
        let now = Instant::now();
        // Whose status is taken is no zombie any more, and its number may be another's.
        self.0.retain(|_, (process, _)| is_zombie(process));
        if any_is_dead() {
            for pid in children().into_iter().filter(|pid| !is_known(*pid)) {
                if self.0.contains_key(&pid) {
                    continue;
                }
                // Holds this very process, whatever becomes of its number.
                if let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
                    && is_zombie(&process)
                {
                    self.0.insert(pid, (process, now + grace));
                }
            }
        }
        self.0
            .retain(|_, (process, due)| *due > now || !reap(process));
        self.0.values().map(|(_, due)| *due).min()
    }
}

/// Whether any child is dead and not waited for: the cheap question first.
fn any_is_dead() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::All, options), Ok(Some(_)))
}

/// Whether it is a dead child of this process.
fn is_zombie(process: &OwnedFd) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::PidFd(process.as_fd()), options), Ok(Some(_)))
}

/// Whether there is nothing more to take.
fn reap(process: &OwnedFd) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    !matches!(waitid(WaitId::PidFd(process.as_fd()), options), Ok(None))
}

/// All children of this process, whichever of its threads they belong to.
pub(super) fn children() -> Vec<Pid> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let lists = tasks.flatten().filter_map(|task| {
        // Of a thread that has ended there is none.
        fs::read_to_string(task.path().join("children")).ok()
    });
    let mut children = Vec::new();
    for list in lists {
        let numbers = list.split_whitespace().filter_map(|it| it.parse().ok());
        children.extend(numbers.filter_map(Pid::from_raw));
    }
    children
}
