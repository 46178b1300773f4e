//! What the node wants done, in this order, and what it has to tell.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use conngate_common::{
    gate::{ContainerClass, GateEntry, GateState, Mode},
    id::{CgroupId, MonoTime},
    reason::Reason,
    record::{EndedRecord, Outcome, ParkedRecord},
};

use super::input::Why;
use crate::{dns::Datagram, gate::Summary, pod::Remark, uid::PodUid, url::ReadyUrl, workload::Netns};

/// Something is to be done, or was.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The agent is alive, and so many gates are closed or may yet be.
    Beat {
        /// For the connect hooks, which have nothing to do at 0.
        closed_gates: u32,
    },
    /// The kernel's entry of a gate; `None`: none.
    WriteGate(CgroupId, Option<GateEntry>),
    /// The kernel's entry of a container; `None`: none.
    WriteContainer(CgroupId, Option<ContainerClass>),
    /// Ask a proxy, and answer with [`super::Input::Probed`].
    Probe {
        /// Whose.
        gate: CgroupId,
        /// Where.
        netns: Netns,
        /// What.
        url: ReadyUrl,
        /// For how long.
        deadline: Duration,
    },
    /// Look whether somebody listens, and answer with [`super::Input::Looked`].
    Look {
        /// Whose.
        gate: CgroupId,
        /// At all of these.
        at: BTreeSet<SocketAddr>,
        /// Where there are none: on this port of a loopback address.
        port: u16,
        /// To be given back.
        why: Why,
    },
    /// Tell which container a cgroup is: [`super::Input::Identified`].
    Identify {
        /// The pod's.
        gate: CgroupId,
        /// The container's.
        container: CgroupId,
    },
    /// Find a pod's network namespace: [`super::Input::Sandbox`].
    FindNetns(CgroupId),
    /// Look for a pod with this cgroup, which nobody has told of.
    FindPod(CgroupId),
    /// Ask the sources for a pod.
    AskFor(PodUid),
    /// Make ready what sends a held packet again.
    Prepare(CgroupId, Box<ParkedRecord>),
    /// Send these packets again, in this order.
    Replay(CgroupId, Vec<ParkedRecord>),
    /// Send these queries, and answer with [`super::Input::Delivered`].
    Deliver {
        /// Whose.
        gate: CgroupId,
        /// Which.
        queries: Vec<Arc<Datagram>>,
        /// Only if somebody is bound where all of them went; where there are none, on this port. `None`: in any case.
        look: Option<u16>,
    },
    /// Send these queries, which nobody holds.
    Pass(CgroupId, Vec<Arc<Datagram>>),
    /// Answer these queries as truncated.
    Truncate {
        /// Whose.
        gate: CgroupId,
        /// Which.
        queries: Vec<Arc<Datagram>>,
        /// As this user, the proxy's: its answers are what the mesh's rules know.
        uid: u32,
    },
    /// End these connections with an error, and say so with [`super::Input::WasReset`].
    Reset(CgroupId, Vec<ParkedRecord>),
    /// Nothing of this gate is held any longer: what was made ready for it is not needed.
    Release(CgroupId),
    /// Something to tell.
    Fact(Fact),
}

/// Something that happened to a gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// When.
    pub at: MonoTime,
    /// The gate.
    pub gate: CgroupId,
    /// How people call its pod.
    pub pod: Arc<str>,
    /// The pod, where it is known.
    pub uid: Option<PodUid>,
    /// What happened.
    pub what: What,
}

/// What happened to a gate.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Its pod asks for it, or asks for another one.
    Enrolled(Mode),
    /// It does something else now, or the same for another reason.
    Changed {
        /// What it does.
        state: GateState,
        /// Why.
        reason: Reason,
        /// What its pod asks for; `None`: nothing.
        mode: Option<Mode>,
    },
    /// It was opened.
    Opened {
        /// What it did.
        summary: Summary,
        /// What was asked, and what the proxy said last.
        found: Option<(ReadyUrl, String)>,
    },
    /// A connection is held.
    Held {
        /// The connection.
        record: Box<ParkedRecord>,
        /// The name of its container, where it is known.
        container: Option<Arc<str>>,
        /// It is the first that is held since the gate was closed.
        is_first: bool,
    },
    /// A connection that was held waits no longer.
    Ended {
        /// The connection.
        record: EndedRecord,
        /// How it ended.
        outcome: Outcome,
        /// How long after the gate was opened it was established.
        after_ready: Option<Duration>,
    },
    /// These many held queries are answered as truncated.
    Truncated(usize),
    /// A connection was held for so long before it was known whose it is.
    Classified(Duration),
    /// These many were not, and are held no longer.
    Unclassified(usize),
    /// A container of its had started before anybody held here.
    StartedBefore {
        /// Its name.
        container: Arc<str>,
    },
    /// Somebody listens where its connections are captured, while it is closed.
    Listening,
    /// A container was told apart.
    Container {
        /// Its name; empty: none of the pod's.
        name: Arc<str>,
        /// Its class.
        class: ContainerClass,
    },
    /// Its mounts do not tell a container.
    Untold {
        /// Why.
        why: String,
        /// What the kubelet says it is.
        by_status: Option<String>,
    },
    /// The pod begins anew, in another network namespace.
    Renewed,
    /// No source tells of the pod of a gate that an earlier agent left: it opens for a listener.
    Adopted,
    /// Its connections were not reset in time: what is left is released.
    ResetLate,
    /// The pod is being deleted.
    Terminating,
    /// The pod's cgroup is gone; holds what the gate waited for and how many it held, where it was closed.
    Gone(Option<(Reason, u64)>),
    /// Whoever wrote the pod should hear this.
    Remark(Remark),
}
