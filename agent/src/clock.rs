//! The clocks that the kernel and user space share.
//!
//! Knows nothing of async timers: only of the numbers.

use std::time::{Duration, SystemTime};

use conngate_common::id::MonoTime;
use nix::time::{ClockId, clock_getres, clock_gettime};

/// Now, on the clock of `bpf_ktime_get_ns` and of TCP's timers and timestamps.
///
/// # Panics
/// Never: `CLOCK_MONOTONIC` exists on every Linux.
#[must_use]
pub fn now() -> MonoTime {
    MonoTime(nanos(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC exists")))
}

/// The wall clock's time of a moment on the kernel's.
#[must_use]
pub fn wall(time: MonoTime) -> SystemTime {
    let (monotonic, wall) = (now(), SystemTime::now());
    if time <= monotonic {
        wall - Duration::from_nanos(monotonic.since(time))
    } else {
        wall + Duration::from_nanos(time.since(monotonic))
    }
}

/// The kernel's timer frequency in jiffies per second: the resolution of the coarse clocks is one tick.
///
/// # Panics
/// Never: `CLOCK_MONOTONIC_COARSE` exists since 2.6.32.
#[must_use]
pub fn hz() -> u32 {
    let tick = nanos(clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).expect("CLOCK_MONOTONIC_COARSE exists"));
    u32::try_from(1_000_000_000 / tick.max(1)).unwrap_or(u32::MAX)
}

fn nanos(time: nix::sys::time::TimeSpec) -> u64 {
    u64::try_from(std::time::Duration::from(time).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_ticks_at_a_frequency_that_kernels_are_built_with() {
        assert!([100, 250, 300, 1000].contains(&hz()), "HZ {}", hz());
        assert!(now() <= now());
    }
}
