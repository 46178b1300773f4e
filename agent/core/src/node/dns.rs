//! Held DNS queries: what [`crate::dns`] wants of the node.

use conngate_common::{
    gate::NO_UID,
    record::{EndedRecord, RecordHeader},
};

use super::{Node, Output, What};
use crate::{dns::Effect, gate::Event};

impl Node {
    pub(super) fn does_for_dns(&mut self, effect: Effect) {
        match effect {
            Effect::Send { gate, queries, look } => {
                let port = self.workloads.get(&gate).and_then(|workload| workload.spec.as_ref());
                let port = port.map(|spec| spec.datagram_ports.0[0]);
                self.outputs.push_back(Output::Deliver { gate, queries, look: port.filter(|_| look) });
            }
            Effect::Truncate { gate, queries } => {
                let Some(workload) = self.workloads.get_mut(&gate) else { return };
                let proxy = workload.spec.as_ref().map(|spec| spec.exempt_uids[0]);
                let uid = proxy.filter(|uid| *uid != NO_UID).unwrap_or(0);
                workload.dns_truncated += u64::try_from(queries.len()).unwrap_or(u64::MAX);
                self.tell(gate, What::Truncated(queries.len()));
                self.outputs.push_back(Output::Truncate { gate, queries, uid });
            }
            Effect::Ended { header, first_drop, outcome } => {
                let (gate, socket) = (header.gate, header.socket);
                let header = RecordHeader { at: self.now, ..header };
                let record = EndedRecord { header, first_drop, attempts: 1, outcome: outcome.code() };
                self.gates.handle(self.now, Event::Ended { gate, socket, outcome });
                self.tell(gate, What::Ended { record, outcome, after_ready: None });
            }
            Effect::Settled { gate } => {
                if let Some(workload) = self.workloads.get_mut(&gate) {
                    workload.awaits_dns = false;
                    self.outputs.push_back(Output::WriteGate(gate, workload.entry()));
                }
            }
        }
    }
}
