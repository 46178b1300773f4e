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

/// The moment on the kernel's clock of a time of the wall clock; `None`: the machine was not there yet.
#[must_use]
pub fn monotonic(time: SystemTime) -> Option<MonoTime> {
    let (monotonic, wall) = (now(), SystemTime::now());
    let distance = |duration: Duration| u64::try_from(duration.as_nanos()).ok();
    match wall.duration_since(time) {
        Ok(ago) => monotonic.0.checked_sub(distance(ago)?),
        Err(ahead) => monotonic.0.checked_add(distance(ahead.duration())?),
    }
    .map(MonoTime)
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
    fn moment_is_the_same_on_both_clocks_and_there_is_none_before_the_machine_began() {
        let moment = MonoTime(now().0 / 2);
        let again = monotonic(wall(moment)).unwrap();
        // Each of the two reads both clocks, one after the other.
        assert!(again.0.abs_diff(moment.0) < 1_000_000_000, "{moment:?} {again:?}");
        assert_eq!(monotonic(SystemTime::UNIX_EPOCH), None);
    }

    #[test]
    fn clock_ticks_at_a_frequency_that_kernels_are_built_with() {
        assert!([100, 250, 300, 1000].contains(&hz()), "HZ {}", hz());
        assert!(now() <= now());
    }
}
