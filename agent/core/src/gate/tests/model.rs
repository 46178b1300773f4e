//! The core against the naive reference: any events, in any order, at any time, to several gates at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use conngate_common::{
    gate::{GateState, Mode},
    id::{CgroupId, MonoTime, SocketCookie},
    reason::Reason,
    record::Outcome,
};
use proptest::prelude::*;

use super::{
    super::{Answer, Effect, Event, Gate, OnTimeout, Policy, Readiness, Summary, Table},
    reference::{History, Input, View},
};
use crate::backoff::after;

const GATES: u64 = 3;
const SOCKETS: u64 = 6;
const WINDOW: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Tell(Event),
    /// A SYN whose first drop was so many milliseconds ago.
    Park(CgroupId, SocketCookie, u64),
    /// Milliseconds without a tick: the driver is late.
    Wait(u64),
    Tick,
    /// The driver is in time.
    TickWhenDue,
}

fn gate() -> impl Strategy<Value = CgroupId> {
    (0..GATES).prop_map(CgroupId)
}

fn socket() -> impl Strategy<Value = SocketCookie> {
    (0..SOCKETS).prop_map(SocketCookie)
}

fn policy() -> impl Strategy<Value = Policy> {
    (
        prop::sample::select(Mode::ALL),
        prop::sample::select(&[1, 100, 60_000][..]).prop_map(Duration::from_millis),
        prop::sample::select(&[OnTimeout::Release, OnTimeout::Reset][..]),
        prop_oneof![4 => Just(Readiness::Probe), 1 => Just(Readiness::Listener)],
        prop::option::of(prop::sample::select(&[10, 1_000][..]).prop_map(Duration::from_millis)),
    )
        .prop_map(|(mode, timeout, on_timeout, readiness, regate)| Policy {
            mode,
            timeout,
            on_timeout,
            readiness,
            regate,
        })
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        8 => Just(Answer::NotReady),
        8 => Just(Answer::Unanswered),
        3 => Just(Answer::Listening),
        1 => Just(Answer::Ready),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop::sample::select(Outcome::ALL);
    prop_oneof![
        3 => (gate(), policy()).prop_map(|(gate, policy)| Step::Tell(Event::Enrolled { gate, policy })),
        1 => gate().prop_map(|gate| Step::Tell(Event::Declined { gate })),
        1 => (gate(), policy(), prop::sample::select(Reason::ALL))
            .prop_map(|(gate, policy, reason)| Step::Tell(Event::Resumed { gate, policy, reason })),
        1 => gate().prop_map(|gate| Step::Tell(Event::Terminating { gate })),
        1 => gate().prop_map(|gate| Step::Tell(Event::Retired { gate })),
        4 => gate().prop_map(|gate| Step::Tell(Event::Silent { gate })),
        3 => (gate(), prop::bool::weighted(0.8)).prop_map(|(gate, ready)| Step::Tell(Event::Vouched { gate, ready })),
        1 => gate().prop_map(|gate| Step::Tell(Event::Override { gate })),
        2 => gate().prop_map(|gate| Step::Tell(Event::Listening { gate })),
        1 => gate().prop_map(|gate| Step::Tell(Event::Renewed { gate })),
        1 => gate().prop_map(|gate| Step::Tell(Event::Restarted { gate })),
        8 => (gate(), answer()).prop_map(|(gate, answer)| Step::Tell(Event::Probed { gate, answer })),
        6 => (gate(), socket(), outcome)
            .prop_map(|(gate, socket, outcome)| Step::Tell(Event::Ended { gate, socket, outcome })),
        12 => (gate(), socket(), 0..30u64).prop_map(|(gate, socket, ago)| Step::Park(gate, socket, ago)),
        4 => prop::sample::select(&[1, 4, 5, 10, 50, 300, 70_000][..]).prop_map(Step::Wait),
        3 => Just(Step::Tick),
        12 => Just(Step::TickWhenDue),
    ]
}

