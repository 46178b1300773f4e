//! The node's probe budget: at most so many probes a second, however many gates there are.
//!
//! Knows nothing of probes. Turns are given in the order of asking; a short burst goes at once (the generic cell rate
//! algorithm, ITU-T I.371).

use std::{num::NonZeroU32, time::Duration};

use tokio::time::Instant;

/// How much of a second's budget may be used at once.
const BURST: u32 = 10;

/// Hands out turns.
#[derive(Debug)]
pub struct Budget {
    /// Between two turns.
    interval: Duration,
    /// When the budget would be used up evenly; `None`: unused so far.
    next: Option<Instant>,
}

impl Budget {
    /// A budget of `per_second` turns a second.
    #[must_use]
    pub fn new(per_second: NonZeroU32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.get(), next: None }
    }

    /// Takes the next turn; how long to wait for it.
    #[must_use]
    pub fn take(&mut self, now: Instant) -> Duration {
        let next = self.next.map_or(now, |next| next.max(now));
        self.next = Some(next + self.interval);
        next.saturating_duration_since(now).saturating_sub(Duration::from_secs(1) / BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_beyond_the_burst_are_one_interval_apart() {
        let (now, mut budget) = (Instant::now(), Budget::new(NonZeroU32::new(1000).unwrap()));
        let waits: Vec<_> = (0..300).map(|_| budget.take(now)).collect();
        assert!(waits[..=100].iter().all(Duration::is_zero));
        assert_eq!(waits[299], Duration::from_millis(199));
    }

    #[test]
    fn budget_unused_for_long_is_not_saved_up() {
        let (now, mut budget) = (Instant::now(), Budget::new(NonZeroU32::new(10).unwrap()));
        let _ = budget.take(now);
        let later = now + Duration::from_secs(3600);
        assert_eq!([budget.take(later), budget.take(later)], [Duration::ZERO; 2]);
        assert_eq!(budget.take(later), Duration::from_millis(100));
    }
}
