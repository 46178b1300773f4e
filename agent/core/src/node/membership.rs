//! Pods and their containers come and go: what that means for gates.

use std::collections::BTreeMap;

use conngate_common::{
    gate::{GateState, Mode},
    id::CgroupId,
    reason::Reason,
};

use super::{Node, Output, What};
use crate::{gate::Event, pods::Change, spec::GateSpec, workload::Workload};

impl Node {
    pub(super) fn change(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Enrol(gate, spec) => self.enrol(gate, *spec),
                Change::Decline(gate) => self.decline(gate),
                Change::Terminate(gate) => self.terminate(gate),
                Change::Retire(gate) => self.retire(gate),
                Change::Container(container, class) => {
                    self.outputs.push_back(Output::WriteContainer(container, class));
                }
                Change::Vouch(gate, ready) => self.event(Event::Vouched { gate, ready }),
                Change::Remark(gate, remark) => self.tell(gate, What::Remark(remark)),
            }
        }
    }

    /// Closes a gate, or gives another spec to an existing one.
    pub(super) fn enrol(&mut self, gate: CgroupId, spec: GateSpec) {
        let before = self.inherited.remove(&gate);
        let open = before.filter(|entry| entry.state == GateState::Open.code());
        let inherited = open.and_then(|entry| Reason::try_from(entry.reason).ok());
        let policy = spec.policy;
        let workload = self.workload_mut(gate);
        workload.spec = Some(spec);
        workload.inherited = before.or(workload.inherited);
        self.event(match inherited {
            Some(reason) => Event::Resumed { gate, policy, reason },
            None => Event::Enrolled { gate, policy },
        });
        self.tell(gate, What::Enrolled(policy.mode));
        // A sandbox made anew would pass for the first at an open gate that was inherited, whose proxy nobody asks; and while a
        // pod asks for no gate nobody looks where it lives.
        if inherited.is_some() || self.workloads.get(&gate).is_some_and(|workload| workload.netns.is_some()) {
            self.find_netns(gate);
        }
        self.hand_on(gate);
    }

    /// The pod asks for no gate, or no longer.
    fn decline(&mut self, gate: CgroupId) {
        self.inherited.remove(&gate);
        self.workload_mut(gate).spec = None;
        self.event(Event::Declined { gate });
        self.hand_on(gate);
    }

    /// The pod is being deleted; one that was never heard of asks for nothing any more.
    fn terminate(&mut self, gate: CgroupId) {
        self.tell(gate, What::Terminating);
        if self.workloads.contains_key(&gate) {
            self.inherited.remove(&gate);
            self.event(Event::Terminating { gate });
            self.hand_on(gate);
        } else {
            self.decline(gate);
        }
    }

    /// The pod's cgroup is gone.
    pub(super) fn retire(&mut self, gate: CgroupId) {
        self.inherited.remove(&gate);
        // Of a gate that is gone nothing is told: what waits for a reset is told now, and no query's time comes any more. Nor does it close
        // again for a container that has started meanwhile.
        while let Some(resetting) = self.resetting.get_mut(&gate) {
            resetting.restarted = false;
            self.was_reset(gate);
        }
        self.queries.forget(gate);
        let closed = self.closed(gate).map(|gate| (gate.reason(), gate.held()));
        self.tell(gate, What::Gone(closed));
        self.unclassified.gone(gate);
        self.event(Event::Retired { gate });
        self.forget_early(gate);
        self.forget(gate);
    }

    /// The containers of a pod, as they are now.
    pub(super) fn listed(&mut self, gate: CgroupId, there: BTreeMap<CgroupId, Option<String>>) {
        self.note_coming(gate, &there);
        let (containers, changes) = self.pods.listed(gate, there);
        self.change(changes);
        if self.pods.is_gated(gate) != Some(true) {
            return;
        }
        if containers.came {
            match self.resetting.get_mut(&gate) {
                Some(resetting) => resetting.restarted = true,
                None => self.restarted(gate),
            }
        }
        // A sandbox made anew may have been seen before it, or the one before it, was listed.
        if containers.changed {
            self.find_netns(gate);
        }
    }

    /// A container starts: at a gate that timed out what waited in vain is not made to wait again, but what starts now is.
    pub(super) fn restarted(&mut self, gate: CgroupId) {
        if self.gates.gate(gate).is_some_and(|gate| gate.reason() == Reason::Timeout) {
            let changes = self.pods.let_pass(gate);
            self.change(changes);
        }
        self.event(Event::Restarted { gate });
    }

    pub(super) fn mode(&self, gate: CgroupId) -> Option<Mode> {
        Some(self.workloads.get(&gate)?.spec.as_ref()?.policy.mode)
    }

    fn workload_mut(&mut self, gate: CgroupId) -> &mut Workload {
        let name = self.name(gate);
        let workload = self.workloads.entry(gate).or_default();
        workload.name = Some(name);
        workload
    }
}
