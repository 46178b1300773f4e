//! The kernel's counters, summed over the CPUs at the moment of asking.
//!
//! Knows nothing of metric names.

use std::time::Duration;

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use conngate_common::{
    counter::{
        Counter, DURATION_SLOTS, DURATION_SUM, DURATIONS, Helper, Program, SLOTS, counter_slot, datagram_slot,
        helper_slot, released_slot, verdict_slot,
    },
    reason::Reason,
    verdict::Verdict,
};

use super::maps::{MapAccessError, take};

/// `COUNTERS` and `HOLD_DURATION`.
pub struct Counters {
    counters: PerCpuArray<MapData, u64>,
    durations: PerCpuArray<MapData, u64>,
}

/// What was counted up to one moment.
#[derive(Clone, Debug)]
pub struct Counted {
    slots: [u64; SLOTS],
    durations: [u64; DURATION_SLOTS],
}

impl Counters {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, MapAccessError> {
        Ok(Self { counters: take(ebpf, "COUNTERS")?, durations: take(ebpf, "HOLD_DURATION")? })
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn read(&self) -> Result<Counted, MapAccessError> {
        Ok(Counted {
            slots: sums(&self.counters).map_err(MapAccessError::of("COUNTERS"))?,
            durations: sums(&self.durations).map_err(MapAccessError::of("HOLD_DURATION"))?,
        })
    }
}

fn sums<const N: usize>(map: &PerCpuArray<MapData, u64>) -> Result<[u64; N], aya::maps::MapError> {
    let mut sums = [0; N];
    for (sum, values) in sums.iter_mut().zip(map.iter()) {
        *sum = values?.iter().sum();
    }
    Ok(sums)
}

impl Counted {
    /// Nothing yet.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { slots: [0; SLOTS], durations: [0; DURATION_SLOTS] }
    }

    /// How often `counter` was counted.
    #[must_use]
    pub fn of(&self, counter: Counter) -> u64 {
        self.slot(counter_slot(counter))
    }

    /// How many captured SYNs were judged so.
    #[must_use]
    pub fn judged(&self, verdict: Verdict) -> u64 {
        self.slot(verdict_slot(verdict))
    }

    /// How many held connections were let go of for this reason.
    #[must_use]
    pub fn released(&self, reason: Reason) -> u64 {
        self.slot(released_slot(reason))
    }

    /// How many captured datagrams were dropped for this reason.
    #[must_use]
    pub fn datagrams(&self, reason: Reason) -> u64 {
        self.slot(datagram_slot(reason))
    }

    /// How often `helper` failed in `program`.
    #[must_use]
    pub fn failed(&self, program: Program, helper: Helper) -> u64 {
        self.slot(helper_slot(program, helper))
    }

    /// How often each helper failed in each program.
    pub fn failures(&self) -> impl Iterator<Item = (Program, Helper, u64)> {
        let pairs = Program::ALL.iter().flat_map(|program| Helper::ALL.iter().map(|helper| (*program, *helper)));
        pairs.map(|(program, helper)| (program, helper, self.failed(program, helper)))
    }

    /// Established holds by duration: slot `i` counts `[2^i, 2^(i+1))` nanoseconds.
    #[must_use]
    pub fn durations(&self) -> &[u64] {
        &self.durations[..DURATIONS]
    }

    /// How long established holds lasted, all together.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        Duration::from_nanos(self.durations[DURATION_SUM as usize])
    }

    fn slot(&self, slot: u32) -> u64 {
        self.slots[slot as usize]
    }
}
