//! Quantiles of a sample.
//!
//! Knows nothing of units. Nearest rank, so that every quantile is a value that was measured.

use serde::Serialize;

/// A sample in ascending order, never empty.
#[derive(Clone, Debug)]
pub(super) struct Sample(Vec<f64>);

/// What is told of a sample.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Summary {
    pub(super) n: usize,
    pub(super) min: f64,
    pub(super) p25: f64,
    pub(super) p50: f64,
    pub(super) p75: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Sample {
    /// None where there is nothing.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then_some(Self(values))
    }

    /// The smallest value that at least `percent` of 100 values do not exceed.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).clamp(1, self.0.len());
        self.0[rank - 1]
    }

    pub(super) fn summary(&self) -> Summary {
        Summary {
            n: self.0.len(),
            min: self.percentile(0),
            p25: self.percentile(25),
            p50: self.percentile(50),
            p75: self.percentile(75),
            p99: self.percentile(99),
            max: self.percentile(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_of_nothing_is_none() {
        assert!(Sample::of([]).is_none());
    }

    #[test]
    fn percentile_is_the_nearest_rank_of_an_unordered_sample() {
        let sample = Sample::of((1..=200).rev().map(f64::from)).unwrap();
        let percentiles = [0, 25, 50, 75, 99, 100].map(|percent| sample.percentile(percent));
        assert_eq!(percentiles, [1.0, 50.0, 100.0, 150.0, 198.0, 200.0]);
    }

    #[test]
    fn percentile_of_one_value_is_that_value() {
        let sample = Sample::of([7.0]).unwrap();
        assert_eq!([0, 50, 99, 100].map(|percent| sample.percentile(percent)), [7.0; 4]);
    }
}