/// Carries effects out in memory, and refuses those that must never come.
#[derive(Default)]
struct Shell {
    entries: BTreeMap<CgroupId, (GateState, Reason)>,
    probing: BTreeSet<CgroupId>,
    copies: BTreeSet<(CgroupId, SocketCookie)>,
    reset: BTreeSet<(CgroupId, SocketCookie)>,
    /// Announced, and being deleted.
    terminating: BTreeSet<CgroupId>,
    /// The workload, or one of its containers, begins anew by this input.
    renewed: bool,
    restarted: bool,
    /// Sent since [`Shell::take`].
    replayed: BTreeSet<(CgroupId, SocketCookie)>,
    /// Told since then.
    opened: BTreeMap<CgroupId, Summary>,
}

impl Shell {
    fn state(&self, gate: CgroupId) -> Option<GateState> {
        self.entries.get(&gate).map(|&(state, _)| state)
    }

    /// What the shell does itself when it hands over an input.
    fn take(&mut self, input: &Input) {
        self.replayed.clear();
        self.opened.clear();
        self.renewed = matches!(input, Input::Event(Event::Renewed { .. }));
        self.restarted = matches!(input, Input::Event(Event::Restarted { .. }));
        match *input {
            Input::Event(Event::Parked { gate, socket, .. }) => {
                self.copies.insert((gate, socket));
            }
            Input::Event(Event::Ended { gate, socket, .. }) => {
                self.reset.remove(&(gate, socket));
            }
            Input::Event(Event::Probed { gate, .. }) => {
                self.probing.remove(&gate);
            }
            Input::Event(Event::Terminating { gate }) if self.entries.contains_key(&gate) => {
                self.terminating.insert(gate);
            }
            Input::Event(
                Event::Enrolled { .. }
                | Event::Declined { .. }
                | Event::Resumed { .. }
                | Event::Terminating { .. }
                | Event::Retired { .. }
                | Event::Listening { .. }
                | Event::Silent { .. }
                | Event::Renewed { .. }
                | Event::Restarted { .. }
                | Event::Vouched { .. }
                | Event::Override { .. },
            )
            | Input::Tick => {}
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Write { gate, state, reason } => {
                let closes = state == GateState::Holding;
                assert!(!closes || !self.terminating.contains(&gate), "closed though it is being deleted");
                let before = self.entries.insert(gate, (state, reason));
                if closes && before.is_none_or(|before| before.0 != GateState::Holding) {
                    let mut copies = self.copies.iter().filter(|(other, _)| *other == gate);
                    assert!(copies.all(|copy| self.reset.contains(copy)), "closed over what is under way");
                }
                if let Some(before @ (GateState::Open, why)) = before {
                    let was_ready = matches!(why, Reason::Ready | Reason::Listening | Reason::KubeletReady);
                    let stays = before == (state, reason) || state == GateState::NotEnrolled;
                    let begins = self.renewed || (self.restarted && why == Reason::Timeout);
                    assert!(stays || (closes && (was_ready || begins)), "an open gate stays as it is");
                }
            }
            Effect::Forget { gate } => {
                assert!(self.entries.remove(&gate).is_some(), "forgotten without an entry");
                self.probing.remove(&gate);
                self.terminating.remove(&gate);
                self.reset.retain(|&(other, _)| other != gate);
            }
            Effect::Probe { gate, .. } => {
                assert_eq!(self.state(gate), Some(GateState::Holding), "only a closed gate is probed");
                assert!(self.probing.insert(gate), "two probes at a time");
            }
            Effect::Replay { gate, sockets } => {
                let open = [Some(GateState::Open), Some(GateState::NotEnrolled)];
                assert!(open.contains(&self.state(gate)), "replayed before the gate is open");
                assert!(!sockets.is_empty(), "nothing to replay");
                for socket in sockets {
                    assert!(self.copies.contains(&(gate, socket)), "replayed without a copy");
                    assert!(!self.reset.contains(&(gate, socket)), "replayed after the reset");
                    assert!(self.replayed.insert((gate, socket)), "replayed twice at a time");
                }
            }
            Effect::Reset { gate, sockets } => {
                assert_eq!(self.state(gate), Some(GateState::Holding), "reset after the gate is open");
                assert!(!sockets.is_empty(), "nothing to reset");
                for socket in sockets {
                    assert!(self.copies.contains(&(gate, socket)), "reset though not waiting");
                    self.reset.insert((gate, socket));
                }
            }
            Effect::Unpark { gate, socket } => {
                assert!(self.copies.remove(&(gate, socket)), "unparked twice");
            }
            Effect::Opened { gate, summary } => {
                let entry = self.entries.get(&gate);
                assert!(
                    entry.is_some_and(|&(state, reason)| state != GateState::Holding && reason == summary.reason),
                    "told before it is done"
                );
                assert!(self.opened.insert(gate, summary).is_none(), "told twice");
            }
        }
    }

