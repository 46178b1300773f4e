//! When a closed gate asks, and what an answer is worth: one test per rule, in virtual time.
//!
//! Knows nothing of how an opening goes on (`tests`).

use std::time::Duration;

use conngate_common::{gate::GateState, id::MonoTime, reason::Reason};

use super::{
    super::{Event, Policy, Readiness, Table},
    kit::*,
};

/// A gate that was told "no" until it asks only every 5 s; now, and its next question.
fn patient(policy: Policy) -> (Table, MonoTime, MonoTime) {
    let (mut table, mut now) = (table(policy), ms(0));
    for _ in 0..12 {
        handle(&mut table, now, NOT_READY);
        let due = table.next_deadline().unwrap();
        if due.since(now) == 5_000_000_000 {
            return (table, now, due);
        }
        tick(&mut table, due);
        now = due;
    }
    panic!("an idle gate asks more often than every 5 s");
}

#[test]
fn enrolled_again_same_policy_writes_and_does_not_probe() {
    let mut table = idle(POLICY);
    assert_eq!(handle(&mut table, ms(1), enrolled(POLICY)), [write(GateState::Holding, Reason::NotReady)]);
    assert_eq!(table.next_deadline(), Some(ms(5)));
}

#[test]
fn enrolled_again_other_policy_asks_its_own_question_at_once() {
    let policy = Policy { readiness: Readiness::Listener, ..POLICY };
    let held = write(GateState::Holding, Reason::NoListener);
    assert_eq!(handle(&mut idle(POLICY), ms(1), enrolled(policy)), [held.clone(), SCAN]);

    let mut asking = table(POLICY);
    assert_eq!(handle(&mut asking, ms(1), enrolled(policy)), [held]);
    assert_eq!(handle(&mut asking, ms(2), NOT_READY), [SCAN]);
}

#[test]
fn probed_not_ready_nobody_waits_is_repeated_up_to_every_5_s() {
    let (mut table, mut now, mut gaps) = (table(POLICY), ms(0), Vec::new());
    for _ in 0..12 {
        assert_eq!(handle(&mut table, now, NOT_READY), []);
        let due = table.next_deadline().unwrap();
        assert_eq!(tick(&mut table, MonoTime(due.0 - 1)), []);
        assert_eq!(tick(&mut table, due), [PROBE]);
        assert_eq!(table.next_deadline(), None);
        gaps.push(due.since(now) / 1_000_000);
        now = due;
    }
    assert_eq!(gaps, [5, 10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_000, 5_000]);
}

#[test]
fn parked_new_socket_is_asked_for_soon() {
    let (mut table, now, _) = patient(POLICY);
    handle(&mut table, now, parked(1, now));
    let soon = now.plus(5_000_000);
    assert_eq!(table.next_deadline(), Some(soon));
    assert_eq!(tick(&mut table, soon), [PROBE]);
    handle(&mut table, soon, NOT_READY);
    assert_eq!(table.next_deadline(), Some(soon.plus(5_000_000)), "the back-off starts again");
}

#[test]
fn parked_again_same_socket_changes_nothing() {
    let (mut table, now, _) = patient(POLICY);
    handle(&mut table, now, parked(1, now));
    let due = table.next_deadline().unwrap();
    tick(&mut table, due);
    handle(&mut table, due, NOT_READY);
    let due = table.next_deadline();
    handle(&mut table, due.unwrap(), parked(1, now));
    assert_eq!(table.next_deadline(), due);
    assert_eq!(table.gate(GATE).unwrap().held(), 1);
}

#[test]
fn parked_many_does_not_put_the_question_off() {
    let mut table = idle(POLICY);
    for i in 1..5 {
        handle(&mut table, ms(i), parked(i, ms(i)));
    }
    assert_eq!(table.next_deadline(), Some(ms(5)));
}

#[test]
fn listening_is_asked_for_at_once_and_resets_the_back_off() {
    let (mut table, now, due) = patient(POLICY);
    assert_eq!(handle(&mut table, now, LISTENING), [PROBE]);
    assert_eq!(handle(&mut table, now, NOT_READY), []);
    assert_eq!(table.next_deadline(), Some(now.plus(5_000_000)));
    assert!(table.next_deadline() < Some(due));
}

#[test]
fn listening_probe_under_way_is_asked_once_more_after_its_answer() {
    let mut table = table(POLICY);
    assert_eq!(handle(&mut table, ms(1), LISTENING), []);
    assert_eq!(handle(&mut table, ms(2), LISTENING), []);
    assert_eq!(handle(&mut table, ms(3), NOT_READY), [PROBE]);
    assert_eq!(handle(&mut table, ms(4), NOT_READY), []);
    assert_eq!(table.next_deadline(), Some(ms(9)));
}

#[test]
fn probed_without_a_question_only_yes_counts() {
    let mut table = idle(POLICY);
    assert_eq!(handle(&mut table, ms(1), NOT_READY), []);
    assert_eq!(table.next_deadline(), Some(ms(5)));
    assert_eq!(handle(&mut table, ms(2), READY)[0], write(GateState::Open, Reason::Ready));
}

#[test]
fn open_gate_is_not_probed_and_not_opened_again() {
    let mut table = idle(POLICY);
    handle(&mut table, ms(1), OVERRIDE);
    for event in [LISTENING, NOT_READY, READY, OVERRIDE] {
        assert_eq!(handle(&mut table, ms(2), event), []);
    }
    assert_eq!(tick(&mut table, ms(100_000)), []);
    assert_eq!(table.gate(GATE).unwrap().reason(), Reason::Operator);
}

