//! One gate: closed until something opens it, then open for good.
//!
//! Knows nothing of other gates. What it is told comes from [`super::Table`], what it wants goes to the queue of effects
//! that every method is given.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    time::Duration,
};

use conngate_common::{
    gate::GateState,
    id::{CgroupId, MonoTime, SocketCookie},
    reason::Reason,
};

use super::{Answer, Effect, OnTimeout, Policy, Summary, Want, backoff::after, pacing::Pacer, prober::Prober};

pub(super) type Effects = VecDeque<Effect>;

/// One workload's gate.
#[derive(Debug)]
pub struct Gate {
    id: CgroupId,
    policy: Policy,
    /// How many replayed SYNs may be unanswered at a time.
    window: usize,
    /// Connections held so far.
    held: u64,
    /// The first drop of all: the clock of the timeout.
    earliest: Option<MonoTime>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Closed {
        /// The parked sockets and their first drops.
        waiting: BTreeMap<SocketCookie, MonoTime>,
        prober: Prober,
    },
    Open {
        reason: Reason,
        pacer: Pacer,
        /// Reset and not ended yet: a late word of them must not replay them.
        reset: BTreeSet<SocketCookie>,
    },
}

impl Gate {
    /// A new gate is closed, and asks at once: a proxy that is ready already costs the first connection next to nothing.
    pub(super) fn enrol(id: CgroupId, policy: Policy, window: usize, effects: &mut Effects) -> Self {
        let phase = Phase::Closed { waiting: BTreeMap::new(), prober: Prober::asked() };
        let gate = Self { id, policy, window, held: 0, earliest: None, phase };
        effects.push_back(gate.write());
        effects.push_back(gate.probe());
        gate
    }

    /// The workload asks for `policy` now.
    pub(super) fn amend(&mut self, policy: Policy, effects: &mut Effects) {
        let changed = mem::replace(&mut self.policy, policy) != policy;
        effects.push_back(self.write());
        if changed {
            self.ask_at_once(effects);
        }
    }

    /// The workload is gone.
    pub(super) fn retire(self, effects: &mut Effects) {
        let gate = self.id;
        effects.push_back(Effect::Forget { gate });
        let parked: BTreeSet<_> = match self.phase {
            Phase::Closed { waiting, .. } => waiting.into_keys().collect(),
            Phase::Open { pacer, reset, .. } => pacer.sockets().chain(reset).collect(),
        };
        effects.extend(parked.into_iter().map(|socket| Effect::Unpark { gate, socket }));
    }

    /// A SYN of `socket` was dropped.
    pub(super) fn parked(&mut self, now: MonoTime, socket: SocketCookie, first_drop: MonoTime) {
        match &mut self.phase {
            Phase::Closed { waiting, prober } => {
                self.earliest = Some(self.earliest.map_or(first_drop, |earliest| earliest.min(first_drop)));
                if waiting.insert(socket, first_drop).is_none() {
                    self.held += 1;
                    prober.ask_soon(now);
                }
            }
            Phase::Open { pacer, reset, .. } => {
                if !reset.contains(&socket) {
                    pacer.push(socket);
                }
            }
        }
    }

    /// `socket` waits no longer.
    pub(super) fn ended(&mut self, socket: SocketCookie, effects: &mut Effects) {
        let known = match &mut self.phase {
            Phase::Closed { waiting, .. } => waiting.remove(&socket).is_some(),
            Phase::Open { pacer, reset, .. } => pacer.remove(socket) || reset.remove(&socket),
        };
        if known {
            effects.push_back(Effect::Unpark { gate: self.id, socket });
        }
    }

    /// Somebody listens, as the kernel saw it.
    pub(super) fn listening(&mut self, now: MonoTime, effects: &mut Effects) {
        match self.policy.want() {
            Want::Listener => self.open(now, Reason::Listening, effects),
            Want::Ready => self.ask_at_once(effects),
        }
    }

    /// A probe was answered.
    pub(super) fn probed(&mut self, now: MonoTime, answer: Answer, effects: &mut Effects) {
        match (answer, self.policy.want()) {
            (Answer::Ready, _) => self.open(now, Reason::Ready, effects),
            (Answer::Listening, Want::Listener) => self.open(now, Reason::Listening, effects),
            (Answer::Listening, Want::Ready) | (Answer::NotReady, _) => {
                if let Phase::Closed { prober, .. } = &mut self.phase
                    && prober.failed(now)
                {
                    effects.push_back(self.probe());
                }
            }
        }
    }

