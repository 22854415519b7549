//! The samples and the verdict as text.

use std::{
    fmt::{self, Write as _},
    time::Instant,
};

use super::{Plan, Record, Sample, Verdict, measure::Measure, verdict::Judged};

/// So many lines are enough of a long run.
const LINES: u64 = 20;
/// The beginning of a panic says what it is.
const NOISE: usize = 5;

/// Lines while it runs.
#[derive(Debug)]
pub(super) struct Progress {
    every: u64,
    next: u64,
    last: u64,
    began: Instant,
}

impl Progress {
    pub(super) fn begin(plan: &Plan) -> Self {
        println!("{}\n", title(plan));
        println!(
            "{:>8} {:>6} {:>9} {:>9} {:>9} {:>5} {:>8} {:>6} {:>5}",
            "reloads", "time", "req/s", "RSS MiB", "mappings", "code", "threads", "fds", "keys"
        );
        Self {
            every: plan.reloads / LINES,
            next: 0,
            last: plan.reloads,
            began: Instant::now(),
        }
    }

    pub(super) fn show(&mut self, sample: &Sample) {
        if sample.reloads < self.next && sample.reloads != self.last {
            return;
        }
        self.next = sample.reloads + self.every;
        println!(
            "{:>8} {:>5}s {:>9.0} {:>9.1} {:>9} {:>5} {:>8} {:>6} {:>5}",
            sample.reloads,
            self.began.elapsed().as_secs(),
            sample.per_second,
            mib(sample.memory),
            sample.mappings,
            sample.code,
            sample.threads,
            sample.descriptors,
            sample.keys,
        );
    }
}

/// What was run.
pub(super) fn title(plan: &Plan) -> String {
    format!(
        "soak of {}: {} reloads under {} connections, {} HTTP thread{}",
        plan.app.name(),
        grouped(plan.reloads),
        plan.connections,
        plan.threads,
        if plan.threads == 1 { "" } else { "s" },
    )
}

/// The final table and the verdict.
pub(super) fn summary(plan: &Plan, record: &Record, verdict: &Verdict) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_summary(&mut text, plan, record, verdict);
    text
}

fn write_summary(
    text: &mut String,
    plan: &Plan,
    record: &Record,
    verdict: &Verdict,
) -> fmt::Result {
    write_growth(text, plan, record)?;
    writeln!(text, "\n{:24} {:>14} {:>14}", "", "found", "allowed")?;
    for check in &verdict.checks {
        let outcome = if check.passed { "ok" } else { "FAILED" };
        writeln!(
            text,
            "{:24} {:>14} {:>14}   {outcome}",
            check.what, check.found, check.wanted
        )?;
    }
    let reasons = record.tally.reasons.iter();
    let said = reasons.chain(&record.generations.troubles);
    for line in said.chain(record.noise.iter().take(NOISE)) {
        writeln!(text, "  | {line:.200}")?;
    }
    if record.generations.suspicions > 0 {
        writeln!(
            text,
            "\nThe host took descriptors for left behind {} times; how many there are is above.",
            grouped(record.generations.suspicions)
        )?;
    }
    writeln!(text, "\n{}", conclusion(verdict))
}

fn write_growth(text: &mut String, plan: &Plan, record: &Record) -> fmt::Result {
    let samples = &record.samples;
    let (Some(judged), Some(first), Some(last)) =
        (Judged::of(plan, samples), samples.first(), samples.last())
    else {
        return Ok(());
    };
    writeln!(
        text,
        "\n{:24} {:>14} {:>14} {:>14}",
        "", "first", "settled", "at the end"
    )?;
    for measure in Measure::ALL {
        let of = |sample: &Sample| measure.of(sample);
        let values = [of(first), judged.settled(of), judged.end(of)];
        let [first, settled, end] = values.map(|value| measure.show(value));
        writeln!(
            text,
            "{:24} {first:>14} {settled:>14} {end:>14}",
            measure.name()
        )?;
    }
    let growth = mib(judged.end(|s| s.memory)) - mib(judged.settled(|s| s.memory));
    let between = judged.end(|s| s.generation) - judged.settled(|s| s.generation);
    writeln!(
        text,
        "\n{} right answers in {} s; memory grew by {:.1} KiB a generation",
        grouped(record.tally.answers),
        last.time.as_secs(),
        growth * 1024.0 / float(between.max(1)),
    )
}

/// In a line.
pub(super) fn conclusion(verdict: &Verdict) -> String {
    let failed: Vec<&str> = verdict.failed().map(|check| check.what).collect();
    if failed.is_empty() {
        "PASSED".to_owned()
    } else {
        format!("FAILED: {}", failed.join(", "))
    }
}

/// The samples, for other programs.
pub(super) fn csv(samples: &[Sample]) -> String {
    let mut text = "reloads,generation,seconds,answers,answers_per_second,resident_bytes,mappings,\
                    plugin_code_mappings,threads,descriptors,pthread_keys\n"
        .to_owned();
    for sample in samples {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{},{},{:.3},{},{:.0},{},{},{},{},{},{}",
            sample.reloads,
            sample.generation,
            sample.time.as_secs_f64(),
            sample.answers,
            sample.per_second,
            sample.memory,
            sample.mappings,
            sample.code,
            sample.threads,
            sample.descriptors,
            sample.keys,
        );
    }
    text
}

pub(super) fn mib(bytes: u64) -> f64 {
    float(bytes) / f64::from(1 << 20)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

/// `12,345`
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }
}
