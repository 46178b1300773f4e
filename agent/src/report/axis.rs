//! A time axis: seconds to places from 0 to 100, and its ticks.
//!
//! Knows nothing of what is drawn on it.
//!
//! Invariants: every place lies within 0 and 100; a later moment is never left of an earlier one; ticks are multiples
//! of one step, lie on the axis, rise, and are at most [`MOST_TICKS`].

use super::words::length;

/// The shortest axis, in seconds.
const SHORTEST: f64 = 0.001;

/// Room behind the last moment, as a share of the axis before it: for the sign at a bar's end.
const MARGIN: f64 = 0.04;

/// About how many steps an axis has.
const STEPS: f64 = 5.0;

/// How many ticks an axis has at most.
pub(super) const MOST_TICKS: u32 = 12;

/// Steps from a minute to a day.
const LONG: [f64; 12] = [60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0, 43_200.0, DAY];
const DAY: f64 = 86_400.0;

/// A time axis, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    from: f64,
    to: f64,
    step: f64,
}

impl Axis {
    /// An axis that shows everything between `from` and `to`.
    #[must_use]
    pub fn new(from: f64, to: f64) -> Self {
        let span = (to - from).max(SHORTEST);
        let to = from + span * (1.0 + MARGIN);
        Self { from, to, step: step(span / STEPS) }
    }

    /// Where it begins.
    pub(super) const fn from(&self) -> f64 {
        self.from
    }

    /// Where it ends.
    pub(super) const fn to(&self) -> f64 {
        self.to
    }

    /// The place of a moment, in hundredths of the axis; what lies beyond is put at its end.
    #[must_use]
    pub fn x(&self, seconds: f64) -> f64 {
        ((seconds - self.from) / (self.to - self.from) * 100.0).clamp(0.0, 100.0)
    }

    /// The ticks, in seconds.
    #[must_use]
    pub fn ticks(&self) -> Vec<f64> {
        let first = (self.from / self.step).ceil();
        // Adding 0 makes a negative zero positive.
        let ticks = (0..MOST_TICKS).map(|index| (first + f64::from(index)) * self.step + 0.0);
        ticks.take_while(|&tick| tick <= self.to).collect()
    }

    /// The words at a tick: in one unit, with as many decimals as the step has.
    #[must_use]
    pub fn label(&self, tick: f64) -> String {
        let (unit, name) = self.unit();
        let decimals = decimals(self.step / unit);
        format!("{:.decimals$} {name}", tick / unit).replace('-', "\u{2212}")
    }

    /// The words at a moment between ticks: in the ticks' unit where that has decimals, and finer than they.
    pub(super) fn moment(&self, at: f64) -> String {
        let (unit, name) = self.unit();
        if unit > 1.0 {
            return length(at);
        }
        let decimals = decimals(self.step / unit) + 2;
        format!("{:.decimals$} {name}", at / unit).replace('-', "\u{2212}")
    }

    fn unit(&self) -> (f64, &'static str) {
        if self.step >= LONG[6] {
            (3600.0, "h")
        } else if self.step >= LONG[0] {
            (60.0, "min")
        } else if self.from.abs().max(self.to.abs()) < 1.0 {
            (0.001, "ms")
        } else {
            (1.0, "s")
        }
    }
}

/// The next of the lengths that people count in, from `rough` on.
fn step(rough: f64) -> f64 {
    if rough <= 10.0 {
        return of_decade(rough);
    }
    let long = [20.0, 30.0].into_iter().chain(LONG).find(|&step| step >= rough);
    long.unwrap_or_else(|| DAY * of_decade(rough / DAY))
}

/// 1, 2, 5 or 10 times a power of ten.
fn of_decade(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough);
    factor.unwrap_or(10.0) * power
}

/// How many decimals `step` has.
fn decimals(step: f64) -> usize {
    let mut decimals = 0;
    let mut scaled = step;
    while decimals < 9 && (scaled - scaled.round()).abs() > 1e-6 {
        scaled *= 10.0;
        decimals += 1;
    }
    decimals
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(from: f64, to: f64) -> Vec<String> {
        let axis = Axis::new(from, to);
        axis.ticks().into_iter().map(|tick| axis.label(tick)).collect()
    }

    #[test]
    fn label_each_length_has_its_unit() {
        assert_eq!(labels(0.0, 0.003), ["0 ms", "1 ms", "2 ms", "3 ms"]);
        assert_eq!(labels(0.0, 0.4), ["0 ms", "100 ms", "200 ms", "300 ms", "400 ms"]);
        assert_eq!(labels(0.0, 2.2), ["0.0 s", "0.5 s", "1.0 s", "1.5 s", "2.0 s"]);
        assert_eq!(labels(0.0, 60.0), ["0 s", "20 s", "40 s", "60 s"]);
        assert_eq!(labels(0.0, 600.0), ["0 min", "2 min", "4 min", "6 min", "8 min", "10 min"]);
        assert_eq!(labels(0.0, 10_000.0), ["0 h", "1 h", "2 h"]);
        assert_eq!(labels(-0.3, 2.0), ["0.0 s", "0.5 s", "1.0 s", "1.5 s", "2.0 s"]);
        assert_eq!(labels(-3.0, 1.0), ["\u{2212}3 s", "\u{2212}2 s", "\u{2212}1 s", "0 s", "1 s"]);
        assert_eq!(labels(600.0, 600.004), ["600.000 s", "600.001 s", "600.002 s", "600.003 s", "600.004 s"]);
        assert_eq!(labels(0.0, 10.0 * DAY).last().unwrap(), "240 h");
        assert_eq!(labels(0.0, 0.0), ["0.0 ms", "0.2 ms", "0.4 ms", "0.6 ms", "0.8 ms", "1.0 ms"]);
    }

    #[test]
    fn moment_is_finer_than_the_ticks() {
        assert_eq!(Axis::new(0.0, 3.0).moment(2.978), "2.98 s");
        assert_eq!(Axis::new(0.0, 60.0).moment(60.0), "60.00 s");
        assert_eq!(Axis::new(600.0, 602.0).moment(601.9), "601.900 s");
        assert_eq!(Axis::new(0.0, 0.0035).moment(0.0033), "3.30 ms");
        assert_eq!(Axis::new(0.0, 600.0).moment(599.0), "9 min 59 s");
    }

    proptest! {
        #[test]
        fn axis_of_anything_keeps_its_laws(
            from in -1e9..1e9_f64, exponent in -7.0..9.0_f64, moments in prop::collection::vec(-2e9..2e9_f64, 8),
        ) {
            let span = 10_f64.powf(exponent);
            let axis = Axis::new(from, from + span);
            let mut moments = moments;
            moments.extend([from, from + span, from + span / 3.0]);
            moments.sort_by(f64::total_cmp);
            let places: Vec<_> = moments.iter().map(|&moment| axis.x(moment)).collect();
            prop_assert!(places.iter().all(|place| (0.0..=100.0).contains(place)));
            prop_assert!(places.is_sorted());
            prop_assert_eq!(axis.x(from), 0.0);
            prop_assert!(axis.x(from + span) < 100.0);

            let ticks = axis.ticks();
            prop_assert!(!ticks.is_empty() && ticks.len() <= MOST_TICKS as usize, "{ticks:?}");
            prop_assert!(ticks.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(ticks.iter().all(|&tick| tick >= axis.from() && tick <= axis.to()));
            let mut labels: Vec<_> = ticks.iter().map(|&tick| axis.label(tick)).collect();
            labels.dedup();
            prop_assert_eq!(labels.len(), ticks.len());
        }
    }
}
