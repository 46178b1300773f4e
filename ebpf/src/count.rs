//! Counting in the datapath: per CPU, no atomics, read by user space at scrape time.

use conngate_common::counter::{Counter, Helper, Program, counter_slot, duration_slot, helper_slot, verdict_slot};
use conngate_common::verdict::Verdict;

use crate::maps::{COUNTERS, HOLD_DURATION};

/// One more SYN with this verdict.
#[inline(always)]
pub fn judged(verdict: Verdict) {
    add(verdict_slot(verdict));
}

/// One more of `counter`.
#[inline(always)]
pub fn counted(counter: Counter) {
    add(counter_slot(counter));
}

/// `helper` failed in `program`.
#[inline(always)]
pub fn failed(program: Program, helper: Helper) {
    add(helper_slot(program, helper));
}

/// A held connection was established after `nanos`.
#[inline(always)]
pub fn held_for(nanos: u64) {
    if let Some(slot) = HOLD_DURATION.get_ptr_mut(duration_slot(nanos)) {
        // SAFETY: this CPU's slot, and programs of one hook do not nest on a CPU.
        unsafe { *slot += 1 };
    }
}

#[inline(always)]
fn add(slot: u32) {
    if let Some(slot) = COUNTERS.get_ptr_mut(slot) {
        // SAFETY: as above.
        unsafe { *slot += 1 };
    }
}
