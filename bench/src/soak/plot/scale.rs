//! From values to places, and the values that are worth a line.

/// A range of values from 0, and the length that it is drawn on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    step: f64,
    top: f64,
    length: f64,
}

impl Scale {
    /// A scale whose last tick is not below the greatest value.
    pub(super) fn up_to_a_tick(greatest: f64, ticks: f64, length: f64) -> Self {
        let step = step(greatest / ticks);
        let top = (greatest / step).ceil().max(1.0) * step;
        Self { step, top, length }
    }

    /// A scale that ends with the greatest value.
    pub(super) fn up_to(greatest: f64, ticks: f64, length: f64) -> Self {
        Self {
            step: step(greatest / ticks),
            top: greatest,
            length,
        }
    }

    /// How far from 0 it is drawn.
    pub(super) fn at(self, value: f64) -> f64 {
        (value / self.top).clamp(0.0, 1.0) * self.length
    }

    pub(super) fn ticks(self) -> impl Iterator<Item = f64> {
        (0..=u32::MAX)
            .map(move |number| f64::from(number) * self.step)
            .take_while(move |tick| *tick <= self.top * (1.0 + 1e-9))
    }
}

/// The least of 1, 2, 5, 10, 20, … that is not below: counts have no fractions.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least)
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(greatest: f64, expected: &[f64]) {
        let scale = Scale::up_to_a_tick(greatest, 4.0, 100.0);
        assert_eq!(scale.ticks().collect::<Vec<_>>(), expected, "{greatest}");
        assert_eq!(scale.at(*expected.last().unwrap()), 100.0);
    }

    #[test]
    fn ticks_are_round_and_enclose_all_values() {
        check(0.0, &[0.0, 1.0]);
        check(3.0, &[0.0, 1.0, 2.0, 3.0]);
        check(92.0, &[0.0, 50.0, 100.0]);
        check(61.3, &[0.0, 20.0, 40.0, 60.0, 80.0]);
        check(20_500.0, &[0.0, 10_000.0, 20_000.0, 30_000.0]);
    }
}
