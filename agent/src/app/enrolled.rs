//! What is known of each enrolled gate besides what the core knows: its spec, and where its workload's namespace is.
//!
//! Knows nothing of when a gate opens.

use std::collections::HashMap;

use conngate_common::id::{CgroupId, NetnsCookie};

use crate::{netns::Netns, spec::GateSpec};

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