    fn view(&self, table: &Table, id: CgroupId, deadline: Option<MonoTime>) -> Option<View> {
        let gate = table.gate(id)?;
        let of_it = |set: &BTreeSet<(CgroupId, SocketCookie)>| {
            set.iter().filter(|(other, _)| *other == id).map(|&(_, socket)| socket).collect()
        };
        Some(View {
            state: gate.state(),
            reason: gate.reason(),
            waiting: gate.waiting(),
            reset: of_it(&self.reset),
            deadline,
            asking: self.probing.contains(&id),
            replayed: of_it(&self.replayed),
            opened: self.opened.get(&id).copied(),
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn table_any_history_agrees_with_the_reference(steps in prop::collection::vec(step(), 1..90)) {
        let (mut table, mut shell, mut history) = (Table::with_window(WINDOW), Shell::default(), History::default());
        let mut now = MonoTime(1_000_000_000);
        for step in steps {
            let input = match step {
                Step::Tell(event) => Input::Event(event),
                Step::Park(gate, socket, ago) => {
                    Input::Event(Event::Parked { gate, socket, first_drop: MonoTime(now.0 - ago * 1_000_000) })
                }
                Step::Wait(millis) => {
                    now = after(now, Duration::from_millis(millis));
                    continue;
                }
                Step::Tick => Input::Tick,
                Step::TickWhenDue => {
                    now = table.next_deadline().map_or(now, |due| due.max(now));
                    Input::Tick
                }
            };
            history.0.push((now, input));
            shell.take(&input);
            match input {
                Input::Event(event) => table.handle(now, event),
                Input::Tick => table.tick(now),
            }
            while let Some(effect) = table.poll_effect() {
                shell.carry_out(effect);
            }

            let expected: Vec<_> = (0..GATES).map(|id| history.view(CgroupId(id), WINDOW)).collect();
            let deadline = expected.iter().flatten().filter_map(|view| view.deadline).min();
            prop_assert_eq!(table.next_deadline(), deadline);
            for (id, expected) in (0..GATES).map(CgroupId).zip(expected) {
                let copies: BTreeSet<_> = shell.copies.iter().filter(|(gate, _)| *gate == id).map(|c| c.1).collect();
                let needed: BTreeSet<_> = expected.iter().flat_map(|view| &view.waiting | &view.reset).collect();
                prop_assert_eq!(copies, needed, "copies that are kept for {:?}", id);
                let entry = expected.as_ref().map(|view| (view.state, view.reason));
                prop_assert_eq!(shell.entries.get(&id).copied(), entry, "the kernel's entry of {:?}", id);
                let due = table.gate(id).and_then(Gate::deadline);
                prop_assert_eq!(shell.view(&table, id, due), expected, "{:?} after {:?}", id, input);
            }
        }
    }
}
