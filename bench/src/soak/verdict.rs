//! Whether it went well.

use super::{Plan, Record, Sample, measure::Measure};

/// The first and the last of so many parts of what is judged are compared.
const PARTS: usize = 5;

/// All that was looked at.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Each with its outcome.
    pub checks: Vec<Check>,
}

/// One thing that must be so.
#[derive(Clone, Debug)]
pub struct Check {
    /// What.
    pub what: &'static str,
    /// What it is.
    pub found: String,
    /// What it may be.
    pub wanted: String,
    /// Whether it is.
    pub passed: bool,
}

impl Verdict {
    /// Judges a run.
    #[must_use]
    pub fn of(plan: &Plan, record: &Record) -> Self {
        let mut checks = vec![
            Check {
                what: "the run",
                found: record
                    .broken_off
                    .clone()
                    .unwrap_or_else(|| "to its end".to_owned()),
                wanted: "to its end".to_owned(),
                passed: record.broken_off.is_none(),
            },
            Check::none("failed requests", record.tally.failed),
            Check::none("mixed answers", record.tally.mixed),
        ];
        let generations = &record.generations;
        checks.extend([
            Check::all(
                "generations unloaded",
                generations.unloaded.len() as u64,
                generations.serving,
            ),
            Check::none("quarantined", generations.quarantined),
            Check::none(
                "warnings in the log",
                generations.warnings + record.noise.len() as u64,
            ),
            Check {
                what: "the host's end",
                found: record.exit.to_string(),
                wanted: "exit status: 0".to_owned(),
                passed: record.exit.success(),
            },
        ]);
        if let Some(judged) = Judged::of(plan, &record.samples) {
            checks.extend(Measure::ALL.map(|measure| Check::growth(plan, measure, &judged)));
        }
        Self { checks }
    }

    /// Whether all is as it must be.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failed().next().is_none()
    }

    /// What is not.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.passed)
    }

    /// Whether the check of that name failed.
    pub(super) fn failed_in(&self, what: &str) -> bool {
        self.failed().any(|check| check.what == what)
    }
}

/// The samples at both ends of what is judged. One alone says little of memory: freed pages go back
/// to the system some time later, all at once, so that samples differ by more than a leak of
/// thousands of reloads. The median of many does not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged<'a> {
    settled: &'a [Sample],
    end: &'a [Sample],
}

impl<'a> Judged<'a> {
    /// `None`: the run has ended before.
    pub(super) fn of(plan: &Plan, samples: &'a [Sample]) -> Option<Self> {
        let from = samples
            .iter()
            .position(|s| s.reloads >= plan.settle_after)?;
        let judged = &samples[from..];
        let count = (judged.len() / PARTS).max(1);
        Some(Self {
            settled: &judged[..count],
            end: &judged[judged.len() - count..],
        })
    }

    /// The median of the first ones.
    pub(super) fn settled(&self, value: impl Fn(&Sample) -> u64) -> u64 {
        median(self.settled, value)
    }

    /// The median of the last ones.
    pub(super) fn end(&self, value: impl Fn(&Sample) -> u64) -> u64 {
        median(self.end, value)
    }
}

fn median(samples: &[Sample], value: impl Fn(&Sample) -> u64) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(value).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

impl Check {
    fn none(what: &'static str, count: u64) -> Self {
        Self {
            what,
            found: count.to_string(),
            wanted: "0".to_owned(),
            passed: count == 0,
        }
    }

    fn all(what: &'static str, count: u64, of: u64) -> Self {
        Self {
            what,
            found: count.to_string(),
            wanted: of.to_string(),
            passed: count == of,
        }
    }

    fn growth(plan: &Plan, measure: Measure, judged: &Judged<'_>) -> Self {
        let end = judged.end(|sample| measure.of(sample));
        let most = judged.settled(|sample| measure.of(sample)) + measure.slack(plan);
        Self {
            what: measure.name(),
            found: measure.show(end),
            wanted: format!("≤ {}", measure.show(most)),
            passed: end <= most,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::soak::App;

    fn plan(settle_after: u64) -> Plan {
        Plan {
            app: App::Hello,
            reloads: 100,
            connections: 1,
            threads: 1,
            settle_after,
            sample_every: 1,
            memory_slack: 0,
        }
    }

    fn samples(memory: &[u64]) -> Vec<Sample> {
        let sample = |(reloads, memory): (u64, &u64)| Sample {
            reloads,
            generation: reloads,
            time: Duration::ZERO,
            answers: 0,
            per_second: 0.0,
            memory: *memory,
            mappings: 0,
            code: 0,
            threads: 0,
            descriptors: 0,
            keys: 0,
        };
        (0..).zip(memory).map(sample).collect()
    }

    fn check(memory: &[u64], settle_after: u64, expected: (u64, u64)) {
        let samples = samples(memory);
        let judged = Judged::of(&plan(settle_after), &samples).unwrap();
        let medians = (judged.settled(|s| s.memory), judged.end(|s| s.memory));
        assert_eq!(medians, expected, "{memory:?}");
    }

    #[test]
    fn medians_of_the_first_and_last_judged_samples_are_compared() {
        check(&[9, 4], 1, (4, 4));
        check(&[9, 9, 1, 99, 2, 5, 0, 6], 2, (1, 6));
        let growing: Vec<u64> = (0..100).collect();
        check(&growing, 5, (14, 90));
    }

    #[test]
    fn a_run_that_ended_before_is_not_compared() {
        assert!(Judged::of(&plan(50), &samples(&[1, 2, 3])).is_none());
    }
}