    /// Time has passed. An answer that came in time wins over a timeout that nobody has noticed yet.
    pub(super) fn tick(&mut self, now: MonoTime, effects: &mut Effects) {
        let timed_out = self.timeout_at().is_some_and(|at| at <= now);
        if let Phase::Closed { prober, .. } = &mut self.phase {
            if timed_out {
                self.open(now, Reason::Timeout, effects);
            } else if prober.tick(now) {
                effects.push_back(self.probe());
            }
        }
    }

    /// Opens a closed gate. Who is reset is reset before, so that no SYN of theirs can pass; who is replayed is replayed
    /// after, so that none is dropped.
    pub(super) fn open(&mut self, now: MonoTime, reason: Reason, effects: &mut Effects) {
        let Phase::Closed { waiting, .. } = &mut self.phase else { return };
        let sockets = by_age(mem::take(waiting));
        let summary = Summary {
            reason,
            held: self.held,
            longest: self.earliest.map_or(Duration::ZERO, |earliest| Duration::from_nanos(now.since(earliest))),
            waiting: sockets.len(),
        };
        let mut pacer = Pacer::new(self.window);
        let mut reset = BTreeSet::new();
        if reason == Reason::Timeout && self.policy.on_timeout == OnTimeout::Reset {
            reset.extend(sockets.iter().copied());
            if !sockets.is_empty() {
                effects.push_back(Effect::Reset { gate: self.id, sockets });
            }
        } else {
            sockets.into_iter().for_each(|socket| pacer.push(socket));
        }
        self.phase = Phase::Open { reason, pacer, reset };
        effects.push_back(self.write());
        effects.push_back(Effect::Opened { gate: self.id, summary });
    }

    /// Sends what can go now.
    pub(super) fn replay(&mut self, now: MonoTime, effects: &mut Effects) {
        let Phase::Open { pacer, .. } = &mut self.phase else { return };
        let (gate, batch) = (self.id, pacer.pump(now));
        if !batch.replay.is_empty() {
            effects.push_back(Effect::Replay { gate, sockets: batch.replay });
        }
        effects.extend(batch.given_up.into_iter().map(|socket| Effect::Unpark { gate, socket }));
    }

    /// When to tick next, provided that nothing happens before.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        match &self.phase {
            Phase::Closed { prober, .. } => [prober.deadline(), self.timeout_at()].into_iter().flatten().min(),
            Phase::Open { pacer, .. } => pacer.deadline(),
        }
    }

    fn timeout_at(&self) -> Option<MonoTime> {
        self.earliest.map(|earliest| after(earliest, self.policy.timeout))
    }

    fn ask_at_once(&mut self, effects: &mut Effects) {
        if let Phase::Closed { prober, .. } = &mut self.phase
            && prober.ask_at_once()
        {
            effects.push_back(self.probe());
        }
    }

    fn probe(&self) -> Effect {
        Effect::Probe { gate: self.id, want: self.policy.want() }
    }

    fn write(&self) -> Effect {
        Effect::Write { gate: self.id, state: self.state(), reason: self.reason() }
    }
}

/// What `status` and `explain` show.
impl Gate {
    /// What the workload asked for last.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Holding or open.
    #[must_use]
    pub const fn state(&self) -> GateState {
        match self.phase {
            Phase::Closed { .. } => GateState::Holding,
            Phase::Open { .. } => GateState::Open,
        }
    }

    /// Why it is open, or what it waits for.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self.phase {
            Phase::Closed { .. } => self.policy.closed_reason(),
            Phase::Open { reason, .. } => reason,
        }
    }

    /// How many connections it held.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.held
    }

    /// The sockets that wait: parked, or replayed and neither answered nor given up. Those that were reset do not.
    #[must_use]
    pub fn waiting(&self) -> BTreeSet<SocketCookie> {
        match &self.phase {
            Phase::Closed { waiting, .. } => waiting.keys().copied().collect(),
            Phase::Open { pacer, .. } => pacer.sockets().collect(),
        }
    }
}

/// The sockets, the one that waits longest first.
fn by_age(waiting: BTreeMap<SocketCookie, MonoTime>) -> Vec<SocketCookie> {
    let mut sockets: Vec<_> = waiting.into_iter().collect();
    sockets.sort_by_key(|&(_, first_drop)| first_drop);
    sockets.into_iter().map(|(socket, _)| socket).collect()
}
