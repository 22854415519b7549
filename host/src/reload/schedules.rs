//! Calling what apps have scheduled.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Reloader,
    event::Event,
    timetable::{ScheduleStatus, Timetable},
};
use crate::{
    generation::Lease,
    id::ArtifactPath,
    loader::{
        CallError, Plugin,
        backtrace::{self, Panicked},
    },
};

/// Schedules, to the actor.
impl Reloader {
    /// When the next call is due.
    pub(super) fn next_call(&self) -> Option<Instant> {
        if self.superior.is_some() {
            return None;
        }
        let serves = |path| self.slots.get(path).is_some_and(|slot| slot.live.is_some());
        let serving = self.timetables.iter().filter(|(path, _)| serves(path));
        serving.filter_map(|(_, table)| table.next()).min()
    }

    /// Makes the calls that are due.
    pub(super) fn call_scheduled(&mut self) {
        let now = Instant::now();
        for (path, table) in &mut self.timetables {
            // One that stands aside is called when it, or the next one, serves.
            let live = self.slots.get(path).and_then(|slot| slot.live.as_ref());
            let Some(live) = live else { continue };
            for name in table.due(now) {
                let (lease, path, sender) = (live.lease.clone(), path.clone(), self.sender.clone());
                tokio::spawn(async move {
                    let well = call(&lease, &name).await.is_ok();
                    drop(lease);
                    let _ = sender.send(Event::Called { path, name, well });
                });
            }
        }
    }

    pub(super) fn called(&mut self, path: &ArtifactPath, name: &str, well: bool) {
        if let Some(table) = self.timetables.get_mut(path) {
            table.ended(name, well);
            if table.is_empty() {
                self.timetables.remove(path);
            }
        }
    }

    /// An app has these schedules from now on.
    pub(super) fn schedule(&mut self, path: &ArtifactPath, schedules: &[(String, Duration)]) {
        let table = self.timetables.entry(path.clone()).or_default();
        table.serve(schedules, Instant::now());
        if table.is_empty() {
            self.timetables.remove(path);
        }
    }

    pub(super) fn schedules_of(&self, path: &ArtifactPath) -> Vec<ScheduleStatus> {
        let table = self.timetables.get(path);
        table.map_or_else(Vec::new, Timetable::status)
    }
}

/// Makes the call. At the drain deadline it is cut, as a request is.
///
/// The error says what went wrong, and has been logged.
pub(super) async fn call(lease: &Lease, name: &str) -> Result<(), String> {
    let run = async {
        match lease.seat() {
            Some(seat) => {
                let called = seat.crew.run_schedule(&seat.app, name);
                called.await.map_err(CallError::Failed)
            }
            None => Plugin::run_schedule(&lease.0, name)?.await,
        }
    };
    let (app, generation) = (lease.app.as_str(), lease.id.get());
    match lease.cut().token().run_until_cancelled(run).await {
        Some(Ok(())) => Ok(()),
        Some(Err(CallError::Panicked(caught))) => {
            lease.tally.panic();
            tracing::error!(
                event = "schedule-panicked",
                app,
                generation,
                schedule = name,
                location = caught.location,
                "schedule {name} panicked: {}",
                caught.message,
            );
            let who = Panicked {
                app: lease.app.clone(),
                generation: lease.id,
                request: None,
            };
            if let Some(footprint) = &lease.footprint {
                backtrace::log(who, &caught, footprint);
            }
            Err(format!("it panicked: {}", caught.message))
        }
        Some(Err(error)) => {
            tracing::error!(
                event = "schedule-failed",
                app,
                generation,
                schedule = name,
                "schedule {name}: {error}",
            );
            Err(error.to_string())
        }
        None => {
            tracing::warn!(
                event = "schedule-cut",
                app,
                generation,
                schedule = name,
                "schedule {name} was cut: the drain time is over",
            );
            Err("it was cut: the drain time is over".to_owned())
        }
    }
}
