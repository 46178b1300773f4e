//! What the core wants done, in the order in which it wants it.
//!
//! Invariant: nothing of a gate overtakes a reset of its connections, which a hand makes: opened before, the gate would let them
//! be made.

use std::time::Duration;

use conngate_common::{
    id::{CgroupId, MonoTime, SocketCookie},
    record::{EndedRecord, Outcome, ParkedRecord, RecordHeader},
};
use conngate_core::{backoff::after, connections::is_datagram};

use super::{App, Notice};
use crate::{
    gate::{Effect, Event},
    kernel::clock,
};

/// How long a gate waits for its connections' reset: what the kernel's own cap is later than the agent's.
const PATIENCE: Duration = Duration::from_secs(1);

/// A gate whose connections are being reset.
pub(super) struct Resetting {
    until: MonoTime,
    /// What is to be done then.
    effects: Vec<Effect>,
}

impl Resetting {
    fn now() -> Self {
        Self { until: after(clock::now(), PATIENCE), effects: Vec::new() }
    }
}

impl App {
    pub(super) fn carry_out(&mut self) {
        loop {
            while let Some(effect) = self.table.poll_effect() {
                self.does_in_turn(effect);
            }
            self.queries.tick(clock::now());
            match self.queries.poll_effect() {
                Some(effect) => self.does_for_dns(effect),
                None => return,
            }
        }
    }

    /// The connections of a gate were reset.
    pub(super) fn was_reset(&mut self, gate: CgroupId) {
        for effect in self.resetting.remove(&gate).map(|resetting| resetting.effects).unwrap_or_default() {
            self.does_in_turn(effect);
        }
    }

    /// Resets that take too long hold their gates up no longer.
    pub(super) fn forget_late_resets(&mut self) {
        let now = clock::now();
        let late = self.resetting.iter().filter(|(_, resetting)| resetting.until <= now);
        for gate in late.map(|(gate, _)| *gate).collect::<Vec<_>>() {
            tracing::warn!(gate = gate.0, "its connections are not reset in time: what is left is released");
            self.was_reset(gate);
        }
    }

    fn does_in_turn(&mut self, effect: Effect) {
        match self.resetting.get_mut(&effect.gate()) {
            Some(resetting) => resetting.effects.push(effect),
            None => self.does(effect),
        }
    }

    fn does(&mut self, effect: Effect) {
        tracing::trace!(?effect);
        match effect {
            Effect::Write { gate, state, reason } => self.write(gate, state, reason),
            Effect::Forget { gate } => self.forget(gate),
            Effect::Probe { gate, want } => self.probe(gate, want),
            Effect::Replay { gate, sockets } => {
                self.queries.release(clock::now(), &sockets);
                let (_, records) = self.parked_records(&sockets);
                if let Some(enrolled) = self.enrolled.by_gate(gate).filter(|_| !records.is_empty()) {
                    self.injector.replay(enrolled.target(gate), records);
                }
                self.untold_ended(gate, &sockets, Outcome::Established);
            }
            Effect::Reset { gate, sockets } => {
                let (datagrams, records) = self.parked_records(&sockets);
                datagrams.iter().for_each(|datagram| self.queries.abandon(datagram.header.socket));
                let target = self.enrolled.by_gate(gate).map(|enrolled| enrolled.target(gate));
                if target.is_some_and(|target| self.injector.reset(target, records)) {
                    self.resetting.insert(gate, Resetting::now());
                }
                self.untold_ended(gate, &sockets, Outcome::Abandoned);
            }
            Effect::Unpark { socket, .. } => {
                if let Some(gate) = self.parked.unpark(socket) {
                    self.injector.forget(gate);
                }
            }
            Effect::Opened { gate, summary } => {
                self.recorded.opened(summary.reason);
                self.notices.push_back(Notice::Opened(gate, summary));
            }
        }
    }

    /// What is kept of these sockets: datagrams, and SYNs.
    fn parked_records(&self, sockets: &[SocketCookie]) -> (Vec<ParkedRecord>, Vec<ParkedRecord>) {
        self.parked.records(sockets).into_iter().partition(is_datagram)
    }

    /// Where sock_ops is left out the kernel tells of no connection's end: with their replay they wait no longer.
    pub(super) fn untold_ended(&mut self, gate: CgroupId, sockets: &[SocketCookie], outcome: Outcome) {
        if self.loaded.sees_ends() {
            return;
        }
        for &socket in sockets {
            let record = self.parked.record(socket);
            let Some(record) = record.filter(|record| !is_datagram(record)) else { continue };
            let ended = EndedRecord {
                header: RecordHeader { at: clock::now(), ..record.header },
                first_drop: record.first_drop,
                attempts: 1,
                outcome: outcome.code(),
            };
            self.table.handle(ended.header.at, Event::Ended { gate, socket, outcome });
            self.notices.push_back(Notice::Ended(ended, outcome));
        }
    }
}
