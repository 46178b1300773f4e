//! What a workload and its proxy do later: declined, resumed, terminating, silent. One test per rule, in virtual time.
//!
//! Knows nothing of when a gate asks (`tests_asking`).

use std::time::Duration;

use conngate_common::{
    gate::{GateState, Mode},
    reason::Reason,
};

use super::{
    super::{Effect, Event, OnTimeout, Policy, Readiness, Table},
    kit::*,
};

const REGATE: Policy = Policy { regate: Some(Duration::from_secs(10)), ..POLICY };

const HOLDING: Effect = write(GateState::Holding, Reason::NotReady);

fn state(table: &Table) -> (GateState, Reason) {
    let gate = table.gate(GATE).unwrap();
    (gate.state(), gate.reason())
}

#[test]
fn declined_new_gate_is_not_enrolled_and_replays_what_is_parked() {
    let mut table = Table::new();
    assert_eq!(handle(&mut table, ms(0), DECLINED), [write(GateState::NotEnrolled, Reason::NotEnrolled)]);
    assert_eq!(table.next_deadline(), None);
    assert_eq!(handle(&mut table, ms(1), parked(1, ms(0))), [replay(&[1])]);
    assert_eq!(handle(&mut table, ms(2), ended(1)), [unpark(1)]);
    for event in [DECLINED, LISTENING, SILENT, VOUCHED, READY, UNANSWERED, Event::Override { gate: GATE }, TERMINATING]
    {
        assert_eq!(handle(&mut table, ms(3), event), [], "{event:?}");
    }
    assert_eq!(state(&table), (GateState::NotEnrolled, Reason::NotEnrolled));
}

#[test]
fn declined_in_mid_hold_lets_everybody_go_on() {
    let mut table = table(Policy { on_timeout: OnTimeout::Reset, ..POLICY });
    handle(&mut table, ms(1), parked(1, ms(1)));
    assert_eq!(
        handle(&mut table, ms(3), DECLINED),
        [
            write(GateState::NotEnrolled, Reason::NotEnrolled),
            opened(Reason::NotEnrolled, 1, Duration::from_millis(2), 1),
            replay(&[1]),
        ]
    );
}

#[test]
fn declined_open_gate_changes_its_reason_and_goes_on_replaying() {
    let mut table = table(POLICY);
    handle(&mut table, ms(1), parked(1, ms(1)));
    handle(&mut table, ms(1), READY);
    assert_eq!(handle(&mut table, ms(2), DECLINED), [write(GateState::NotEnrolled, Reason::NotEnrolled)]);
    assert_eq!(tick(&mut table, ms(12)), [replay(&[1])]);
}

#[test]
fn enrolled_after_declined_closes_again_and_asks() {
    let mut table = idle(POLICY);
    handle(&mut table, ms(1), parked(1, ms(1)));
    handle(&mut table, ms(1), DECLINED);
    assert_eq!(handle(&mut table, ms(2), enrolled(POLICY)), [unpark(1), HOLDING, PROBE]);
    assert_eq!(table.gate(GATE).unwrap().held(), 0, "what it held before does not count");
    handle(&mut table, ms(5), parked(2, ms(5)));
    assert_eq!(
        handle(&mut table, ms(6), READY),
        [write(GateState::Open, Reason::Ready), opened(Reason::Ready, 1, Duration::from_millis(1), 1), replay(&[2])]
    );
}

#[test]
fn enrolled_after_declined_question_still_open_waits_for_it_and_asks_anew() {
    let mut table = table(POLICY);
    handle(&mut table, ms(1), DECLINED);
    assert_eq!(handle(&mut table, ms(2), enrolled(POLICY)), [HOLDING], "one question at a time");
    assert_eq!(handle(&mut table, ms(3), READY), [PROBE], "it was asked before");
    assert_eq!(handle(&mut table, ms(4), READY)[0], write(GateState::Open, Reason::Ready));
}

#[test]
fn enrolled_after_declined_answer_that_came_while_open_is_done_with() {
    let mut table = table(POLICY);
    handle(&mut table, ms(1), DECLINED);
    assert_eq!(handle(&mut table, ms(2), READY), []);
    assert_eq!(handle(&mut table, ms(3), enrolled(POLICY)), [HOLDING, PROBE]);
}

#[test]
fn reset_connection_is_not_replayed_by_a_later_opening() {
    let mut table = idle(Policy { on_timeout: OnTimeout::Reset, ..POLICY });
    handle(&mut table, ms(1), parked(1, ms(1)));
    tick(&mut table, ms(60_001));
    handle(&mut table, ms(60_002), DECLINED);
    assert_eq!(handle(&mut table, ms(60_003), enrolled(POLICY)), [HOLDING, PROBE]);
    assert_eq!(handle(&mut table, ms(60_004), parked(1, ms(1))), [], "a late word");
    let effects = handle(&mut table, ms(60_005), READY);
    assert_eq!(effects, [write(GateState::Open, Reason::Ready), opened(Reason::Ready, 0, Duration::ZERO, 0)]);
    assert_eq!(handle(&mut table, ms(60_006), ended(1)), [unpark(1)]);
}

