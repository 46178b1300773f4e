//! What the node is told.

use std::{collections::BTreeMap, sync::Arc};

use conngate_common::{
    gate::{AgentEntry, CapturePorts, GateEntry},
    id::CgroupId,
    record::{EndedRecord, ListeningRecord, ParkedRecord},
};

use crate::{
    dns::Datagram,
    gate::Answer,
    pod::Pod,
    uid::PodUid,
    workload::{Sandbox, Workload},
};

/// Something happened, or was found out.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed: see [`super::Node::next_deadline`].
    Tick,
    /// Which hooks tell of what.
    Hooks(Hooks),
    /// What an earlier agent, or the boot unit, said about itself: before anything else.
    Earlier(AgentEntry),
    /// What an earlier agent left in the maps: before anything else.
    Inherited {
        /// Its gates.
        gates: Vec<(CgroupId, GateEntry)>,
        /// Its containers.
        containers: Vec<CgroupId>,
    },
    /// The programs are attached.
    Attached,
    /// A pod's cgroup is there.
    PodAppeared {
        /// The pod.
        uid: PodUid,
        /// Its cgroup.
        gate: CgroupId,
    },
    /// A pod's cgroup is gone.
    PodVanished {
        /// The pod.
        uid: PodUid,
        /// Its cgroup.
        gate: CgroupId,
    },
    /// The cgroups below a pod's own, as they are now.
    Containers {
        /// The pod's.
        gate: CgroupId,
        /// Theirs, and the ids of their containers.
        there: BTreeMap<CgroupId, Option<String>>,
    },
    /// All pods' cgroups that are there were told of.
    Walked,
    /// A source tells of a pod, for the first time or anew.
    Pod(Arc<Pod>),
    /// A source tells that a pod is no longer there.
    PodGone(PodUid),
    /// The sources have told of all pods that there are.
    Synced,
    /// A connection is held.
    Parked(Box<ParkedRecord>),
    /// A datagram is held.
    Datagram(Datagram),
    /// A connection that was held waits no longer.
    Ended(EndedRecord),
    /// Somebody listens, or listens no longer.
    Listening(ListeningRecord),
    /// The answer to [`super::Output::Identify`].
    Identified {
        /// The pod's.
        gate: CgroupId,
        /// The container's.
        container: CgroupId,
        /// What it is.
        found: Found,
        /// The container's network namespace.
        sandbox: Sandbox,
    },
    /// The answer to [`super::Output::FindNetns`].
    Sandbox {
        /// The pod's.
        gate: CgroupId,
        /// What was seen.
        sandbox: Sandbox,
    },
    /// The answer to [`super::Output::Probe`].
    Probed {
        /// Whose.
        gate: CgroupId,
        /// What it means.
        answer: Answer,
        /// What was found, in words.
        found: String,
        /// It took too long.
        is_late: bool,
    },
    /// The answer to [`super::Output::Look`].
    Looked {
        /// Whose.
        gate: CgroupId,
        /// [`Answer::Listening`], [`Answer::NotReady`], or [`Answer::Unanswered`] where nobody could look.
        answer: Answer,
        /// As it was asked.
        why: Why,
    },
    /// The answer to [`super::Output::Deliver`].
    Delivered {
        /// Whose.
        gate: CgroupId,
        /// Whether somebody is bound where the queries went, as far as that was looked for. If not, none was sent.
        bound: bool,
    },
    /// The answer to [`super::Output::Reset`], as far as it could be done.
    WasReset(CgroupId),
    /// [`super::Output::WriteGate`] failed.
    GateUnwritten(CgroupId),
    /// [`super::Output::WriteContainer`] failed.
    ContainerUnwritten(CgroupId),
    /// An operator opens a gate.
    Open(CgroupId),
}

/// Which hooks tell of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// The ports at which the kernel tells who begins to listen.
    pub listeners: CapturePorts,
    /// The kernel tells how a held connection ends.
    pub ends: bool,
}

impl Hooks {
    /// Whether the kernel tells when this workload's proxy begins to listen.
    pub(super) fn announce(&self, workload: &Workload) -> bool {
        workload.port().is_some_and(|port| self.listeners.contains(port))
    }
}

/// What a container was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This one of the pod's.
    Named(String),
    /// The pod's sandbox.
    Sandbox,
    /// No longer there.
    Gone,
    /// It cannot be told (yet).
    Untold {
        /// The container's id, where its cgroup shows one.
        id: Option<String>,
        /// Its first process may not have got there yet.
        not_yet: bool,
        /// Why, in words.
        why: String,
    },
}

/// Why listeners are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The gate opens for a listener.
    Probe,
    /// Somebody listens no longer.
    Silence,
    /// Of those who listened before the pod was known the kernel does not tell.
    First,
}
