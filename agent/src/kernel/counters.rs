//! The kernel's counters, summed over the CPUs at the moment of asking.
//!
//! Knows nothing of metric names.

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use conngate_common::{
    counter::{Counter, DURATION_SLOTS, Helper, Program, counter_slot, helper_slot, verdict_slot},
    verdict::Verdict,
};

use super::maps::{MapAccessError, take};

/// `COUNTERS` and `HOLD_DURATION`.
pub struct Counters {
    counters: PerCpuArray<MapData, u64>,
    durations: PerCpuArray<MapData, u64>,
}

impl Counters {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, MapAccessError> {
        Ok(Self { counters: take(ebpf, "COUNTERS")?, durations: take(ebpf, "HOLD_DURATION")? })
    }

    /// How often `counter` was counted.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn of(&self, counter: Counter) -> Result<u64, MapAccessError> {
        self.slot(counter_slot(counter))
    }

    /// How many captured SYNs were judged so.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn judged(&self, verdict: Verdict) -> Result<u64, MapAccessError> {
        self.slot(verdict_slot(verdict))
    }

    /// How often `helper` failed in `program`.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn failed(&self, program: Program, helper: Helper) -> Result<u64, MapAccessError> {
        self.slot(helper_slot(program, helper))
    }

    /// Established holds by duration: slot `i` counts `[2^i, 2^(i+1))` nanoseconds.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn durations(&self) -> Result<[u64; DURATION_SLOTS], MapAccessError> {
        let mut slots = [0; DURATION_SLOTS];
        for (slot, values) in slots.iter_mut().zip(self.durations.iter()) {
            *slot = values.map_err(MapAccessError::of("HOLD_DURATION"))?.iter().sum();
        }
        Ok(slots)
    }

    fn slot(&self, slot: u32) -> Result<u64, MapAccessError> {
        let values = self.counters.get(&slot, 0).map_err(MapAccessError::of("COUNTERS"))?;
        Ok(values.iter().sum())
    }
}
