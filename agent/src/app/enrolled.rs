//! What is known of each enrolled gate besides what the core knows: its spec, and where its workload's namespace is.
//!
//! Knows nothing of when a gate opens.

use std::{collections::HashMap, time::Duration};

use conngate_common::{
    gate::{CapturePorts, ContainerClass, GateEntry, GateState, MAX_EXEMPT_UIDS},
    id::{CgroupId, NetnsCookie},
    reason::Reason,
};

use crate::{gate::Policy, netns::Netns, ready::url::ReadyUrl};

/// The kernel's own cap lies this much after the agent's timeout: a living agent acts first.
const CAP_MARGIN: Duration = Duration::from_secs(1);

/// What a workload asks of its gate.
#[derive(Clone, Debug)]
pub struct GateSpec {
    /// When it opens.
    pub policy: Policy,
    /// Where the mesh redirects to.
    pub capture_ports: CapturePorts,
    /// Whose connections are never held ([`conngate_common::gate::NO_UID`]: unused).
    pub exempt_uids: [u32; MAX_EXEMPT_UIDS],
    /// What containers are that nobody classified.
    pub default_class: ContainerClass,
    /// What to ask; `None`: a listener is enough.
    pub ready_url: Option<ReadyUrl>,
}

impl GateSpec {
    pub(super) fn entry(&self, state: GateState, reason: Reason) -> GateEntry {
        let cap = self.policy.timeout.saturating_add(CAP_MARGIN);
        GateEntry {
            cap_ns: u64::try_from(cap.as_nanos()).unwrap_or(u64::MAX),
            state: state.code(),
            mode: self.policy.mode.code(),
            reason: reason.code(),
            default_class: self.default_class.code(),
            exempt_uids: self.exempt_uids,
            capture_ports: self.capture_ports,
        }
    }
}

/// One gate.
pub(super) struct Enrolled {
    pub(super) spec: GateSpec,
    /// Where to probe: the workload's namespace, as the last held connection showed it.
    pub(super) netns: Netns,
    pub(super) is_closed: bool,
}

/// All gates.
#[derive(Default)]
pub(super) struct Enrolments(HashMap<CgroupId, Enrolled>);

impl Enrolments {
    pub(super) fn insert(&mut self, gate: CgroupId, spec: GateSpec, netns: Netns) {
        let is_closed = self.0.get(&gate).is_some_and(|enrolled| enrolled.is_closed);
        self.0.insert(gate, Enrolled { spec, netns, is_closed });
    }

    pub(super) fn remove(&mut self, gate: CgroupId) {
        self.0.remove(&gate);
    }

    pub(super) fn by_gate(&mut self, gate: CgroupId) -> Option<&mut Enrolled> {
        self.0.get_mut(&gate)
    }

    /// The gates whose workload lives in `netns`; all of them where the kernel cannot tell (0).
    pub(super) fn in_netns(&self, netns: NetnsCookie) -> Vec<CgroupId> {
        let unknown = NetnsCookie(0);
        let matches = |own: NetnsCookie| own == netns || own == unknown || netns == unknown;
        self.0.iter().filter(|(_, enrolled)| matches(enrolled.netns.cookie())).map(|(gate, _)| *gate).collect()
    }

    pub(super) fn closed(&self) -> u32 {
        u32::try_from(self.0.values().filter(|enrolled| enrolled.is_closed).count()).unwrap_or(u32::MAX)
    }
}
