//! The samples as a picture: one small plot for each measure, over the reloads.

mod panel;
mod scale;

use std::fmt::{self, Write as _};

use super::{
    Plan, Record, Sample, Verdict,
    measure::Measure,
    report::{conclusion, float, grouped, mib, title},
    verdict::Judged,
};
use panel::{Panel, Unit};

const WIDTH: f64 = 1040.0;
const HEIGHT: f64 = 920.0;
const MARGIN: f64 = 28.0;
const HEADER: f64 = 104.0;
const GAP: f64 = 24.0;
/// From the legend's signs to its texts' end.
const LEGEND: f64 = 262.0;

/// An SVG of its own.
pub(super) fn svg(plan: &Plan, record: &Record, verdict: &Verdict) -> String {
    let mut svg = String::new();
    // Writing to a string does not fail.
    let _ = draw(&mut svg, plan, record, verdict);
    svg
}

fn draw(svg: &mut String, plan: &Plan, record: &Record, verdict: &Verdict) -> fmt::Result {
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif">
<style>
.title {{ font-size: 21px; font-weight: 600; fill: #1a202c }}
.about {{ font-size: 13.5px; fill: #4a5568 }}
.name {{ font-size: 14.5px; font-weight: 600; fill: #1a202c }}
.unit {{ font-size: 12px; fill: #718096 }}
.tick {{ font-size: 11.5px; fill: #718096 }}
.value {{ font-size: 12.5px; font-weight: 600 }}
.grid {{ stroke: #e8ecf1; stroke-width: 1 }}
.axis {{ stroke: #a0aec0; stroke-width: 1 }}
.limit {{ stroke: #a0aec0; stroke-width: 1.2; stroke-dasharray: 5 4 }}
.early {{ fill: #f1f4f8 }}
.swatch {{ fill: #e4e9f0 }}
.curve {{ fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }}
</style>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>"##
    )?;
    header(svg, plan, record, verdict)?;

    let panels = panels(plan, &record.samples, verdict);
    let width = (WIDTH - 2.0 * MARGIN - GAP) / 2.0;
    let height = (HEIGHT - HEADER - MARGIN - 2.0 * GAP) / 3.0;
    for (number, panel) in (0_u64..).zip(&panels) {
        let (column, row) = (float(number % 2), float(number / 2));
        let x = MARGIN + column * (width + GAP);
        let y = HEADER + row * (height + GAP);
        writeln!(svg, r#"<g transform="translate({x:.1} {y:.1})">"#)?;
        panel.draw(svg, width, height)?;
        writeln!(svg, "</g>")?;
    }
    writeln!(svg, "</svg>")
}

fn header(svg: &mut String, plan: &Plan, record: &Record, verdict: &Verdict) -> fmt::Result {
    let colour = if verdict.passed() {
        "#1e7d4f"
    } else {
        "#c0392b"
    };
    let tally = &record.tally;
    let generations = &record.generations;
    let mixed = if plan.app.tells_version() {
        format!("{} mixed", grouped(tally.mixed))
    } else {
        "versions not told".to_owned()
    };
    let right = WIDTH - MARGIN;
    let swatch = right - LEGEND;
    let title = title(plan);
    let title = format!("{}{}", title[..1].to_uppercase(), &title[1..]);
    writeln!(
        svg,
        r#"<text class="title" x="{MARGIN}" y="38">{}</text>
<text class="about" x="{MARGIN}" y="62">{} right answers, {} failed, {mixed}; {} of {} generations unloaded</text>
<text class="about" x="{MARGIN}" y="84" style="fill:{colour};font-weight:600">{}</text>
<text class="unit" x="{right}" y="62" text-anchor="end">until reload {}: settles, not judged</text>
<rect class="swatch" x="{swatch}" y="51" width="30" height="14"/>
<text class="unit" x="{right}" y="84" text-anchor="end">most that is allowed at the end</text>
<path class="limit" d="M{swatch} 80h30"/>"#,
        escaped(&title),
        grouped(tally.answers),
        grouped(tally.failed),
        grouped(generations.unloaded.len() as u64),
        grouped(generations.serving),
        escaped(&conclusion(verdict)),
        grouped(plan.settle_after),
    )
}

fn panels(plan: &Plan, samples: &[Sample], verdict: &Verdict) -> Vec<Panel> {
    let panel = |name, unit, failed| Panel {
        name,
        unit,
        points: Vec::new(),
        limit: None,
        reloads: plan.reloads,
        settle_after: plan.settle_after,
        failed,
    };
    let of = |measure: Measure, name, unit| {
        let value = |bytes_or_count: u64| match unit {
            Unit::Mib => mib(bytes_or_count),
            _ => float(bytes_or_count),
        };
        let point = |sample: &Sample| (sample.reloads, value(measure.of(sample)));
        let settled = Judged::of(plan, samples).map(|j| j.settled(|s| measure.of(s)));
        Panel {
            points: samples.iter().map(point).collect(),
            limit: settled.map(|settled| value(settled + measure.slack(plan))),
            ..panel(name, unit, verdict.failed_in(measure.name()))
        }
    };
    // Before the first sample, the load has hardly begun.
    let rates = samples.iter().skip(1);
    vec![
        of(Measure::Memory, "Resident memory", Unit::Mib),
        of(Measure::Mappings, "Mappings", Unit::Count),
        of(Measure::Threads, "Threads", Unit::Count),
        of(Measure::Descriptors, "Open descriptors", Unit::Count),
        of(Measure::Keys, "pthread keys of plugins", Unit::Count),
        Panel {
            points: rates.map(|s| (s.reloads, s.per_second)).collect(),
            ..panel(
                "Right answers",
                Unit::PerSecond,
                verdict.failed_in("failed requests"),
            )
        },
    ]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
