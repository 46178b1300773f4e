//! How a gate opens, and what becomes of those who wait: one test per rule, in virtual time.
//!
//! Knows nothing of when it asks (`tests_asking`) or of what its workload wants later (`tests_life`).

use std::time::Duration;

use conngate_common::{
    gate::{GateState, Mode},
    id::{MonoTime, SocketCookie},
    reason::Reason,
};

use super::{
    super::{Effect, OnTimeout, Policy, Readiness, Table, pacing::RESENDS},
    kit::*,
};

#[test]
fn enrolled_new_gate_is_held_and_probed_at_once() {
    let effects = handle(&mut Table::new(), ms(0), enrolled(POLICY));
    assert_eq!(effects, [write(GateState::Holding, Reason::NotReady), PROBE]);
}

#[test]
fn enrolled_listener_is_enough_is_held_for_want_of_one() {
    for policy in [Policy { readiness: Readiness::Listener, ..POLICY }, Policy { mode: Mode::Retry, ..POLICY }] {
        let effects = handle(&mut Table::new(), ms(0), enrolled(policy));
        assert_eq!(effects, [write(GateState::Holding, Reason::NoListener), SCAN]);
    }
}

#[test]
fn enrolled_again_open_gate_stays_open() {
    let mut table = table(POLICY);
    handle(&mut table, ms(1), READY);
    let policy = Policy { mode: Mode::Retry, ..POLICY };
    assert_eq!(handle(&mut table, ms(2), enrolled(policy)), [write(GateState::Open, Reason::Ready)]);
    assert_eq!(table.next_deadline(), None);
}

#[test]
fn enrolled_again_shorter_timeout_moves_the_deadline() {
    let mut table = table(POLICY);
    handle(&mut table, ms(10), parked(1, ms(10)));
    assert_eq!(table.next_deadline(), Some(ms(60_010)));
    handle(&mut table, ms(20), enrolled(Policy { timeout: Duration::from_secs(1), ..POLICY }));
    assert_eq!(table.next_deadline(), Some(ms(1_010)));
}

#[test]
fn probed_ready_opens_then_tells_then_replays_the_oldest_first() {
    let mut table = table(POLICY);
    handle(&mut table, ms(3), parked(1, ms(3)));
    handle(&mut table, ms(4), parked(2, ms(2)));
    assert_eq!(
        handle(&mut table, ms(1_002), READY),
        [write(GateState::Open, Reason::Ready), opened(Reason::Ready, 2, Duration::from_secs(1), 2), replay(&[2, 1]),]
    );
}

#[test]
fn probed_ready_nothing_held_opens_without_replay() {
    let effects = handle(&mut table(POLICY), ms(9), READY);
    assert_eq!(effects, [write(GateState::Open, Reason::Ready), opened(Reason::Ready, 0, Duration::ZERO, 0)]);
}

#[test]
fn probed_listening_opens_only_where_a_listener_is_enough() {
    let observe = Policy { mode: Mode::Observe, ..POLICY };
    for policy in [POLICY, observe] {
        assert_eq!(handle(&mut table(policy), ms(1), LISTENER), []);
    }
    let listener = Policy { readiness: Readiness::Listener, ..POLICY };
    let retry = Policy { mode: Mode::Retry, ..POLICY };
    for policy in [listener, retry, Policy { mode: Mode::Observe, ..listener }] {
        let mut table = table(policy);
        assert_eq!(handle(&mut table, ms(1), LISTENING), [], "a listen() is hearsay: it may be another port's");
        assert_eq!(handle(&mut table, ms(1), LISTENER)[0], write(GateState::Open, Reason::Listening), "{policy:?}");
    }
}

#[test]
fn parked_after_the_opening_is_replayed_at_once() {
    let mut table = table(POLICY);
    handle(&mut table, ms(1), READY);
    assert_eq!(handle(&mut table, ms(2), parked(5, ms(1))), [replay(&[5])]);
    assert_eq!(handle(&mut table, ms(3), parked(5, ms(1))), []);
    assert_eq!(handle(&mut table, ms(4), ended(5)), [unpark(5)]);
}

#[test]
fn ended_while_held_is_unparked_and_not_replayed() {
    let mut table = table(POLICY);
    handle(&mut table, ms(1), parked(1, ms(1)));
    assert_eq!(handle(&mut table, ms(2), ended(1)), [unpark(1)]);
    assert_eq!(
        handle(&mut table, ms(11), READY),
        [write(GateState::Open, Reason::Ready), opened(Reason::Ready, 1, Duration::from_millis(10), 0)]
    );
}

#[test]
fn replayed_without_answer_is_repeated_then_left_to_the_kernel() {
    let mut table = table(POLICY);
    handle(&mut table, ms(0), parked(1, ms(0)));
    handle(&mut table, ms(0), READY);
    let (mut now, mut gaps) = (ms(0), Vec::new());
    for _ in 0..RESENDS {
        let due = table.next_deadline().unwrap();
        assert_eq!(tick(&mut table, due), [replay(&[1])]);
        gaps.push(due.since(now) / 1_000);
        now = due;
    }
    assert_eq!(gaps, [10, 20, 40, 80, 160, 320, 320, 320].map(|millis| millis * 1_000 + 50));
    let due = table.next_deadline().unwrap();
    assert_eq!(tick(&mut table, due), [unpark(1)]);
    assert_eq!(table.next_deadline(), None);
    assert_eq!(handle(&mut table, due, ended(1)), []);
}

