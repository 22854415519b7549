//! When which schedule of an app's is due. Pure: time is handed in.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The schedules of an app, of whichever of its generations.
#[derive(Debug, Default)]
pub(super) struct Timetable {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    every: Duration,
    due: Instant,
    /// A call is under way, perhaps an older generation's.
    running: bool,
    /// The generation that serves has it.
    wanted: bool,
    counts: ScheduleCounts,
}

/// What became of a schedule's calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ScheduleCounts {
    /// Calls that have ended well.
    pub done: u64,
    /// Calls that failed; panics among them.
    pub failed: u64,
    /// Calls that were left out, because the one before was still under way.
    pub skipped: u64,
}

/// A schedule, to those who look.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ScheduleStatus {
    /// Its name.
    pub name: String,
    /// The time between two calls, in seconds.
    pub every: f64,
    /// Whether a call is under way.
    pub running: bool,
    /// What became of its calls.
    #[serde(flatten)]
    pub counts: ScheduleCounts,
}

impl Timetable {
    /// A generation has come to serve that has these schedules. One that was there keeps its time:
    /// a reload neither doubles it nor begins it anew.
    pub(super) fn serve(&mut self, schedules: &[(String, Duration)], now: Instant) {
        for row in &mut self.rows {
            row.wanted = false;
        }
        for (name, every) in schedules {
            match self.rows.iter_mut().find(|row| row.name == *name) {
                Some(row) => {
                    row.wanted = true;
                    if row.every != *every {
                        row.due = row.due.min(now + *every);
                        row.every = *every;
                    }
                }
                None => self.rows.push(Row {
                    name: name.clone(),
                    every: *every,
                    due: now + *every,
                    running: false,
                    wanted: true,
                    counts: ScheduleCounts::default(),
                }),
            }
        }
        // One whose call is under way is forgotten when that ends.
        self.rows.retain(|row| row.wanted || row.running);
    }

    /// When to ask `due` again.
    pub(super) fn next(&self) -> Option<Instant> {
        let wanted = self.rows.iter().filter(|row| row.wanted);
        wanted.map(|row| row.due).min()
    }

    /// What is to be called now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        for row in self
            .rows
            .iter_mut()
            .filter(|row| row.wanted && row.due <= now)
        {
            // Those that were missed are not made up for.
            let late = now.duration_since(row.due).as_nanos() / row.every.as_nanos().max(1);
            let steps = u32::try_from(late).unwrap_or(u32::MAX).saturating_add(1);
            row.due = row
                .every
                .checked_mul(steps)
                .and_then(|time| row.due.checked_add(time))
                .unwrap_or(now + row.every);
            if row.running {
                row.counts.skipped += 1;
            } else {
                row.running = true;
                due.push(row.name.clone());
            }
        }
        due
    }

    /// A call has ended.
    pub(super) fn ended(&mut self, name: &str, well: bool) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            row.running = false;
            if well {
                row.counts.done += 1;
            } else {
                row.counts.failed += 1;
            }
        }
        self.rows.retain(|row| row.wanted || row.running);
    }

    /// There is nothing to call, and no call under way.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn status(&self) -> Vec<ScheduleStatus> {
        let wanted = self.rows.iter().filter(|row| row.wanted);
        wanted
            .map(|row| ScheduleStatus {
                name: row.name.clone(),
                every: row.every.as_secs_f64(),
                running: row.running,
                counts: row.counts,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn schedules(list: &[(&str, u32)]) -> Vec<(String, Duration)> {
        let seconds = |(name, every): &(&str, u32)| ((*name).to_owned(), SECOND * *every);
        list.iter().map(seconds).collect()
    }

    #[test]
    fn reloads_more_often_than_its_time_neither_hold_a_schedule_up_nor_double_it() {
        let start = Instant::now();
        let mut table = Timetable::default();
        let mut calls = 0;
        for second in 0..=100 {
            let now = start + SECOND * second;
            table.serve(&schedules(&[("tick", 10)]), now);
            for name in table.due(now) {
                calls += 1;
                table.ended(&name, true);
            }
        }
        assert_eq!(calls, 10);
        assert_eq!(table.status()[0].counts.done, 10);
    }

    #[test]
    fn a_call_never_overlaps_itself_across_generations_either() {
        let start = Instant::now();
        let mut table = Timetable::default();
        table.serve(&schedules(&[("tick", 1)]), start);
        assert_eq!(table.due(start + SECOND), ["tick"]);
        table.serve(&schedules(&[("tick", 1)]), start + SECOND);
        assert!(table.due(start + SECOND * 2).is_empty());
        assert_eq!(table.status()[0].counts.skipped, 1);
        table.ended("tick", false);
        assert_eq!(table.due(start + SECOND * 3), ["tick"]);
        assert_eq!(table.status()[0].counts.failed, 1);
    }

    #[test]
    fn what_was_missed_is_left_out_and_the_beat_stays() {
        let start = Instant::now();
        let mut table = Timetable::default();
        table.serve(&schedules(&[("tick", 10)]), start);
        assert_eq!(table.due(start + SECOND * 57), ["tick"]);
        table.ended("tick", true);
        assert_eq!(table.next(), Some(start + SECOND * 60));
        assert!(table.due(start + SECOND * 59).is_empty());
    }

    #[test]
    fn what_the_next_generation_leaves_out_is_not_called_and_its_last_call_may_end() {
        let start = Instant::now();
        let mut table = Timetable::default();
        table.serve(&schedules(&[("a", 1), ("b", 1)]), start);
        assert_eq!(table.due(start + SECOND).len(), 2);
        table.serve(&schedules(&[("b", 1)]), start + SECOND);
        table.ended("a", true);
        table.ended("b", true);
        assert_eq!(table.due(start + SECOND * 2), ["b"]);
        // Another time holds from now on.
        table.serve(&schedules(&[("b", 60)]), start + SECOND * 2);
        assert_eq!(table.next(), Some(start + SECOND * 3));
        table.serve(&[], start + SECOND * 2);
        table.ended("b", true);
        assert_eq!(table.next(), None);
    }
}