#[test]
fn probed_not_ready_somebody_waits_is_repeated_up_to_every_quarter_second() {
    let mut table = table(Policy { timeout: Duration::from_secs(600), ..POLICY });
    handle(&mut table, ms(0), parked(1, ms(0)));
    let (mut now, mut gaps) = (ms(0), Vec::new());
    for _ in 0..8 {
        handle(&mut table, now, NOT_READY);
        let due = table.next_deadline().unwrap();
        assert_eq!(tick(&mut table, due), [PROBE]);
        gaps.push(due.since(now) / 1_000_000);
        now = due;
    }
    assert_eq!(gaps, [5, 10, 20, 40, 80, 160, 250, 250]);

    handle(&mut table, now, ended(1));
    handle(&mut table, now, NOT_READY);
    assert_eq!(table.next_deadline(), Some(now.plus(1_280_000_000)), "nobody waits any longer");
}

#[test]
fn enrolled_again_other_policy_answer_to_the_old_question_is_worth_nothing() {
    let mut table = table(POLICY);
    handle(&mut table, ms(1), enrolled(Policy { timeout: Duration::from_secs(1), ..POLICY }));
    assert_eq!(handle(&mut table, ms(2), READY), [PROBE]);
    assert_eq!(handle(&mut table, ms(3), READY)[0], write(GateState::Open, Reason::Ready));
}

#[test]
fn vouched_is_asked_for_at_once_and_only_when_it_is_news() {
    let (mut table, now, _) = patient(POLICY);
    assert_eq!(handle(&mut table, now, VOUCHED), [PROBE]);
    handle(&mut table, now, NOT_READY);
    assert_eq!(handle(&mut table, now, VOUCHED), []);
    assert_eq!(handle(&mut table, now, Event::Vouched { gate: GATE, ready: false }), []);
    assert_eq!(handle(&mut table, now, VOUCHED), [PROBE]);
}

#[test]
fn unanswered_vouched_somebody_listens_opens_by_the_kubelets_word() {
    let mut table = idle(POLICY);
    handle(&mut table, ms(1), parked(1, ms(1)));
    assert_eq!(handle(&mut table, ms(2), VOUCHED), [PROBE]);
    assert_eq!(handle(&mut table, ms(3), UNANSWERED), [SCAN]);
    assert_eq!(
        handle(&mut table, ms(4), LISTENER),
        [
            write(GateState::Open, Reason::KubeletReady),
            opened(Reason::KubeletReady, 1, Duration::from_millis(3), 1),
            replay(&[1]),
        ]
    );
}

#[test]
fn unanswered_vouched_without_a_listener_backs_off() {
    for nobody in [NOT_READY, UNANSWERED] {
        let mut table = idle(POLICY);
        handle(&mut table, ms(1), VOUCHED);
        assert_eq!(handle(&mut table, ms(2), UNANSWERED), [SCAN]);
        assert_eq!(handle(&mut table, ms(3), nobody), [], "not asked for a listener again and again");
        assert_eq!(table.next_deadline(), Some(ms(8)));
        assert_eq!(tick(&mut table, ms(8)), [PROBE], "the endpoint is asked first again");
        assert_eq!(handle(&mut table, ms(9), UNANSWERED), [SCAN]);
        assert_eq!(handle(&mut table, ms(10), nobody), []);
        assert_eq!(table.next_deadline(), Some(ms(20)));
    }
}

#[test]
fn unanswered_not_vouched_backs_off() {
    let mut table = table(POLICY);
    for (now, due) in [(0, 5), (5, 15), (15, 35)] {
        assert_eq!(handle(&mut table, ms(now), UNANSWERED), []);
        assert_eq!(table.next_deadline(), Some(ms(due)));
        assert_eq!(tick(&mut table, ms(due)), [PROBE]);
    }
}

#[test]
fn unanswered_vouched_where_a_listener_is_enough_backs_off() {
    let mut table = table(Policy { readiness: Readiness::Listener, ..POLICY });
    handle(&mut table, ms(0), VOUCHED);
    assert_eq!(handle(&mut table, ms(1), UNANSWERED), [SCAN], "the kubelet's word was news");
    assert_eq!(handle(&mut table, ms(2), UNANSWERED), []);
    assert_eq!(table.next_deadline(), Some(ms(7)));
}

#[test]
fn vouched_the_endpoint_says_not_ready_does_not_open() {
    let mut table = idle(POLICY);
    handle(&mut table, ms(1), VOUCHED);
    assert_eq!(handle(&mut table, ms(2), NOT_READY), []);
    assert_eq!(table.gate(GATE).unwrap().state(), GateState::Holding);
    assert_eq!(table.next_deadline(), Some(ms(7)));
}

#[test]
fn vouched_withdrawn_in_mid_question_does_not_open() {
    let mut table = idle(POLICY);
    handle(&mut table, ms(1), VOUCHED);
    assert_eq!(handle(&mut table, ms(2), UNANSWERED), [SCAN]);
    handle(&mut table, ms(3), Event::Vouched { gate: GATE, ready: false });
    assert_eq!(handle(&mut table, ms(4), LISTENER), []);
    assert_eq!(table.gate(GATE).unwrap().state(), GateState::Holding);
}
