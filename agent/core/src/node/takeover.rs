//! What an earlier agent left in the pinned maps: it agrees with the pods of now, or goes. Gates that were open stay open; of closed
//! ones it is asked again, once their pods are known.

use std::{collections::BTreeSet, mem, time::Duration};

use conngate_common::{
    gate::{GateEntry, GateState},
    id::CgroupId,
};

use super::{Node, Output, What};
use crate::{backoff::after, spec::GateSpec};

/// How long inherited gates wait for their pods before a listener alone may open them.
const PATIENCE: Duration = Duration::from_secs(5);

impl Node {
    pub(super) fn inherit(&mut self, gates: Vec<(CgroupId, GateEntry)>, containers: Vec<CgroupId>) {
        let closed = gates.iter().filter(|(_, entry)| entry.state == GateState::Holding.code());
        self.closed.extend(closed.map(|(gate, _)| gate));
        self.inherited.extend(gates);
        self.inherited_containers.extend(containers);
    }

    /// Sources and cgroups are told for the first time: what earlier agents left agrees with them, or goes.
    pub(super) fn reconcile(&mut self) {
        if !self.walked || !self.synced || mem::replace(&mut self.reconciled, true) {
            return;
        }
        let gone: Vec<_> = self.inherited.keys().filter(|gate| self.pods.uid(**gate).is_none()).copied().collect();
        for gate in gone {
            self.retire(gate);
        }
        let mut left = mem::take(&mut self.inherited_containers);
        let there: BTreeSet<_> = self.pods.there().filter(|(_, container)| left.contains(container)).collect();
        for (gate, container) in there {
            match self.pods.is_gated(gate) {
                Some(true) => self.identify(gate, container),
                None => {}
                Some(false) => continue,
            }
            left.remove(&container);
        }
        self.outputs.extend(left.into_iter().map(|container| Output::WriteContainer(container, None)));
    }

    /// Inherited closed gates whose pods no source tells of: a listener alone may open them, for nobody else would.
    pub(super) fn adopt(&mut self) {
        if self.now < after(self.started, PATIENCE) {
            return;
        }
        let known = self.inherited.iter().filter(|(gate, _)| self.pods.uid(**gate).is_some());
        let closed: Vec<_> = known.filter_map(|(gate, entry)| Some((*gate, GateSpec::inherited(entry)?))).collect();
        for (gate, spec) in closed {
            self.inherited.remove(&gate);
            self.tell(gate, What::Adopted);
            self.enrol(gate, spec);
        }
    }
}
