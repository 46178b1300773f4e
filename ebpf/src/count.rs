//! Counting in the datapath: per CPU, no atomics, read by user space at scrape time.

use conngate_common::{
    counter::{
        Counter, DURATION_SUM, Helper, Program, counter_slot, datagram_slot, duration_slot, helper_slot, released_slot,
        verdict_slot,
    },
    reason::Reason,
    verdict::Verdict,
};

use aya_ebpf::btf_maps::PerCpuArray;

use crate::maps::{COUNTERS, HOLD_DURATION};

/// One more SYN with this verdict.
#[inline(always)]
pub fn judged(verdict: Verdict) {
    add(&COUNTERS, verdict_slot(verdict), 1);
}

/// A held connection was let go of.
#[inline(always)]
pub fn released(reason: Reason) {
    add(&COUNTERS, released_slot(reason), 1);
}

/// One more captured datagram was dropped.
#[inline(always)]
pub fn datagram(reason: Reason) {
    add(&COUNTERS, datagram_slot(reason), 1);
}

/// One more of `counter`.
#[inline(always)]
pub fn counted(counter: Counter) {
    add(&COUNTERS, counter_slot(counter), 1);
}

/// `helper` failed in `program`.
#[inline(always)]
pub fn failed(program: Program, helper: Helper) {
    add(&COUNTERS, helper_slot(program, helper), 1);
}

/// A held connection was established after `nanos`.
#[inline(always)]
pub fn held_for(nanos: u64) {
    add(&HOLD_DURATION, duration_slot(nanos), 1);
    add(&HOLD_DURATION, DURATION_SUM, nanos);
}

#[inline(always)]
fn add<const N: usize>(map: &PerCpuArray<u64, N>, slot: u32, amount: u64) {
    if let Some(slot) = map.get_ptr_mut(slot) {
        // SAFETY: this CPU's slot, and programs of one hook do not nest on a CPU.
        unsafe { *slot += amount };
    }
}
