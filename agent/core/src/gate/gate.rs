//! One gate: closed until something opens it, then open; closed again only where its policy says so (`regate`), or when
//! a workload that had declined asks after all.
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

use super::{
    Answer, Effect, OnTimeout, Policy, Summary, Want,
    pacing::Pacer,
    prober::{Prober, Worth},
};
use crate::backoff::{IDLE_PROBE, PROBE, after};

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
    /// The first drop since it was closed: the clock of the timeout.
    earliest: Option<MonoTime>,
    /// The kubelet says that the proxy's container is ready.
    vouched: bool,
    /// The workload is being deleted.
    terminating: bool,
    prober: Prober,
    /// Reset and not ended yet: a late word of them must not replay them.
    reset: BTreeSet<SocketCookie>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Closed {
        /// The parked sockets and their first drops.
        waiting: BTreeMap<SocketCookie, MonoTime>,
        /// It had opened because the proxy was ready: `regate` limits the hold, not the timeout.
        again: bool,
    },
    Open {
        reason: Reason,
        pacer: Pacer,
    },
}

impl Gate {
    /// A new gate is closed, and asks at once: a proxy that is ready already costs the first connection next to nothing.
    pub(super) fn enrol(id: CgroupId, policy: Policy, window: usize, effects: &mut Effects) -> Self {
        let mut gate = Self::opened(id, policy, Reason::NotEnrolled, window);
        gate.close(false, effects);
        gate
    }

    /// A gate that is open from the beginning.
    pub(super) fn resume(id: CgroupId, policy: Policy, reason: Reason, window: usize, effects: &mut Effects) -> Self {
        let gate = Self::opened(id, policy, reason, window);
        effects.push_back(gate.write());
        gate
    }

    fn opened(id: CgroupId, policy: Policy, reason: Reason, window: usize) -> Self {
        Self {
            id,
            policy,
            window,
            held: 0,
            earliest: None,
            vouched: false,
            terminating: false,
            prober: Prober::new(),
            reset: BTreeSet::new(),
            phase: Phase::Open { reason, pacer: Pacer::new(window) },
        }
    }

    /// The workload asks for `policy` now. One that had declined has its gate closed, or open for the reason `resumed`.
    pub(super) fn amend(&mut self, policy: Policy, resumed: Option<Reason>, effects: &mut Effects) {
        let changed = mem::replace(&mut self.policy, policy) != policy;
        if let Phase::Open { reason, .. } = &mut self.phase
            && *reason == Reason::NotEnrolled
            && !self.terminating
        {
            match resumed {
                Some(resumed) => *reason = resumed,
                None => return self.close(false, effects),
            }
        }
        effects.push_back(self.write());
        if changed {
            self.ask_at_once(Worth::Nothing, effects);
        }
    }

    /// Closes an open gate, and asks at once. What is under way through the open gate is left to the kernel.
    fn close(&mut self, again: bool, effects: &mut Effects) {
        let gate = self.id;
        if let Phase::Open { pacer, .. } = &self.phase {
            effects.extend(pacer.sockets().map(|socket| Effect::Unpark { gate, socket }));
        }
        (self.held, self.earliest) = (0, None);
        self.phase = Phase::Closed { waiting: BTreeMap::new(), again };
        effects.push_back(self.write());
        self.ask_at_once(Worth::Nothing, effects);
    }

    /// The workload is being deleted.
    pub(super) fn terminate(&mut self, now: MonoTime, effects: &mut Effects) {
        self.terminating = true;
        self.open(now, Reason::Terminating, effects);
    }

    /// The workload asks for no gate any longer.
    pub(super) fn decline(&mut self, now: MonoTime, effects: &mut Effects) {
        self.open(now, Reason::NotEnrolled, effects);
        if let Phase::Open { reason, .. } = &mut self.phase
            && *reason != Reason::NotEnrolled
        {
            *reason = Reason::NotEnrolled;
            effects.push_back(self.write());
        }
    }

    /// The workload is gone.
    pub(super) fn retire(self, effects: &mut Effects) {
        let gate = self.id;
        effects.push_back(Effect::Forget { gate });
        let parked = self.waiting().into_iter().chain(self.reset);
        effects.extend(parked.map(|socket| Effect::Unpark { gate, socket }));
    }

    /// A SYN of `socket` was dropped.
    pub(super) fn parked(&mut self, now: MonoTime, socket: SocketCookie, first_drop: MonoTime) {
        if self.reset.contains(&socket) {
            return;
        }
        match &mut self.phase {
            Phase::Closed { waiting, .. } => {
                self.earliest = Some(self.earliest.map_or(first_drop, |earliest| earliest.min(first_drop)));
                if waiting.insert(socket, first_drop).is_none() {
                    self.held += 1;
                    self.prober.ask_soon(now);
                }
            }
            Phase::Open { pacer, .. } => pacer.push(socket),
        }
    }

    /// `socket` waits no longer.
    pub(super) fn ended(&mut self, socket: SocketCookie, effects: &mut Effects) {
        let waited = match &mut self.phase {
            Phase::Closed { waiting, .. } => waiting.remove(&socket).is_some(),
            Phase::Open { pacer, .. } => pacer.remove(socket),
        };
        if waited || self.reset.remove(&socket) {
            effects.push_back(Effect::Unpark { gate: self.id, socket });
        }
    }

