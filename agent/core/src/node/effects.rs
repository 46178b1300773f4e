//! What gates want, in the order in which they want it, and what the kernel is told.
//!
//! Invariant: nothing of a gate overtakes a reset of its connections, which a hand makes: opened before, the gate would let them
//! be made.

use std::{mem, time::Duration};

use conngate_common::{
    gate::GateState,
    id::{CgroupId, MonoTime, SocketCookie},
    reason::Reason,
    record::{EndedRecord, Outcome, ParkedRecord, RecordHeader},
};

use super::{Node, Output, What};
use crate::{
    backoff::after,
    connections::is_datagram,
    gate::{Effect, Event, Summary},
};

/// How long a gate waits for its connections' reset: what the kernel's own cap is later than the agent's.
const PATIENCE: Duration = Duration::from_secs(1);

/// A gate whose connections are being reset.
#[derive(Debug)]
pub(super) struct Resetting {
    until: MonoTime,
    /// What is to be done then.
    effects: Vec<Effect>,
    /// A container has started meanwhile.
    pub(super) restarted: bool,
}

impl Node {
    /// Tells a gate, and does what it wants.
    pub(super) fn event(&mut self, event: Event) {
        self.gates.handle(self.now, event);
        self.carry_out();
    }

    /// Does what gates want, and what their queries do.
    pub(super) fn carry_out(&mut self) {
        loop {
            while let Some(effect) = self.gates.poll_effect() {
                self.does_in_turn(effect);
            }
            self.queries.tick(self.now);
            match self.queries.poll_effect() {
                Some(effect) => self.does_for_dns(effect),
                None => return,
            }
        }
    }

    /// The connections of a gate were reset.
    pub(super) fn was_reset(&mut self, gate: CgroupId) {
        let Some(resetting) = self.resetting.remove(&gate) else { return };
        for effect in resetting.effects {
            self.does_in_turn(effect);
        }
        if resetting.restarted {
            self.restarted(gate);
        }
    }

    fn does_in_turn(&mut self, effect: Effect) {
        match self.resetting.get_mut(&effect.gate()) {
            // A copy goes at once: the same socket may connect again meanwhile, and its next copy is another.
            Some(resetting) if !matches!(effect, Effect::Unpark { .. }) => resetting.effects.push(effect),
            Some(_) | None => self.does(effect),
        }
    }

    fn does(&mut self, effect: Effect) {
        match effect {
            Effect::Write { gate, state, reason } => self.write(gate, state, reason),
            // Done at once, with the retirement.
            Effect::Forget { .. } => {}
            Effect::Probe { gate, want } => self.ask(gate, want),
            Effect::Replay { gate, sockets } => {
                self.queries.release(self.now, &sockets);
                let (_, records) = self.parked_records(&sockets);
                if !records.is_empty() {
                    self.outputs.push_back(Output::Replay(gate, records));
                }
                self.untold_ended(gate, &sockets, Outcome::Established);
            }
            Effect::Reset { gate, sockets } => {
                let (datagrams, records) = self.parked_records(&sockets);
                datagrams.iter().for_each(|datagram| self.queries.abandon(datagram.header.socket));
                self.outputs.push_back(Output::Reset(gate, records));
                let until = after(self.now, PATIENCE);
                self.resetting.insert(gate, Resetting { until, effects: Vec::new(), restarted: false });
                self.untold_ended(gate, &sockets, Outcome::Abandoned);
            }
            Effect::Unpark { socket, .. } => {
                if let Some(gate) = self.connections.unpark(socket) {
                    self.outputs.push_back(Output::Release(gate));
                }
            }
            Effect::Opened { gate, summary } => self.opened(gate, summary),
        }
    }

    fn opened(&mut self, gate: CgroupId, summary: Summary) {
        self.holding.remove(&gate);
        let workload = self.workloads.get(&gate);
        let found = workload.and_then(|workload| {
            let url = workload.spec.as_ref()?.ready_url.clone()?;
            Some((url, workload.found.as_ref()?.1.clone()))
        });
        self.tell(gate, What::Opened { summary, found });
        if summary.reason != Reason::Timeout {
            let changes = self.pods.hold_again(gate);
            self.change(changes);
        }
    }

