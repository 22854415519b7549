//! The workers of an app.

use serde::{Deserialize, Serialize};

use crate::{process, reload::slot::Slot};

/// A worker process.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct WorkerStatus {
    /// Its number in its group, from 0.
    pub worker: u32,
    /// Its process.
    pub pid: u32,
    /// For how long it has served, in seconds.
    pub seconds: u64,
    /// Requests under way, of all apps of the group.
    pub in_flight: usize,
    /// Requests that it was given, of all apps of the group.
    pub requests: u64,
    /// Bytes of it that are in memory, of all apps of the group and of the worker itself; `null`:
    /// it is gone.
    pub memory: Option<u64>,
    /// Its threads, of all apps of the group and of the worker itself; `null`: it is gone.
    pub threads: Option<u32>,
}

impl WorkerStatus {
    pub(super) fn of(slot: &Slot) -> Vec<Self> {
        let live = slot.live.as_ref();
        let seat = live.and_then(|live| live.lease.seat());
        let workers = seat.map_or_else(Vec::new, |seat| seat.crew.set().workers());
        workers
            .iter()
            .map(|worker| {
                let vitals = process::vitals(worker.pid);
                Self {
                    worker: worker.number,
                    pid: worker.pid,
                    seconds: worker.since.elapsed().as_secs(),
                    in_flight: worker.in_flight() + worker.own().1,
                    requests: worker.taken() + worker.own().0,
                    memory: vitals.map(|it| it.memory),
                    threads: vitals.map(|it| it.threads),
                }
            })
            .collect()
    }
}