    /// Somebody called listen(): worth a question, whoever it was.
    pub(super) fn listening(&mut self, effects: &mut Effects) {
        self.ask_at_once(Worth::OnlyYes, effects);
    }

    /// Nobody listens any longer.
    pub(super) fn silent(&mut self, effects: &mut Effects) {
        let Phase::Open { reason, .. } = &self.phase else { return };
        let was_ready = matches!(reason, Reason::Ready | Reason::Listening | Reason::KubeletReady);
        if was_ready && self.policy.regate.is_some() && !self.terminating {
            self.close(true, effects);
        }
    }

    /// The workload begins anew, elsewhere: what was known of its proxy was another life's.
    pub(super) fn renewed(&mut self, effects: &mut Effects) {
        self.vouched = false;
        match &self.phase {
            Phase::Closed { .. } => self.ask_at_once(Worth::Nothing, effects),
            Phase::Open { reason, .. } if *reason != Reason::NotEnrolled && !self.terminating => {
                self.close(false, effects)
            }
            Phase::Open { .. } => {}
        }
    }

    /// One of the workload's containers starts. Who listened before it did may have been an init container that tried the redirect.
    pub(super) fn restarted(&mut self, effects: &mut Effects) {
        let is_doubtful = matches!(self.phase, Phase::Open { reason: Reason::Timeout | Reason::Listening, .. });
        if is_doubtful && !self.terminating {
            self.close(false, effects);
        }
    }

    /// The kubelet says whether the proxy's container is ready.
    pub(super) fn vouched(&mut self, ready: bool, effects: &mut Effects) {
        if !mem::replace(&mut self.vouched, ready) && ready {
            self.ask_at_once(Worth::OnlyYes, effects);
        }
    }

    /// A probe was answered. Without an open question it is an echo: only "yes" says something.
    pub(super) fn probed(&mut self, now: MonoTime, answer: Answer, effects: &mut Effects) {
        let (question, want) = (self.prober.answered(), self.policy.want());
        let Phase::Closed { waiting, .. } = &self.phase else { return };
        let counts = question.is_none_or(|question| question.worth != Worth::Nothing);
        let yes = match (answer, want) {
            (Answer::Ready, _) => Some(Reason::Ready),
            (Answer::Listening, Want::Listener) => Some(Reason::Listening),
            (Answer::Listening, Want::Ready) => self.vouched.then_some(Reason::KubeletReady),
            (Answer::NotReady | Answer::Unanswered, _) => None,
        };
        if let Some(reason) = yes
            && counts
        {
            return self.open(now, reason, effects);
        }
        let Some(question) = question else { return };
        let backoff = if waiting.is_empty() { IDLE_PROBE } else { PROBE };
        if answer == Answer::Unanswered && want == Want::Ready && self.vouched && counts && !question.turned {
            // The same question goes on: the kubelet's word counts if somebody listens.
            self.prober.turn(question);
            effects.push_back(self.probe(Want::Listener));
        } else if self.prober.failed(question, now, backoff) {
            effects.push_back(self.probe(want));
        }
    }

    /// Time has passed. An answer that came in time wins over a timeout that nobody has noticed yet.
    pub(super) fn tick(&mut self, now: MonoTime, effects: &mut Effects) {
        let timed_out = self.timeout_at().is_some_and(|at| at <= now);
        if timed_out {
            self.open(now, Reason::Timeout, effects);
        } else if self.is_closed() && self.prober.tick(now) {
            effects.push_back(self.probe(self.policy.want()));
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
        if reason == Reason::Timeout && self.policy.on_timeout == OnTimeout::Reset {
            self.reset.extend(sockets.iter().copied());
            if !sockets.is_empty() {
                effects.push_back(Effect::Reset { gate: self.id, sockets });
            }
        } else {
            sockets.into_iter().for_each(|socket| pacer.push(socket));
        }
        self.phase = Phase::Open { reason, pacer };
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
            Phase::Closed { .. } => [self.prober.deadline(), self.timeout_at()].into_iter().flatten().min(),
            Phase::Open { pacer, .. } => pacer.deadline(),
        }
    }

    fn ask_at_once(&mut self, worth: Worth, effects: &mut Effects) {
        if self.is_closed() && self.prober.ask_at_once(worth) {
            effects.push_back(self.probe(self.policy.want()));
        }
    }

    const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    const fn probe(&self, want: Want) -> Effect {
        Effect::Probe { gate: self.id, want }
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

    /// Holding, open or not enrolled.
    #[must_use]
    pub const fn state(&self) -> GateState {
        match self.phase {
            Phase::Closed { .. } => GateState::Holding,
            Phase::Open { reason: Reason::NotEnrolled, .. } => GateState::NotEnrolled,
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

    /// When it opens in any case; `None`: it is open, or nothing is held yet.
    #[must_use]
    pub fn timeout_at(&self) -> Option<MonoTime> {
        let Phase::Closed { again, .. } = self.phase else { return None };
        let limit = self.policy.regate.filter(|_| again).unwrap_or(self.policy.timeout);
        self.earliest.map(|earliest| after(earliest, limit))
    }

    /// How many connections it held since it was closed last.
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
