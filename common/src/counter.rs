//! The slots of the per-CPU arrays `COUNTERS` and `HOLD_DURATION`.
//!
//! Knows nothing of metric names: user space reads the slots at scrape time.

use crate::{codes::codes, reason::Reason, verdict::Verdict};

codes! {
    /// Things that are counted once.
    Counter {
        /// Connections that were held (their first SYN dropped).
        Held = 0 "held",
        /// Held connections that were established.
        Established = 1 "established",
        /// Held connections that the application gave up.
        Abandoned = 2 "abandoned",
        /// Held connections whose SYN budget ran out.
        Expired = 3 "expired",
        /// Held connections that were refused after their release.
        Refused = 4 "refused",
        /// Records that found the ring buffer full.
        LostRecords = 5 "lost-records",
    }
}

codes! {
    /// The programs, as the object names them.
    Program {
        /// cgroup/connect4
        Connect4 = 0 "connect4",
        /// cgroup/connect6
        Connect6 = 1 "connect6",
        /// cgroup_skb/egress
        Egress = 2 "egress",
        /// sock_ops of gated sockets
        SockOps = 3 "sock_ops",
        /// sock_ops of listeners
        Listen = 4 "listen",
        /// cgroup/setsockopt
        SetSockOpt = 5 "setsockopt",
        /// cgroup/sendmsg4
        SendMsg4 = 6 "sendmsg4",
        /// cgroup/sendmsg6
        SendMsg6 = 7 "sendmsg6",
    }
}

codes! {
    /// The helpers that can fail.
    Helper {
        /// bpf_sk_storage_get
        SkStorageGet = 0 "sk_storage_get",
        /// bpf_skb_load_bytes
        SkbLoadBytes = 1 "skb_load_bytes",
        /// bpf_setsockopt
        SetSockOpt = 2 "setsockopt",
        /// bpf_sock_ops_cb_flags_set
        CbFlagsSet = 3 "sock_ops_cb_flags_set",
        /// bpf_probe_read_kernel
        ProbeReadKernel = 4 "probe_read_kernel",
    }
}

const VERDICTS: u32 = Verdict::KINDS * Reason::COUNT;

/// Slots of `COUNTERS`, one `u64` per CPU each.
pub const SLOTS: usize = (VERDICTS + 2 * Reason::COUNT + Counter::COUNT + Program::COUNT * Helper::COUNT) as usize;

/// Durations in `HOLD_DURATION`: slot `i` counts holds of `[2^i, 2^(i+1))` nanoseconds, slot 0 also those of 0.
pub const DURATIONS: usize = 64;

/// Slot of `HOLD_DURATION` behind those: the nanoseconds of all holds together.
pub const DURATION_SUM: u32 = 64;

/// Slots of `HOLD_DURATION`.
pub const DURATION_SLOTS: usize = DURATIONS + 1;

/// Slot of judged SYNs with this verdict.
#[inline(always)]
#[must_use]
pub const fn verdict_slot(verdict: Verdict) -> u32 {
    verdict.kind() * Reason::COUNT + verdict.reason().code()
}

/// Slot of held connections that were let go of for this reason.
#[inline(always)]
#[must_use]
pub const fn released_slot(reason: Reason) -> u32 {
    VERDICTS + reason.code()
}

/// Slot of captured datagrams that were dropped for this reason.
#[inline(always)]
#[must_use]
pub const fn datagram_slot(reason: Reason) -> u32 {
    VERDICTS + Reason::COUNT + reason.code()
}

/// Slot of a counter.
#[inline(always)]
#[must_use]
pub const fn counter_slot(counter: Counter) -> u32 {
    VERDICTS + 2 * Reason::COUNT + counter.code()
}

/// Slot of the failures of one helper in one program.
#[inline(always)]
#[must_use]
pub const fn helper_slot(program: Program, helper: Helper) -> u32 {
    VERDICTS + 2 * Reason::COUNT + Counter::COUNT + program.code() * Helper::COUNT + helper.code()
}

/// Slot of a hold of `nanos`.
#[inline(always)]
#[must_use]
pub const fn duration_slot(nanos: u64) -> u32 {
    (nanos | 1).ilog2()
}

const _: () = assert!(DURATION_SUM as usize == DURATIONS);
