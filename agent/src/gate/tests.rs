//! One test per rule, in virtual time.

use std::time::Duration;

use conngate_common::{
    gate::{GateState, Mode},
    id::{CgroupId, MonoTime, SocketCookie},
    reason::Reason,
    record::Outcome,
};

use super::{Answer, Effect, Event, OnTimeout, Policy, Readiness, Summary, Table, Want, pacing::RESENDS};

const GATE: CgroupId = CgroupId(7);
const POLICY: Policy = Policy {
    mode: Mode::Hold,
    timeout: Duration::from_secs(60),
    on_timeout: OnTimeout::Release,
    readiness: Readiness::Probe,
};

const PROBE: Effect = Effect::Probe { gate: GATE, want: Want::Ready };
const SCAN: Effect = Effect::Probe { gate: GATE, want: Want::Listener };
const NOT_READY: Event = Event::Probed { gate: GATE, answer: Answer::NotReady };
const LISTENER: Event = Event::Probed { gate: GATE, answer: Answer::Listening };
const READY: Event = Event::Probed { gate: GATE, answer: Answer::Ready };
const LISTENING: Event = Event::Listening { gate: GATE };
const OVERRIDE: Event = Event::Override { gate: GATE };
const RETIRED: Event = Event::Retired { gate: GATE };

const fn enrolled(policy: Policy) -> Event {
    Event::Enrolled { gate: GATE, policy }
}

const fn parked(socket: u64, first_drop: MonoTime) -> Event {
    Event::Parked { gate: GATE, socket: SocketCookie(socket), first_drop }
}

const fn ended(socket: u64) -> Event {
    Event::Ended { gate: GATE, socket: SocketCookie(socket), outcome: Outcome::Established }
}

const fn write(state: GateState, reason: Reason) -> Effect {
    Effect::Write { gate: GATE, state, reason }
}

const fn unpark(socket: u64) -> Effect {
    Effect::Unpark { gate: GATE, socket: SocketCookie(socket) }
}

fn replay(sockets: &[u64]) -> Effect {
    Effect::Replay { gate: GATE, sockets: sockets.iter().copied().map(SocketCookie).collect() }
}

fn opened(reason: Reason, held: u64, longest: Duration, waiting: usize) -> Effect {
    Effect::Opened { gate: GATE, summary: Summary { reason, held, longest, waiting } }
}

const fn ms(millis: u64) -> MonoTime {
    MonoTime(millis * 1_000_000)
}

fn drain(table: &mut Table) -> Vec<Effect> {
    std::iter::from_fn(|| table.poll_effect()).collect()
}

fn handle(table: &mut Table, now: MonoTime, event: Event) -> Vec<Effect> {
    table.handle(now, event);
    drain(table)
}

fn tick(table: &mut Table, now: MonoTime) -> Vec<Effect> {
    table.tick(now);
    drain(table)
}

/// A gate enrolled at 0 whose first probe is under way.
fn table(policy: Policy) -> Table {
    let mut table = Table::new();
    handle(&mut table, ms(0), enrolled(policy));
    table
}

/// The same after that probe said no: the next one is due at 5 ms.
fn idle(policy: Policy) -> Table {
    let mut table = table(policy);
    handle(&mut table, ms(0), NOT_READY);
    table
}

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
fn probed_not_ready_is_repeated_ever_more_rarely() {
    let (mut table, mut now, mut gaps) = (table(POLICY), ms(0), Vec::new());
    for _ in 0..8 {
        assert_eq!(handle(&mut table, now, NOT_READY), []);
        let due = table.next_deadline().unwrap();
        assert_eq!(tick(&mut table, MonoTime(due.0 - 1)), []);
        assert_eq!(tick(&mut table, due), [PROBE]);
        assert_eq!(table.next_deadline(), None);
        gaps.push(due.since(now) / 1_000_000);
        now = due;
    }
    assert_eq!(gaps, [5, 10, 20, 40, 80, 160, 250, 250]);
}

/// A gate that was told "no" until it asks only every 250 ms; now, and its next question.
fn patient(policy: Policy) -> (Table, MonoTime, MonoTime) {
    let (mut table, mut now) = (table(policy), ms(0));
    loop {
        handle(&mut table, now, NOT_READY);
        let due = table.next_deadline().unwrap();
        if due.since(now) == 250_000_000 {
            return (table, now, due);
        }
        tick(&mut table, due);
        now = due;
    }
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
        for event in [LISTENER, LISTENING] {
            let effects = handle(&mut table(policy), ms(1), event);
            assert_eq!(effects[0], write(GateState::Open, Reason::Listening), "{policy:?} {event:?}");
        }
    }
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
        gaps.push(due.since(now) / 1_000_000);
        now = due;
    }
    assert_eq!(gaps, [10, 20, 40, 80, 160, 320, 320, 320]);
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
    assert_eq!(handle(&mut table, ms(60_003), RETIRED), [Effect::Forget { gate: GATE }, unpark(2), unpark(3)]);
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
    for event in [RETIRED, ended(1), LISTENING, NOT_READY, READY, OVERRIDE] {
        assert_eq!(handle(&mut table, ms(0), event), [], "{event:?}");
    }
    assert_eq!(handle(&mut table, ms(0), parked(1, ms(0))), [unpark(1)]);
    assert_eq!(table.gates().count(), 0);
    assert_eq!(table.next_deadline(), None);
}
