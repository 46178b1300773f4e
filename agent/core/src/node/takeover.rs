//! What an earlier agent left in the pinned maps: it agrees with the pods of now, or goes. Gates that were open stay open; of closed
//! ones it is asked again, once their pods are known.

use std::{collections::BTreeMap, mem, time::Duration};

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
        self.knew(gates.iter().map(|(gate, _)| *gate));
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
        self.reconcile_containers();
    }

    /// Inherited containers are told apart anew, or go, as soon as it is known what their pods ask for.
    pub(super) fn reconcile_containers(&mut self) {
        if !self.reconciled || self.inherited_containers.is_empty() {
            return;
        }
        let gates: BTreeMap<_, _> = self.pods.there().map(|(gate, container)| (container, gate)).collect();
        for container in mem::take(&mut self.inherited_containers) {
            let gate = gates.get(&container).copied();
            match gate.map(|gate| (gate, self.pods.is_gated(gate))) {
                Some((gate, Some(true))) if self.pods.class(gate, container).is_none() => {
                    self.inherited_containers.insert(container);
                    self.identify(gate, container);
                }
                Some((_, Some(true))) => {}
                Some((_, None)) => drop(self.inherited_containers.insert(container)),
                Some((_, Some(false))) | None => self.outputs.push_back(Output::WriteContainer(container, None)),
            }
        }
    }

    /// Inherited closed gates whose pods no source tells of: a listener alone may open them, for nobody else would.
    pub(super) fn adopt(&mut self) {
        if self.now < after(self.started, PATIENCE) {
            return;
        }
        // Of one that is undecided a source tells: it stays closed.
        let untold = |gate: &CgroupId| self.pods.uid(*gate).is_some() && self.pods.pod(*gate).is_none();
        let known = self.inherited.iter().filter(|(gate, _)| untold(gate));
        let closed: Vec<_> = known.filter_map(|(gate, entry)| Some((*gate, GateSpec::inherited(entry)?))).collect();
        for (gate, spec) in closed {
            self.tell(gate, What::Adopted);
            self.enrol(gate, spec);
        }
    }
}
