//! What the tests of single rules share: one gate, its events and effects, virtual time.
//!
//! Knows nothing of the rules.

use std::time::Duration;

use conngate_common::{
    gate::{GateState, Mode},
    id::{CgroupId, MonoTime, SocketCookie},
    reason::Reason,
    record::Outcome,
};

use super::super::{Answer, Effect, Event, OnTimeout, Policy, Readiness, Summary, Table, Want};

pub(super) const GATE: CgroupId = CgroupId(7);
pub(super) const POLICY: Policy = Policy {
    mode: Mode::Hold,
    timeout: Duration::from_secs(60),
    on_timeout: OnTimeout::Release,
    readiness: Readiness::Probe,
    regate: None,
};

pub(super) const PROBE: Effect = Effect::Probe { gate: GATE, want: Want::Ready };
pub(super) const SCAN: Effect = Effect::Probe { gate: GATE, want: Want::Listener };
pub(super) const NOT_READY: Event = Event::Probed { gate: GATE, answer: Answer::NotReady };
pub(super) const LISTENER: Event = Event::Probed { gate: GATE, answer: Answer::Listening };
pub(super) const READY: Event = Event::Probed { gate: GATE, answer: Answer::Ready };
pub(super) const UNANSWERED: Event = Event::Probed { gate: GATE, answer: Answer::Unanswered };
pub(super) const LISTENING: Event = Event::Listening { gate: GATE };
pub(super) const OVERRIDE: Event = Event::Override { gate: GATE };
pub(super) const DECLINED: Event = Event::Declined { gate: GATE };
pub(super) const TERMINATING: Event = Event::Terminating { gate: GATE };
pub(super) const SILENT: Event = Event::Silent { gate: GATE };
pub(super) const VOUCHED: Event = Event::Vouched { gate: GATE, ready: true };
pub(super) const RETIRED: Event = Event::Retired { gate: GATE };

pub(super) const fn enrolled(policy: Policy) -> Event {
    Event::Enrolled { gate: GATE, policy }
}

pub(super) const fn resumed(policy: Policy, reason: Reason) -> Event {
    Event::Resumed { gate: GATE, policy, reason }
}

pub(super) const fn parked(socket: u64, first_drop: MonoTime) -> Event {
    Event::Parked { gate: GATE, socket: SocketCookie(socket), first_drop }
}

pub(super) const fn ended(socket: u64) -> Event {
    Event::Ended { gate: GATE, socket: SocketCookie(socket), outcome: Outcome::Established }
}

pub(super) const fn write(state: GateState, reason: Reason) -> Effect {
    Effect::Write { gate: GATE, state, reason }
}

pub(super) const fn unpark(socket: u64) -> Effect {
    Effect::Unpark { gate: GATE, socket: SocketCookie(socket) }
}

pub(super) fn replay(sockets: &[u64]) -> Effect {
    Effect::Replay { gate: GATE, sockets: sockets.iter().copied().map(SocketCookie).collect() }
}

pub(super) fn opened(reason: Reason, held: u64, longest: Duration, waiting: usize) -> Effect {
    Effect::Opened { gate: GATE, summary: Summary { reason, held, longest, waiting } }
}

pub(super) const fn ms(millis: u64) -> MonoTime {
    MonoTime(millis * 1_000_000)
}

pub(super) fn drain(table: &mut Table) -> Vec<Effect> {
    std::iter::from_fn(|| table.poll_effect()).collect()
}

pub(super) fn handle(table: &mut Table, now: MonoTime, event: Event) -> Vec<Effect> {
    table.handle(now, event);
    drain(table)
}

pub(super) fn tick(table: &mut Table, now: MonoTime) -> Vec<Effect> {
    table.tick(now);
    drain(table)
}

/// A gate enrolled at 0 whose first probe is under way.
pub(super) fn table(policy: Policy) -> Table {
    let mut table = Table::new();
    handle(&mut table, ms(0), enrolled(policy));
    table
}

/// The same after that probe said no: the next one is due at 5 ms.
pub(super) fn idle(policy: Policy) -> Table {
    let mut table = table(policy);
    handle(&mut table, ms(0), NOT_READY);
    table
}
