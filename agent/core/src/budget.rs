//! The node's probe budget: at most so many probes a second, however many gates there are.
//!
//! Turns are given in the order of asking; a short burst goes at once (the generic cell rate algorithm, ITU-T I.371).

use std::{num::NonZeroU32, time::Duration};

use conngate_common::id::MonoTime;

use crate::backoff::after;

/// How much of a second's budget may be used at once.
const BURST: u32 = 10;

/// Hands out turns.
#[derive(Debug)]
pub struct Budget {
    /// Between two turns.
    interval: Duration,
    /// When the budget would be used up evenly.
    next: MonoTime,
}

impl Budget {
    /// A budget of `per_second` turns a second.
    #[must_use]
    pub fn new(per_second: NonZeroU32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.get(), next: MonoTime(0) }
    }

    /// Takes the next turn; when it is.
    #[must_use]
    pub fn take(&mut self, now: MonoTime) -> MonoTime {
        let next = self.next.max(now);
        self.next = after(next, self.interval);
        let burst = Duration::from_secs(1) / BURST;
        after(now, Duration::from_nanos(next.since(now)).saturating_sub(burst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn turns_beyond_the_burst_are_one_interval_apart() {
        let (now, mut budget) = (MonoTime(SECOND), Budget::new(NonZeroU32::new(1000).unwrap()));
        let turns: Vec<_> = (0..300).map(|_| budget.take(now).since(now)).collect();
        assert!(turns[..=100].iter().all(|wait| *wait == 0));
        assert_eq!(turns[299], 199_000_000);
    }

    #[test]
    fn budget_unused_for_long_is_not_saved_up() {
        let mut budget = Budget::new(NonZeroU32::new(10).unwrap());
        let _ = budget.take(MonoTime(SECOND));
        let later = MonoTime(3600 * SECOND);
        assert_eq!([budget.take(later), budget.take(later)], [later; 2]);
        assert_eq!(budget.take(later).since(later), 100_000_000);
    }
}
