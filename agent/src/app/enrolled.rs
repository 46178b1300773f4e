//! What is known of each gate besides what the core knows: its spec, and where its workload's namespace is.
//!
//! Knows nothing of when a gate opens.

use std::{collections::HashMap, path::Path};

use conngate_common::{
    gate::{CapturePorts, ContainerClass, GateEntry, GateState, MAX_EXEMPT_UIDS, Mode, NO_UID},
    id::{CgroupId, MonoTime, NetnsCookie},
    reason::Reason,
};

use crate::{
    cgroup::{pods::PodCgroup, processes},
    netns::{Netns, NetnsWorker},
    spec::GateSpec,
};

/// Where a workload's network namespace is found.
#[derive(Clone, Debug)]
pub enum Home {
    /// It is this one.
    Netns(Netns),
    /// It is that of the processes in this pod, once there are some.
    Pod(PodCgroup),
}

/// One gate.
pub struct Enrolled {
    /// What the workload asks for; `None`: nothing.
    pub spec: Option<GateSpec>,
    pub(super) home: Home,
    /// The workload's namespace, as the last held connection showed it.
    pub(super) netns: Option<Netns>,
    /// What the proxy was found to be, in words, and when.
    pub found: Option<(MonoTime, String)>,
    /// What was written to the kernel last.
    pub(super) state: Option<(GateState, Reason)>,
    /// When it was opened, while it is open.
    pub(super) opened: Option<MonoTime>,
}

impl Enrolled {
    /// The gate as the kernel reads it.
    pub(super) fn entry(&self, state: GateState, reason: Reason) -> GateEntry {
        match &self.spec {
            Some(spec) => spec.entry(state, reason),
            None => GateEntry {
                cap_ns: 0,
                state: state.code(),
                mode: Mode::Observe.code(),
                reason: reason.code(),
                default_class: ContainerClass::Exempt.code(),
                exempt_uids: [NO_UID; MAX_EXEMPT_UIDS],
                capture_ports: CapturePorts::default(),
                datagram_ports: CapturePorts::default(),
            },
        }
    }

    /// The workload's namespace; `None`: it has none yet.
    pub(super) fn netns(&mut self, worker: &NetnsWorker) -> Option<Netns> {
        if self.netns.is_none() {
            self.netns = self.home.netns(worker);
        }
        self.netns.clone()
    }
}

impl Home {
    /// The pod's cgroup, where it is one.
    pub(super) fn pod(&self) -> Option<&Path> {
        match self {
            Self::Netns(_) => None,
            Self::Pod(pod) => Some(&pod.path),
        }
    }

    /// The namespace, if it can be found now.
    pub(super) fn netns(&self, worker: &NetnsWorker) -> Option<Netns> {
        match self {
            Self::Netns(netns) => Some(netns.clone()),
            Self::Pod(pod) => Netns::of_pod(worker, pod.netns_processes().unwrap_or_default()),
        }
    }

    /// The group of `uid`'s processes in one of its containers, if they agree.
    pub(super) fn group(&self, container: CgroupId, uid: u32) -> Option<u32> {
        match self {
            Self::Netns(_) => None,
            Self::Pod(pod) => {
                let container = pod.containers().ok()?.into_iter().find(|other| other.id == container)?;
                processes::group(&container.path, uid)
            }
        }
    }
}

/// All gates.
#[derive(Default)]
pub(super) struct Enrolments(HashMap<CgroupId, Enrolled>);

impl Enrolments {
    pub(super) fn insert(&mut self, gate: CgroupId, spec: Option<GateSpec>, home: Home) {
        let fresh = Enrolled { spec, home, netns: None, found: None, state: None, opened: None };
        let enrolled = match self.0.remove(&gate) {
            Some(before) => Enrolled { spec: fresh.spec, home: fresh.home, ..before },
            None => fresh,
        };
        self.0.insert(gate, enrolled);
    }

    pub(super) fn remove(&mut self, gate: CgroupId) {
        self.0.remove(&gate);
    }

    pub(super) fn get(&self, gate: CgroupId) -> Option<&Enrolled> {
        self.0.get(&gate)
    }

    pub(super) fn by_gate(&mut self, gate: CgroupId) -> Option<&mut Enrolled> {
        self.0.get_mut(&gate)
    }

    /// The gates whose workload lives in `netns`; those as well of which it is not known, and all of them where the kernel
    /// cannot tell (0).
    pub(super) fn in_netns(&self, netns: NetnsCookie) -> Vec<CgroupId> {
        let unknown = NetnsCookie(0);
        let matches = |enrolled: &Enrolled| {
            let own = enrolled.netns.as_ref().map_or(unknown, Netns::cookie);
            enrolled.spec.is_some() && (own == netns || own == unknown || netns == unknown)
        };
        self.0.iter().filter(|(_, enrolled)| matches(enrolled)).map(|(gate, _)| *gate).collect()
    }
}