    fn write(&mut self, gate: CgroupId, state: GateState, reason: Reason) {
        let now = self.now;
        let Some(workload) = self.workloads.get_mut(&gate) else { return };
        workload.turn(now, state, reason);
        let is_new = workload.state.replace((state, reason)) != Some((state, reason));
        let entry = workload.entry();
        if workload.awaits_dns {
            self.queries.opened(now, gate);
        } else {
            self.queries.passes(gate);
        }
        if state == GateState::Holding {
            self.queries.closed(gate);
            self.closed.insert(gate);
        } else {
            self.closed.remove(&gate);
        }
        self.unwritten_gates.remove(&gate);
        self.outputs.push_back(Output::WriteGate(gate, entry));
        if is_new {
            let mode = self.mode(gate);
            self.tell(gate, What::Changed { state, reason, mode });
        }
    }

    /// The gate is gone: the kernel has no entry of it.
    pub(super) fn forget(&mut self, gate: CgroupId) {
        self.workloads.remove(&gate);
        self.probes.forget(gate);
        self.closed.remove(&gate);
        self.holding.remove(&gate);
        self.unwritten_gates.remove(&gate);
        self.outputs.extend([Output::Release(gate), Output::WriteGate(gate, None)]);
    }

    /// Tells the kernel at once when others are closed than it knows of.
    pub(super) fn count_closed(&mut self) {
        // A pod that is undecided may yet have a gate: sockets are prepared for a hold as if one were closed.
        let undecided = u32::from(self.pods.undecided().next().is_some());
        let closed =
            u32::try_from(self.closed.len() + self.queries.late()).unwrap_or(u32::MAX).saturating_add(undecided);
        if mem::replace(&mut self.told_closed, closed) != closed {
            self.outputs.push_back(Output::Beat { closed_gates: closed });
        }
    }

    /// The agent is alive, and does again what failed.
    pub(super) fn beat(&mut self) {
        self.outputs.push_back(Output::Beat { closed_gates: self.told_closed });
        for gate in mem::take(&mut self.unwritten_gates) {
            let entry = self.workloads.get(&gate).and_then(super::Workload::entry);
            self.outputs.push_back(Output::WriteGate(gate, entry));
        }
        for container in mem::take(&mut self.unwritten_containers) {
            let class = self.pods.class_of_cgroup(container);
            self.outputs.push_back(Output::WriteContainer(container, class));
        }
        let late = self.resetting.iter().filter(|(_, resetting)| resetting.until <= self.now);
        for gate in late.map(|(gate, _)| *gate).collect::<Vec<_>>() {
            self.tell(gate, What::ResetLate);
            self.was_reset(gate);
        }
    }

    /// A connection waits no longer.
    pub(super) fn ended(&mut self, record: &EndedRecord) {
        let Ok(outcome) = Outcome::try_from(record.outcome) else { return };
        let (gate, socket) = (record.header.gate, record.header.socket);
        self.unclassified.ended(gate, socket);
        let opened = self.workloads.get(&gate).and_then(|workload| workload.opened);
        let opened = opened.filter(|at| outcome == Outcome::Established && record.first_drop < *at);
        let after_ready = opened.map(|at| Duration::from_nanos(record.header.at.since(at)));
        self.gates.handle(self.now, Event::Ended { gate, socket, outcome });
        self.tell(gate, What::Ended { record: *record, outcome, after_ready });
    }

    /// What is kept of these sockets: datagrams, and SYNs.
    fn parked_records(&self, sockets: &[SocketCookie]) -> (Vec<ParkedRecord>, Vec<ParkedRecord>) {
        self.connections.records(sockets).into_iter().partition(is_datagram)
    }

    /// Where sock_ops is left out the kernel tells of no connection's end: with their replay they wait no longer.
    fn untold_ended(&mut self, gate: CgroupId, sockets: &[SocketCookie], outcome: Outcome) {
        if self.hooks.ends {
            return;
        }
        for &socket in sockets {
            let record = self.connections.record(socket);
            let Some(record) = record.filter(|record| !is_datagram(record)) else { continue };
            let header = RecordHeader { at: self.now, ..record.header };
            let ended = EndedRecord { header, first_drop: record.first_drop, attempts: 1, outcome: outcome.code() };
            self.gates.handle(self.now, Event::Ended { gate, socket, outcome });
            self.tell(gate, What::Ended { record: ended, outcome, after_ready: None });
        }
    }
}
