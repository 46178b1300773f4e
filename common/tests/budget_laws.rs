//! The laws of the SYN budget, against a naive play of the kernel's own timer.

use conngate_common::budget::{Drop, MAX_SYNCNT, ORDINARY_RETRIES, STEADY_ATTEMPTS, after_release, drop_code};
use proptest::prelude::*;

/// How long a SYN is waited for from now on, in jiffies: `tcp_retransmit_timer` and `tcp_write_timeout` of
/// net/ipv4/tcp_timer.c, the timer being armed with `rto`. The limit of 120 s on one wait only makes this shorter.
fn waits(mut retransmits: u64, mut rto: u64, retries: u64) -> u64 {
    let mut waited = rto;
    while retransmits < retries {
        retransmits += 1;
        rto *= 2;
        waited += rto;
    }
    waited
}

/// What the kernel can hand over: `icsk_retransmits` is a byte, HZ is 100 to 1000, an RTO is at most 120 s, the sysctls
/// are at most 127.
fn kernel() -> impl Strategy<Value = (u32, u32, u32, u32, u32)> {
    let hz = prop::sample::select(&[100u32, 250, 300, 1000][..]);
    let ordinary = prop_oneof![2 => Just(ORDINARY_RETRIES), 1 => 1..=20u32, 1 => 1..=127u32];
    let linear = prop_oneof![1 => Just(0), 1 => Just(4), 1 => 0..=127u32];
    (0..=255u32, hz, ordinary, linear).prop_flat_map(|(retransmits, hz, ordinary, linear)| {
        let rto = prop_oneof![3 => 1..=2 * hz, 1 => 1..=120 * hz];
        (Just(retransmits), rto, Just(hz), Just(ordinary), Just(linear))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_release_any_socket_is_a_budget_that_the_kernel_accepts((retransmits, rto, hz, ordinary, linear) in kernel()) {
        let budget = after_release(retransmits, rto, hz, ordinary, linear);
        prop_assert!((1..=MAX_SYNCNT).contains(&budget));
    }

    #[test]
    fn after_release_waits_no_longer_than_an_ordinary_socket((retransmits, rto, hz, ordinary, linear) in kernel()) {
        let budget = after_release(retransmits, rto, hz, ordinary, linear);
        // 1 is the least that can be set: there the kernel's minimum decides, not this function.
        let retries = u64::from(budget) + u64::from(linear);
        if budget > 1 && ordinary <= 31 {
            let whole = waits(0, u64::from(hz), u64::from(ordinary));
            // It may be worn out already: then the wait that is under way is the last.
            prop_assert!(waits(u64::from(retransmits), u64::from(rto), retries) <= whole.max(u64::from(rto)));
        }
    }

    #[test]
    fn after_release_waits_as_long_as_it_may((retransmits, rto, hz, ordinary, linear) in kernel()) {
        let budget = after_release(retransmits, rto, hz, ordinary, linear);
        let retries = u64::from(budget) + u64::from(linear);
        let left = retries.saturating_sub(u64::from(retransmits));
        if budget < MAX_SYNCNT && left < u64::from(ordinary) && ordinary <= 31 {
            let whole = waits(0, u64::from(hz), u64::from(ordinary));
            prop_assert!(waits(u64::from(retransmits), u64::from(rto), retries.max(u64::from(retransmits)) + 1) > whole);
        }
    }

    #[test]
    fn after_release_never_grants_more_retries_than_an_ordinary_socket((retransmits, rto, hz, ordinary, linear) in kernel()) {
        let budget = after_release(retransmits, rto, hz, ordinary, linear);
        prop_assert!(budget == 1 || budget + linear <= retransmits + ordinary);
    }

    #[test]
    fn after_release_more_retransmits_is_no_smaller_budget(
        (retransmits, rto, hz, ordinary, linear) in kernel(),
        more in 0..=255u32,
    ) {
        let few = after_release(retransmits, rto, hz, ordinary, linear);
        prop_assert!(few <= after_release(retransmits + more, rto, hz, ordinary, linear));
    }

    #[test]
    fn after_release_rto_of_one_second_leaves_the_ordinary_retries(
        retransmits in 0..=100u32,
        hz in prop::sample::select(&[100u32, 250, 300, 1000][..]),
    ) {
        prop_assert_eq!(after_release(retransmits, hz, hz, ORDINARY_RETRIES, 0), retransmits + ORDINARY_RETRIES);
    }

    #[test]
    fn drop_code_budget_that_was_not_raised_always_backs_off(attempts in 0..2 * STEADY_ATTEMPTS) {
        prop_assert_eq!(drop_code(attempts, false), Drop::BackOff);
    }

    #[test]
    fn drop_code_once_backed_off_stays_so(attempts in 0..2 * STEADY_ATTEMPTS, more: u32) {
        if drop_code(attempts, true) == Drop::BackOff {
            prop_assert_eq!(drop_code(attempts.saturating_add(more), true), Drop::BackOff);
        }
    }
}

#[test]
fn drop_code_is_steady_until_the_last_steady_attempt() {
    assert_eq!(drop_code(0, true), Drop::Steady);
    assert_eq!(drop_code(STEADY_ATTEMPTS - 1, true), Drop::Steady);
    assert_eq!(drop_code(STEADY_ATTEMPTS, true), Drop::BackOff);
}

#[test]
fn drop_code_is_a_return_value_that_drops() {
    // 1 would pass, 3 would pass and signal congestion (__cgroup_bpf_run_filter_skb).
    assert_eq!((Drop::Steady as u8, Drop::BackOff as u8), (2, 0));
}

#[test]
fn after_release_linear_timeouts_are_taken_off() {
    // The kernel (6.5 and later) adds the sysctl to what is set.
    assert_eq!(after_release(10, 250, 250, ORDINARY_RETRIES, 4), 12);
}

#[test]
fn after_release_short_rto_grants_no_more_retries_than_ordinary() {
    assert_eq!(after_release(3, 10, 250, ORDINARY_RETRIES, 0), 3 + ORDINARY_RETRIES);
}

#[test]
fn after_release_long_rto_leaves_fewer_retries() {
    // 127 s are what an ordinary socket waits: 30 + 60 = 90 s fit, 30 + 60 + 120 do not.
    assert_eq!(after_release(9, 30 * 250, 250, ORDINARY_RETRIES, 0), 10);
}
