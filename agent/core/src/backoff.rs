//! How long to wait before the next try: twice as long after every failure, up to a limit.
//!
//! Knows nothing of what is tried.

use std::time::Duration;

use conngate_common::id::MonoTime;

/// Probes of a gate. A proxy becomes ready within seconds; 5 ms is what its first connection may lose, 4 probes a second
/// are what a gate may cost that stays closed.
pub const PROBE: Backoff = Backoff { first: Duration::from_millis(5), most: Duration::from_millis(250) };

/// Probes of a gate at which nobody waits: a listener or a held connection wakes it, so asking is only the safety net.
pub const IDLE_PROBE: Backoff = Backoff { first: PROBE.first, most: Duration::from_secs(5) };

/// Replays of a SYN that nobody answered. On loopback an answer takes well below a millisecond.
pub const REPLAY: Backoff = Backoff { first: Duration::from_millis(10), most: Duration::from_millis(320) };

/// A schedule of delays.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
}

impl Backoff {
    /// From `first` on up to `most`.
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most }
    }

    /// The delay after `earlier` failures in a row and one more.
    pub fn delay(self, earlier: u32) -> Duration {
        let factor = 1u32.checked_shl(earlier).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.most)
    }
}

/// `time` plus `delay`, as late as can be said where that is too late.
pub fn after(time: MonoTime, delay: Duration) -> MonoTime {
    time.plus(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(backoff: Backoff, steps: u32) -> Vec<u128> {
        (0..steps).map(|earlier| backoff.delay(earlier).as_millis()).collect()
    }

    #[test]
    fn probe_delays_double_up_to_a_quarter_second() {
        assert_eq!(millis(PROBE, 8), [5, 10, 20, 40, 80, 160, 250, 250]);
    }

    #[test]
    fn replay_delays_double_up_to_a_third_of_a_second() {
        assert_eq!(millis(REPLAY, 8), [10, 20, 40, 80, 160, 320, 320, 320]);
    }

    #[test]
    fn delay_after_endless_failures_is_the_limit() {
        for earlier in [31, 32, 33, u32::MAX] {
            assert_eq!(PROBE.delay(earlier), PROBE.most);
        }
    }

    #[test]
    fn after_an_endless_delay_is_the_end_of_time() {
        assert_eq!(after(MonoTime(7), Duration::MAX), MonoTime(u64::MAX));
    }
}