#[test]
fn resumed_new_gate_is_open_and_neither_closes_nor_asks() {
    let mut table = Table::new();
    let open = write(GateState::Open, Reason::Operator);
    assert_eq!(handle(&mut table, ms(0), resumed(POLICY, Reason::Operator)), [open]);
    for event in [LISTENING, VOUCHED, NOT_READY, UNANSWERED, READY, SILENT, OVERRIDE] {
        assert_eq!(handle(&mut table, ms(1), event), [], "{event:?}");
    }
    assert_eq!(table.next_deadline(), None);
    assert_eq!(handle(&mut table, ms(2), parked(1, ms(1))), [replay(&[1])]);
}

#[test]
fn resumed_then_enrolled_only_gets_the_policy() {
    let mut table = Table::new();
    handle(&mut table, ms(0), resumed(POLICY, Reason::Timeout));
    let policy = Policy { mode: Mode::Retry, ..POLICY };
    assert_eq!(handle(&mut table, ms(1), enrolled(policy)), [write(GateState::Open, Reason::Timeout)]);
    assert_eq!(table.gate(GATE).unwrap().policy(), &policy);
    assert_eq!(table.next_deadline(), None);
}

#[test]
fn resumed_known_gate_only_gets_the_policy() {
    let mut closed = idle(POLICY);
    let policy = Policy { readiness: Readiness::Listener, ..POLICY };
    let effects = handle(&mut closed, ms(1), resumed(policy, Reason::Ready));
    assert_eq!(effects, [write(GateState::Holding, Reason::NoListener), SCAN]);

    let mut open = table(POLICY);
    handle(&mut open, ms(1), OVERRIDE);
    let effects = handle(&mut open, ms(2), resumed(policy, Reason::Ready));
    assert_eq!(effects, [write(GateState::Open, Reason::Operator)]);
}

#[test]
fn resumed_after_declined_stays_open_for_its_reason() {
    let mut table = table(POLICY);
    handle(&mut table, ms(1), DECLINED);
    let effects = handle(&mut table, ms(2), resumed(POLICY, Reason::Ready));
    assert_eq!(effects, [write(GateState::Open, Reason::Ready)]);
}

#[test]
fn resumed_ready_gate_closes_when_its_proxy_falls_silent() {
    let mut table = Table::new();
    handle(&mut table, ms(0), resumed(REGATE, Reason::Ready));
    assert_eq!(handle(&mut table, ms(1), SILENT), [HOLDING, PROBE]);
}

#[test]
fn terminating_closed_gate_opens_and_replays_also_where_a_timeout_resets() {
    let mut table = table(Policy { on_timeout: OnTimeout::Reset, ..POLICY });
    handle(&mut table, ms(1), parked(1, ms(1)));
    assert_eq!(
        handle(&mut table, ms(2), TERMINATING),
        [
            write(GateState::Open, Reason::Terminating),
            opened(Reason::Terminating, 1, Duration::from_millis(1), 1),
            replay(&[1]),
        ]
    );
}

#[test]
fn terminating_nothing_closes_the_gate_any_more() {
    for before in [NOT_READY, READY, DECLINED] {
        let mut table = table(REGATE);
        handle(&mut table, ms(1), before);
        handle(&mut table, ms(2), TERMINATING);
        for event in [SILENT, enrolled(POLICY), DECLINED, enrolled(REGATE), resumed(REGATE, Reason::Ready), SILENT] {
            let effects = handle(&mut table, ms(3), event);
            assert!(effects.iter().all(|effect| matches!(effect, Effect::Write { .. })), "{event:?}: {effects:?}");
            assert_ne!(state(&table).0, GateState::Holding, "{before:?} {event:?}");
        }
    }
}

#[test]
fn silent_closes_a_gate_that_was_ready_and_gives_its_copies_back() {
    let mut table = Table::with_window(1);
    handle(&mut table, ms(0), enrolled(REGATE));
    handle(&mut table, ms(1), parked(1, ms(1)));
    handle(&mut table, ms(1), parked(2, ms(1)));
    handle(&mut table, ms(2), READY);
    assert_eq!(handle(&mut table, ms(3), SILENT), [unpark(1), unpark(2), HOLDING, PROBE]);
    assert_eq!(table.next_deadline(), None, "nothing is replayed, nobody has waited yet");
    assert_eq!(handle(&mut table, ms(4), ended(1)), []);
}

#[test]
fn silent_the_hold_is_limited_by_regate_whatever_the_timeout() {
    let mut table = table(REGATE);
    handle(&mut table, ms(1), READY);
    handle(&mut table, ms(2), SILENT);
    handle(&mut table, ms(100), parked(1, ms(100)));
    assert_eq!(table.next_deadline(), Some(ms(10_100)));
    handle(&mut table, ms(101), enrolled(Policy { timeout: Duration::from_secs(1), ..REGATE }));
    assert_eq!(table.next_deadline(), Some(ms(10_100)), "another timeout is of another hold");
    handle(&mut table, ms(102), enrolled(Policy { regate: Some(Duration::from_secs(5)), ..POLICY }));
    assert_eq!(table.next_deadline(), Some(ms(5_100)));
    assert_eq!(
        tick(&mut table, ms(5_100)),
        [write(GateState::Open, Reason::Timeout), opened(Reason::Timeout, 1, Duration::from_secs(5), 1), replay(&[1])]
    );
    assert_eq!(handle(&mut table, ms(5_101), SILENT), [], "it did not open for a ready proxy");
}

