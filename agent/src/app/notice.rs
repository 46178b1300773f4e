//! What the engine is started with, and what it has to tell.
//!
//! Knows nothing of who listens.

use std::num::NonZeroU32;

use conngate_common::{
    gate::{CapturePorts, GateState, MAX_SHARED_PARENTS},
    id::CgroupId,
    reason::Reason,
    record::{EndedRecord, Outcome, ParkedRecord},
};

use crate::gate::Summary;

/// Something to tell.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A connection is held.
    Held(Box<ParkedRecord>),
    /// A connection of a workload or a container that nobody has classified is held, for the grace at most: to be handed
    /// on to [`super::App::admit`] or [`super::App::pass`].
    Unclassified(Box<ParkedRecord>),
    /// A connection that was held waits no longer.
    Ended(EndedRecord, Outcome),
    /// A gate was opened.
    Opened(CgroupId, Summary),
    /// A gate does something else now, or the same for another reason.
    Changed(CgroupId, GateState, Reason),
    /// Somebody listens where a closed gate's connections are captured.
    Listening(CgroupId),
}

/// What is the same for every gate of this agent.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Levels at which gated cgroups sit: kubepods' own plus 1, and plus 2 below a shared parent.
    pub pod_levels: [u32; 2],
    /// The cgroups at the first level that hold those of a QoS class.
    pub shared_parents: [CgroupId; MAX_SHARED_PARENTS],
    /// Probes per second of all gates together.
    pub probe_budget: NonZeroU32,
    /// Capture ports of workloads that are not classified, and of announced listeners.
    pub capture_ports: CapturePorts,
}
