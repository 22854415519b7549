//! The window after a swap in which a new generation must not do worse than the one before.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::generation::Counts;

/// Whether that much failing is worth a rollback at all: a hundredth of all requests.
const NOTABLE: f64 = 0.01;
/// So much worse than before it must be: what failed before may fail a little more by chance.
const WORSE: f64 = 2.0;
/// Before the window is over, so many requests must have failed, and half of all.
const SURE: u64 = 3;

/// What a generation answered during some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) counts: Counts,
}

impl Window {
    fn bad(&self) -> u64 {
        // A panic in a handler is a 500, too; one in a body is not.
        self.counts.failures.max(self.counts.panics)
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    fn rate(&self) -> f64 {
        self.bad() as f64 / self.counts.requests.max(self.bad()).max(1) as f64
    }
}

/// Whether a generation is to be rolled back. `over`: its window has ended.
pub(super) fn is_worse(before: Window, after: Window, over: bool) -> bool {
    let rate = after.rate();
    let worse = after.bad() > 0 && rate >= NOTABLE && rate > WORSE * before.rate();
    worse && (over || after.bad() >= SURE && rate >= 0.5)
}

/// What a generation has answered by some times, for the window before the next.
#[derive(Debug, Default)]
pub(super) struct Samples(VecDeque<(Instant, Counts)>);

impl Samples {
    /// Notes what has been counted by now, and forgets what is older than two windows.
    pub(super) fn note(&mut self, now: Instant, counts: Counts, window: Duration) {
        while self.0.len() > 1 && self.0[1].0 + window <= now {
            self.0.pop_front();
        }
        self.0.push_back((now, counts));
    }

    /// What was answered during the last window, or a little longer.
    pub(super) fn window(&self, now: Instant, counts: Counts, window: Duration) -> Window {
        let mut before = self.0.iter().rev();
        let earlier = before.find(|(at, _)| *at + window <= now);
        // Younger than the window: all of it.
        let earlier = earlier.map_or_else(Counts::default, |(_, counts)| *counts);
        Window {
            counts: counts.since(earlier),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(requests: u64, failures: u64, panics: u64) -> Window {
        Window {
            counts: Counts {
                requests,
                failures,
                panics,
            },
        }
    }

    #[test]
    fn a_generation_is_worse_when_more_of_its_requests_fail() {
        let check = |before, after, over, expected| {
            assert_eq!(
                is_worse(before, after, over),
                expected,
                "{before:?} {after:?} {over}"
            );
        };
        let good = window(100, 0, 0);
        check(good, window(100, 0, 0), true, false);
        check(good, window(0, 0, 0), true, false);
        check(good, window(1, 1, 1), true, true);
        // One is no certainty yet.
        check(good, window(1, 1, 1), false, false);
        check(good, window(4, 3, 0), false, true);
        check(good, window(100, 30, 0), false, false);
        check(good, window(100, 30, 0), true, true);
        // One in a thousand may be a client's doing.
        check(good, window(1_000, 1, 0), true, false);
        // It was no better before.
        check(window(100, 30, 0), window(100, 40, 0), true, false);
        check(window(100, 30, 0), window(100, 90, 0), true, true);
        // Bodies that panic after a 200.
        check(good, window(10, 0, 5), true, true);
        check(window(0, 0, 0), window(10, 10, 0), false, true);
    }

    #[test]
    fn the_window_before_is_the_last_one_and_not_the_whole_life() {
        let start = Instant::now();
        let (second, guard) = (Duration::from_secs(1), Duration::from_secs(10));
        let counts = |requests| Counts {
            requests,
            ..Counts::default()
        };
        let mut samples = Samples::default();
        let window = |samples: &Samples, at: u32, now| {
            samples
                .window(start + second * at, counts(now), guard)
                .counts
                .requests
        };
        assert_eq!(window(&samples, 3, 30), 30);
        for at in (5..=60).step_by(5) {
            samples.note(start + second * at, counts(u64::from(at) * 10), guard);
        }
        assert_eq!(window(&samples, 60, 600), 100);
        assert_eq!(window(&samples, 62, 620), 120);
        assert!(samples.0.len() <= 4, "{samples:?}");
    }
}