#[test]
fn declined_and_enrolled_again_question_of_the_hold_before_is_worth_nothing() {
    let policy = Policy { readiness: Readiness::Listener, ..POLICY };
    let mut table = table(policy);
    handle(&mut table, ms(1), DECLINED);
    assert_eq!(handle(&mut table, ms(2), enrolled(policy)), [write(GateState::Holding, Reason::NoListener)]);
    assert_eq!(handle(&mut table, ms(3), LISTENER), [SCAN], "it was seen before it was gone");
}

#[test]
fn silent_every_way_of_being_ready_closes() {
    let mut vouched = idle(REGATE);
    for event in [VOUCHED, UNANSWERED, LISTENER] {
        handle(&mut vouched, ms(1), event);
    }
    let mut listening = idle(Policy { mode: Mode::Retry, ..REGATE });
    handle(&mut listening, ms(1), LISTENER);
    for (mut table, reason) in [(vouched, Reason::KubeletReady), (listening, Reason::Listening)] {
        assert_eq!(state(&table), (GateState::Open, reason));
        handle(&mut table, ms(2), SILENT);
        assert_eq!(state(&table).0, GateState::Holding, "{reason:?}");
    }
}

#[test]
fn silent_without_regate_does_nothing() {
    let mut table = table(POLICY);
    handle(&mut table, ms(1), READY);
    assert_eq!(handle(&mut table, ms(2), SILENT), []);
    assert_eq!(state(&table), (GateState::Open, Reason::Ready));
}

#[test]
fn silent_closed_gate_or_one_opened_without_a_ready_proxy_does_nothing() {
    let mut timed_out = idle(REGATE);
    handle(&mut timed_out, ms(0), parked(1, ms(0)));
    tick(&mut timed_out, ms(60_000));
    handle(&mut timed_out, ms(60_000), ended(1));
    let mut overridden = idle(REGATE);
    handle(&mut overridden, ms(1), OVERRIDE);
    for (mut table, expected) in [
        (idle(REGATE), (GateState::Holding, Reason::NotReady)),
        (timed_out, (GateState::Open, Reason::Timeout)),
        (overridden, (GateState::Open, Reason::Operator)),
    ] {
        assert_eq!(handle(&mut table, ms(60_001), SILENT), []);
        assert_eq!(state(&table), expected);
    }
}

#[test]
fn renewed_closes_whatever_it_was_open_for_and_what_was_known_of_its_proxy_is_forgotten() {
    let renewed = Event::Renewed { gate: GATE };
    let mut ready = idle(POLICY);
    handle(&mut ready, ms(1), READY);
    let mut overridden = idle(POLICY);
    handle(&mut overridden, ms(1), OVERRIDE);
    for mut table in [ready, overridden] {
        assert_eq!(handle(&mut table, ms(2), renewed), [write(GateState::Holding, Reason::NotReady), PROBE]);
    }
    let mut closed = table(POLICY);
    handle(&mut closed, ms(1), VOUCHED);
    assert_eq!(handle(&mut closed, ms(2), renewed), []);
    assert_eq!(handle(&mut closed, ms(3), READY), [PROBE], "the answer is of the life before");
    for event in [DECLINED, TERMINATING] {
        let mut table = idle(POLICY);
        handle(&mut table, ms(1), event);
        assert_eq!(handle(&mut table, ms(2), renewed), [], "{event:?}");
    }
}

#[test]
fn restarted_closes_a_gate_that_opened_for_a_listener_and_asks() {
    let mut table = idle(Policy { mode: Mode::Retry, ..POLICY });
    handle(&mut table, ms(1), LISTENER);
    let effects = handle(&mut table, ms(2), Event::Restarted { gate: GATE });
    assert_eq!(effects, [write(GateState::Holding, Reason::NoListener), SCAN]);
    assert_eq!(handle(&mut table, ms(3), LISTENER)[0], write(GateState::Open, Reason::Listening));
}

#[test]
fn restarted_closes_no_gate_that_is_ready_but_one_that_timed_out_and_its_clock_begins_anew() {
    let restarted = Event::Restarted { gate: GATE };
    let mut ready = idle(POLICY);
    handle(&mut ready, ms(1), READY);
    assert_eq!(handle(&mut ready, ms(2), restarted), []);
    let mut table = idle(POLICY);
    handle(&mut table, ms(0), parked(1, ms(0)));
    tick(&mut table, ms(60_000));
    handle(&mut table, ms(60_000), ended(1));
    assert_eq!(handle(&mut table, ms(70_000), restarted), [write(GateState::Holding, Reason::NotReady), PROBE]);
    handle(&mut table, ms(70_001), parked(2, ms(70_001)));
    assert_eq!(table.gate(GATE).unwrap().timeout_at(), Some(ms(130_001)));
}
