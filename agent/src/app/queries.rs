//! Held DNS queries: what their part of the core wants done.
//!
//! Knows nothing of when a query is sent, or answered as truncated ([`conngate_core::dns`]).

use conngate_common::{
    gate::{GateState, NO_UID},
    record::{EndedRecord, RecordHeader},
};
use conngate_core::dns::Effect;

use super::{App, Notice};
use crate::{gate::Event, inject::Delivered, kernel::clock, netns::Owner};

impl App {
    pub(super) fn does_for_dns(&mut self, effect: Effect) {
        match effect {
            Effect::Send { gate, queries, look } => {
                let asked = self.enrolled.by_gate(gate).is_some_and(|enrolled| {
                    let ports = enrolled.spec.as_ref().map(|spec| spec.datagram_ports.0);
                    let look = ports.map(|[port, ..]| port).filter(|_| look);
                    self.injector.deliver(enrolled.target(gate), queries, look)
                });
                if !asked {
                    self.queries.sent(clock::now(), gate, false);
                }
            }
            Effect::Truncate { gate, queries } => {
                let Some(enrolled) = self.enrolled.by_gate(gate) else { return };
                let proxy = enrolled.spec.as_ref().map(|spec| spec.exempt_uids[0]);
                let proxy = proxy.filter(|uid| *uid != NO_UID).unwrap_or(0);
                self.recorded.truncated(queries.len());
                enrolled.dns_truncated += u64::try_from(queries.len()).unwrap_or(u64::MAX);
                self.injector.truncate(enrolled.target(gate), queries, Owner { uid: proxy, gid: proxy });
            }
            Effect::Ended { header, first_drop, outcome } => {
                let (gate, socket) = (header.gate, header.socket);
                let header = RecordHeader { at: clock::now(), ..header };
                let ended = EndedRecord { header, first_drop, attempts: 1, outcome: outcome.code() };
                self.table.handle(header.at, Event::Ended { gate, socket, outcome });
                self.notices.push_back(Notice::Ended(ended, outcome));
            }
            Effect::Settled { gate } => {
                let state = self.enrolled.by_gate(gate).and_then(|enrolled| enrolled.state);
                if let Some((state @ GateState::Open, reason)) = state {
                    self.write_entry(gate, state, reason, false);
                    self.beat();
                }
            }
        }
    }

    /// Queries were sent, or were not.
    pub(super) fn delivered(&mut self, delivered: &Delivered) {
        self.queries.sent(clock::now(), delivered.gate, delivered.bound);
    }
}
