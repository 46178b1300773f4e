//! The laws of the SYN budget, against a naive play of the kernel's own timer.

use conngate_common::budget::{
    Drop, HOLD_ATTEMPTS, MAX_SYNCNT, ORDINARY_RETRIES, STEADY_ATTEMPTS, STEADY_ATTEMPTS_BOUNDED, after_release,
    back_off_ms, drop_code, stays_steady,
};
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
    fn drop_code_budget_that_was_not_raised_always_backs_off(
        attempts in 0..2 * STEADY_ATTEMPTS,
        bounded: bool,
        left in 0..MOST,
    ) {
        prop_assert_eq!(drop_code(attempts, false, bounded, left), Drop::BackOff);
    }

    #[test]
    fn hold_of_a_minute_is_tried_every_half_second_to_its_end(timer in timer()) {
        let hold = play(61 * SECOND, false, &timer);
        prop_assert!(hold.longest_wait <= timer.first + timer.late(timer.first), "{hold:?}");
        prop_assert_eq!(hold.expired, false);
    }

    #[test]
    fn hold_where_the_back_off_is_bounded_is_tried_to_its_end(cap in SECOND..MOST, timer in timer()) {
        let hold = play(cap, true, &timer);
        // Spread over the attempts after the steady ones, of which the first few are closer together.
        let fair = (cap / u64::from(HOLD_ATTEMPTS - STEADY_ATTEMPTS_BOUNDED)).max(SECOND) * 11 / 10;
        prop_assert!(hold.longest_wait <= fair + timer.late(fair), "{} s: {hold:?}", cap / SECOND);
        prop_assert_eq!(hold.expired, false);
    }

    #[test]
    fn hold_where_nothing_bounds_the_back_off_is_tried_to_its_end(cap in SECOND..MOST, timer in timer()) {
        prop_assert_eq!(play(cap, false, &timer).expired, false);
    }
}

const SECOND: u64 = 1_000_000_000;
const STEADY: u64 = SECOND / 2;
/// The longest timeout that can be asked for, and the kernel's second more.
const MOST: u64 = 601 * SECOND;

/// The kernel's timers: when the first goes off, and by how much each is late, in parts of 64 (kernel/time/timer.c: up to an
/// eighth).
#[derive(Debug)]
struct Timer {
    first: u64,
    late: u64,
}

impl Timer {
    fn late(&self, wait: u64) -> u64 {
        wait * self.late / 64
    }
}

fn timer() -> impl Strategy<Value = Timer> {
    (prop::sample::select(&[STEADY, SECOND][..]), 0..=8u64).prop_map(|(first, late)| Timer { first, late })
}

/// How a hold went that the agent never ended.
#[derive(Debug)]
struct Hold {
    longest_wait: u64,
    /// The socket gave up before the hold was over.
    expired: bool,
}

/// Plays `tcp_retransmit_timer` on a socket that the programs hold for `cap`: its budget is raised at the first timeout.
fn play(cap: u64, bounded: bool, timer: &Timer) -> Hold {
    let (mut now, mut rto, mut bound, mut bounds) = (0, timer.first, 120 * SECOND, false);
    let mut hold = Hold { longest_wait: 0, expired: false };
    let mut wait = timer.first;
    for attempts in 1.. {
        now += wait + timer.late(wait);
        hold.longest_wait = hold.longest_wait.max(wait + timer.late(wait));
        if now >= cap {
            break;
        }
        if attempts > MAX_SYNCNT {
            hold.expired = true;
            break;
        }
        let left = cap - now;
        if bounded && (bounds || !stays_steady(attempts, left)) {
            (bounds, bound) = (true, u64::from(back_off_ms(attempts, left)) * 1_000_000);
        }
        wait = match drop_code(attempts, true, bounds, left) {
            Drop::Steady => STEADY,
            Drop::BackOff => {
                rto = (2 * rto).min(bound);
                rto
            }
        };
    }
    hold
}

#[test]
fn drop_code_is_steady_until_the_last_steady_attempt_and_again_when_the_end_is_near() {
    for (bounded, last) in [(false, STEADY_ATTEMPTS), (true, STEADY_ATTEMPTS_BOUNDED)] {
        assert_eq!(drop_code(last - 1, true, bounded, MOST), Drop::Steady);
        assert_eq!(drop_code(last, true, bounded, MOST), Drop::BackOff);
        assert_eq!(drop_code(last, true, bounded, SECOND), Drop::Steady);
    }
}

#[test]
fn back_off_ms_is_what_the_kernel_accepts() {
    assert_eq!(back_off_ms(0, 0), 1_000);
    assert_eq!(back_off_ms(HOLD_ATTEMPTS, u64::MAX), 120_000);
    assert_eq!(back_off_ms(HOLD_ATTEMPTS - 100, 250 * SECOND), 2_501);
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
