//! One plot.

use std::fmt::{self, Write as _};

use super::{
    super::report::{float, grouped},
    scale::Scale,
};

/// Room for the name above, ticks below and at the left, and the last value at the right.
const TOP: f64 = 30.0;
const BOTTOM: f64 = 38.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 66.0;

const GOOD: &str = "#2b6cb0";
const BAD: &str = "#c0392b";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Mib,
    Count,
    PerSecond,
}

/// A measure over the reloads.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) points: Vec<(u64, f64)>,
    /// What it may not exceed at the end.
    pub(super) limit: Option<f64>,
    pub(super) reloads: u64,
    pub(super) settle_after: u64,
    pub(super) failed: bool,
}

impl Panel {
    /// At 0, 0, and so large.
    pub(super) fn draw(&self, svg: &mut String, width: f64, height: f64) -> fmt::Result {
        let (inner, tall) = (width - LEFT - RIGHT, height - TOP - BOTTOM);
        let greatest = self.points.iter().map(|point| point.1);
        let greatest = greatest.chain(self.limit).fold(0.0, f64::max);
        let across = Scale::up_to(float(self.reloads), 5.0, inner);
        let up = Scale::up_to_a_tick(greatest, 4.0, tall);
        let y = |value: f64| TOP + tall - up.at(value);
        let x = |reloads: u64| LEFT + across.at(float(reloads));

        writeln!(
            svg,
            r#"<text x="0" y="14"><tspan class="name">{}</tspan><tspan class="unit" dx="8">{}</tspan></text>"#,
            self.name,
            self.unit.name()
        )?;
        writeln!(
            svg,
            r#"<rect class="early" x="{LEFT}" y="{TOP}" width="{:.1}" height="{tall:.1}"/>"#,
            x(self.settle_after) - LEFT
        )?;
        for tick in up.ticks() {
            let line = if tick == 0.0 { "axis" } else { "grid" };
            writeln!(
                svg,
                r#"<path class="{line}" d="M{LEFT} {y:.1}h{inner}"/><text class="tick" x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 8.0,
                y(tick) + 4.0,
                shown(tick, 0),
                y = y(tick),
            )?;
        }
        for tick in across.ticks() {
            let at = LEFT + across.at(tick);
            writeln!(
                svg,
                r#"<path class="axis" d="M{at:.1} {}v4"/><text class="tick" x="{at:.1}" y="{}" text-anchor="middle">{}</text>"#,
                TOP + tall,
                TOP + tall + 17.0,
                shown(tick, 0),
            )?;
        }
        writeln!(
            svg,
            r#"<text class="unit" x="{}" y="{}" text-anchor="middle">reloads</text>"#,
            LEFT + inner / 2.0,
            TOP + tall + 33.0
        )?;
        if let Some(limit) = self.limit {
            writeln!(
                svg,
                r#"<path class="limit" d="M{:.1} {:.1}H{:.1}"/>"#,
                x(self.settle_after),
                y(limit),
                LEFT + inner
            )?;
        }
        self.curve(svg, x, y)
    }

    fn curve(
        &self,
        svg: &mut String,
        x: impl Fn(u64) -> f64,
        y: impl Fn(f64) -> f64,
    ) -> fmt::Result {
        let colour = if self.failed { BAD } else { GOOD };
        write!(svg, r#"<polyline class="curve" stroke="{colour}" points=""#)?;
        for (reloads, value) in &self.points {
            write!(svg, "{:.1},{:.1} ", x(*reloads), y(*value))?;
        }
        writeln!(svg, r#""/>"#)?;
        let Some((reloads, value)) = self.points.last() else {
            return Ok(());
        };
        let (x, y) = (x(*reloads), y(*value));
        writeln!(
            svg,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.2" fill="{colour}"/><text class="value" x="{:.1}" y="{:.1}" fill="{colour}">{}</text>"#,
            x + 8.0,
            y + 4.0,
            shown(*value, self.unit.digits()),
        )
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Mib => "MiB",
            Self::Count => "",
            Self::PerSecond => "per second",
        }
    }

    fn digits(self) -> usize {
        usize::from(self == Self::Mib)
    }
}

/// `12,345` or `12.3`
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is drawn is positive and far below 2^52"
)]
fn shown(value: f64, digits: usize) -> String {
    if digits == 0 {
        grouped(value.round() as u64)
    } else {
        format!("{value:.digits$}")
    }
}