#[test]
fn ended_in_a_burst_moves_the_window_in_one_batch() {
    let mut table = Table::with_window(3);
    handle(&mut table, ms(0), enrolled(POLICY));
    for socket in 1..=8 {
        handle(&mut table, ms(socket), parked(socket, ms(socket)));
    }
    assert_eq!(handle(&mut table, ms(20), READY)[2..], [replay(&[1, 2, 3])]);
    for socket in 1..=3 {
        table.handle(ms(21), ended(socket));
    }
    assert_eq!(drain(&mut table), [unpark(1), unpark(2), unpark(3), replay(&[4, 5, 6])]);
}

#[test]
fn timeout_runs_from_the_first_drop_even_if_that_connection_ended() {
    let mut table = table(POLICY);
    assert_eq!(table.next_deadline(), None);
    handle(&mut table, ms(500), parked(1, ms(400)));
    handle(&mut table, ms(600), ended(1));
    handle(&mut table, ms(700), parked(2, ms(700)));
    assert_eq!(table.next_deadline(), Some(ms(60_400)));
    assert_eq!(tick(&mut table, ms(60_399)), []);
    assert_eq!(
        tick(&mut table, ms(60_400)),
        [write(GateState::Open, Reason::Timeout), opened(Reason::Timeout, 2, Duration::from_secs(60), 1), replay(&[2]),]
    );
}

#[test]
fn timeout_with_nothing_held_never_comes() {
    let mut table = table(POLICY);
    assert_eq!(tick(&mut table, MonoTime(u64::MAX)), []);
    assert_eq!(table.gate(GATE).unwrap().state(), GateState::Holding);
}

#[test]
fn timeout_reset_ends_the_connections_before_it_opens() {
    let mut table = table(Policy { on_timeout: OnTimeout::Reset, ..POLICY });
    handle(&mut table, ms(0), parked(1, ms(0)));
    handle(&mut table, ms(1), parked(2, ms(1)));
    assert_eq!(
        tick(&mut table, ms(60_000)),
        [
            Effect::Reset { gate: GATE, sockets: vec![SocketCookie(1), SocketCookie(2)] },
            write(GateState::Open, Reason::Timeout),
            opened(Reason::Timeout, 2, Duration::from_secs(60), 2),
        ]
    );
    assert_eq!(handle(&mut table, ms(60_001), parked(1, ms(0))), [], "a late word of a reset connection");
    assert_eq!(handle(&mut table, ms(60_001), ended(1)), [unpark(1)]);
    assert_eq!(handle(&mut table, ms(60_002), parked(3, ms(59_999))), [replay(&[3])], "a later one is not reset");
    assert_eq!(handle(&mut table, ms(60_003), RETIRED), [Effect::Forget { gate: GATE }, unpark(3), unpark(2)]);
}

#[test]
fn timeout_not_noticed_yet_loses_to_an_answer() {
    let mut table = table(Policy { on_timeout: OnTimeout::Reset, ..POLICY });
    handle(&mut table, ms(0), parked(1, ms(0)));
    assert_eq!(handle(&mut table, ms(60_001), READY)[0], write(GateState::Open, Reason::Ready));
}

#[test]
fn override_opens_for_the_operator() {
    let mut table = table(Policy { on_timeout: OnTimeout::Reset, ..POLICY });
    handle(&mut table, ms(0), parked(1, ms(0)));
    assert_eq!(
        handle(&mut table, ms(30), OVERRIDE),
        [
            write(GateState::Open, Reason::Operator),
            opened(Reason::Operator, 1, Duration::from_millis(30), 1),
            replay(&[1]),
        ]
    );
}

#[test]
fn retired_is_forgotten_and_nothing_replayed() {
    let mut closed = table(POLICY);
    handle(&mut closed, ms(0), parked(2, ms(0)));
    handle(&mut closed, ms(0), parked(1, ms(0)));
    let mut open = table(POLICY);
    handle(&mut open, ms(0), READY);
    open.handle(ms(1), parked(1, ms(0)));
    open.handle(ms(1), parked(2, ms(0)));
    for mut table in [closed, open] {
        assert_eq!(handle(&mut table, ms(2), RETIRED), [Effect::Forget { gate: GATE }, unpark(1), unpark(2)]);
        assert!(table.gate(GATE).is_none());
        assert_eq!(table.next_deadline(), None);
        assert_eq!(handle(&mut table, ms(3), RETIRED), []);
    }
}

#[test]
fn unknown_gate_is_ignored_and_its_copies_given_back() {
    let mut table = Table::new();
    for event in [RETIRED, ended(1), LISTENING, SILENT, VOUCHED, NOT_READY, READY, OVERRIDE, TERMINATING] {
        assert_eq!(handle(&mut table, ms(0), event), [], "{event:?}");
    }
    assert_eq!(handle(&mut table, ms(0), parked(1, ms(0))), [unpark(1)]);
    assert_eq!(table.gates().count(), 0);
    assert_eq!(table.next_deadline(), None);
}
