//! How long the kernel goes on retrying a SYN: what a held socket's attempts return, and what is left after release.
//!
//! Knows nothing of gates. The numbers are the kernel's (net/ipv4/tcp_timer.c), measured in docs/kernel-support.md.

/// The largest `TCP_SYNCNT` that the kernel accepts, `MAX_TCP_SYNCNT` in include/net/tcp.h.
pub const MAX_SYNCNT: u32 = 127;

/// `TCP_SYN_RETRIES`, the kernel's default of `net.ipv4.tcp_syn_retries`.
pub const ORDINARY_RETRIES: u32 = 6;

/// The attempts of one hold; what is left of [`MAX_SYNCNT`] is for the time after it.
pub const HOLD_ATTEMPTS: u32 = 123;

/// The wait between steady attempts, `TCP_RESOURCE_PROBE_INTERVAL` in include/net/tcp.h, in nanoseconds: nothing makes it longer.
const STEADY_NS: u64 = 500_000_000;

/// A hold that is longer than steady attempts can carry is steady for this many, then backs off.
pub const STEADY_ATTEMPTS: u32 = 100;

/// The same where the back-off is bounded by [`back_off_ms`], and so need not be put off.
pub const STEADY_ATTEMPTS_BOUNDED: u32 = 20;

/// What the kernel accepts as `TCP_RTO_MAX_MS`, `TCP_RTO_MAX_MIN_SEC` and `TCP_RTO_MAX_SEC` in include/net/tcp.h.
const BACK_OFF_MS: (u32, u32) = (1_000, 120_000);

/// The SYN timeout that the kernel starts from, `TCP_TIMEOUT_INIT`, in seconds.
const INITIAL_RTO_SECONDS: u64 = 1;

/// What `cgroup_skb/egress` returns to drop a packet (`__cgroup_bpf_run_filter_skb` in kernel/bpf/cgroup.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Drop {
    /// 2, `NET_XMIT_DROP`: "local congestion", the kernel tries again after half a second without backing off.
    Steady = 2,
    /// 0, `-EPERM`: as if the SYN were lost on the wire, with exponential back-off.
    BackOff = 0,
}

/// Whether a hold that has had `attempts` can stay steady for the `left_ns` that it may still last.
#[inline(always)]
#[must_use]
pub const fn stays_steady(attempts: u32, left_ns: u64) -> bool {
    left_ns <= HOLD_ATTEMPTS.saturating_sub(attempts) as u64 * STEADY_NS
}

/// How the drop number `attempts` (from 0) is returned. Steady only to a socket whose budget was `raised`: the kernel's own
/// back-off makes any other last as long as it would on a dead line, be its `TCP_SYNCNT` the application's or the kernel's.
#[inline(always)]
#[must_use]
pub const fn drop_code(attempts: u32, raised: bool, bounded: bool, left_ns: u64) -> Drop {
    let steady = if bounded { STEADY_ATTEMPTS_BOUNDED } else { STEADY_ATTEMPTS };
    if raised && (attempts < steady || stays_steady(attempts, left_ns)) { Drop::Steady } else { Drop::BackOff }
}

/// The longest wait between two attempts, in milliseconds, for a hold that has had `attempts` and may last `left_ns` more: with
/// those that it has left it is tried until its end.
#[inline(always)]
#[must_use]
pub fn back_off_ms(attempts: u32, left_ns: u64) -> u32 {
    // The compiler must see that it is not 0: a program with a way to panic is refused.
    let attempts = if attempts < HOLD_ATTEMPTS { HOLD_ATTEMPTS - attempts } else { 1 };
    let ms = left_ns / 1_000_000 / u64::from(attempts) + 1;
    u32::try_from(ms).unwrap_or(u32::MAX).clamp(BACK_OFF_MS.0, BACK_OFF_MS.1)
}

/// The `TCP_SYNCNT` of a socket that is released but not answered: from here it waits no longer than an ordinary socket
/// waits from its first SYN.
///
/// `retransmits` and `rto_jiffies` are the socket's now, `ordinary` is `net.ipv4.tcp_syn_retries`, `linear` is
/// `net.ipv4.tcp_syn_linear_timeouts`, which the kernel adds to what we set.
#[inline(always)]
#[must_use]
pub const fn after_release(retransmits: u32, rto_jiffies: u32, hz: u32, ordinary: u32, linear: u32) -> u32 {
    // An ordinary socket waits 1 + 2 + 4 + … s. This one waits rto, 2 rto, 4 rto, …, which is rto (2^(n + 1) - 1) with n
    // retries: the largest n that fits into the same time. In closed form: a loop with a condition in each step costs the
    // verifiers before 6.12 more than a million instructions.
    let ordinary = if ordinary > 31 { 31 } else { ordinary };
    let whole = ((1u64 << (ordinary + 1)) - 1) * INITIAL_RTO_SECONDS * hz as u64;
    let rto = if rto_jiffies == 0 { 1 } else { rto_jiffies as u64 };
    // At least 1 already: `| 1` only tells the compiler so.
    let fits = ((whole / rto + 1) | 1).ilog2().saturating_sub(1);
    let retries = if fits > ordinary { ordinary } else { fits };
    let budget = retransmits.saturating_add(retries).saturating_sub(linear);
    if budget < 1 {
        1
    } else if budget > MAX_SYNCNT {
        MAX_SYNCNT
    } else {
        budget
    }
}
