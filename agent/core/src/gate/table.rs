//! All gates of this machine: hands every event to its gate, and keeps the effects until they are asked for.
//!
//! Knows nothing of what makes a gate open ([`Gate`]). Bound by the number of workloads on one machine, hundreds: looking
//! for the next deadline among all of them costs less than keeping an index.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::Duration,
};

use conngate_common::{
    gate::Mode,
    id::{CgroupId, MonoTime},
    reason::Reason,
};

use super::{Effect, Event, Gate, OnTimeout, Policy, Readiness, gate::Effects, pacing::WINDOW};

/// The policy of a workload that never asked for one; nothing of it is held.
const NO_POLICY: Policy = Policy {
    mode: Mode::Observe,
    timeout: Duration::ZERO,
    on_timeout: OnTimeout::Release,
    readiness: Readiness::Listener,
    regate: None,
};

/// The gates.
#[derive(Debug)]
pub struct Table {
    gates: BTreeMap<CgroupId, Gate>,
    effects: Effects,
    /// Gates that may have something to replay.
    stirred: BTreeSet<CgroupId>,
    /// The time of the last call.
    now: MonoTime,
    window: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_window(WINDOW)
    }

    /// An empty table that lets at most `window` replayed SYNs of one gate be unanswered at a time.
    #[must_use]
    pub const fn with_window(window: usize) -> Self {
        Self { gates: BTreeMap::new(), effects: Effects::new(), stirred: BTreeSet::new(), now: MonoTime(0), window }
    }

    /// Takes in what happened. Effects and the next deadline may be others afterwards.
    pub fn handle(&mut self, now: MonoTime, event: Event) {
        self.now = now;
        let effects = &mut self.effects;
        match event {
            Event::Enrolled { gate: id, policy } => match self.gates.entry(id) {
                Entry::Vacant(vacant) => {
                    vacant.insert(Gate::enrol(id, policy, self.window, effects));
                }
                Entry::Occupied(mut gate) => gate.get_mut().amend(policy, None, effects),
            },
            Event::Declined { gate: id } => match self.stir(id) {
                Some((gate, effects)) => gate.decline(now, effects),
                None => self.resume(id, NO_POLICY, Reason::NotEnrolled),
            },
            Event::Resumed { gate: id, policy, reason } => match self.gates.get_mut(&id) {
                Some(gate) => gate.amend(policy, Some(reason), effects),
                None => self.resume(id, policy, reason),
            },
            Event::Terminating { gate: id } => {
                if let Some((gate, effects)) = self.stir(id) {
                    gate.terminate(now, effects);
                }
            }
            Event::Retired { gate: id } => {
                if let Some(gate) = self.gates.remove(&id) {
                    gate.retire(effects);
                }
            }
            Event::Parked { gate: id, socket, first_drop } => match self.stir(id) {
                Some((gate, _)) => gate.parked(now, socket, first_drop),
                None => self.effects.push_back(Effect::Unpark { gate: id, socket }),
            },
            Event::Ended { gate: id, socket, outcome: _ } => {
                if let Some((gate, effects)) = self.stir(id) {
                    gate.ended(socket, effects);
                }
            }
            Event::Listening { gate: id } => {
                if let Some((gate, effects)) = self.stir(id) {
                    gate.listening(effects);
                }
            }
            Event::Silent { gate: id } => {
                if let Some((gate, effects)) = self.stir(id) {
                    gate.silent(effects);
                }
            }
            Event::Renewed { gate: id } => {
                if let Some((gate, effects)) = self.stir(id) {
                    gate.renewed(effects);
                }
            }
            Event::Restarted { gate: id } => {
                if let Some((gate, effects)) = self.stir(id) {
                    gate.restarted(effects);
                }
            }
            Event::Vouched { gate: id, ready } => {
                if let Some((gate, effects)) = self.stir(id) {
                    gate.vouched(ready, effects);
                }
            }
            Event::Probed { gate: id, answer } => {
                if let Some((gate, effects)) = self.stir(id) {
                    gate.probed(now, answer, effects);
                }
            }
            Event::Override { gate: id } => {
                if let Some((gate, effects)) = self.stir(id) {
                    gate.open(now, Reason::Operator, effects);
                }
            }
        }
    }

    /// Takes in that time has passed; does nothing before [`Table::next_deadline`].
    pub fn tick(&mut self, now: MonoTime) {
        self.now = now;
        for (&id, gate) in &mut self.gates {
            if gate.deadline().is_some_and(|at| at <= now) {
                gate.tick(now, &mut self.effects);
                self.stirred.insert(id);
            }
        }
    }

    /// The next thing to be done, `None` when all is as it should be.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        while self.effects.is_empty()
            && let Some(id) = self.stirred.pop_first()
        {
            if let Some(gate) = self.gates.get_mut(&id) {
                gate.replay(self.now, &mut self.effects);
            }
        }
        self.effects.pop_front()
    }

    /// When to [`Table::tick`] unless something happens before. Holds once all effects were polled.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonoTime> {
        self.gates.values().filter_map(Gate::deadline).min()
    }

    /// One workload's gate.
    #[must_use]
    pub fn gate(&self, id: CgroupId) -> Option<&Gate> {
        self.gates.get(&id)
    }

    /// All gates, by id.
    pub fn gates(&self) -> impl Iterator<Item = (CgroupId, &Gate)> {
        self.gates.iter().map(|(&id, gate)| (id, gate))
    }

    fn resume(&mut self, id: CgroupId, policy: Policy, reason: Reason) {
        self.gates.insert(id, Gate::resume(id, policy, reason, self.window, &mut self.effects));
    }

    fn stir(&mut self, id: CgroupId) -> Option<(&mut Gate, &mut Effects)> {
        let gate = self.gates.get_mut(&id)?;
        self.stirred.insert(id);
        Some((gate, &mut self.effects))
    }
}
