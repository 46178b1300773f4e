//! The maps that the agent writes and the programs read: a pod's gate, a container's class, the agent itself.
//!
//! Knows nothing of how a decision is made (`verdict`) or of what the kernel keeps itself (`hold`).

use crate::{
    Shared,
    codes::codes,
    id::{CgroupId, MonoTime},
};

/// How many capture ports one gate can have.
pub const MAX_CAPTURE_PORTS: usize = 8;

/// How many uids one gate can exempt.
pub const MAX_EXEMPT_UIDS: usize = 4;

/// How many cgroups of pods besides kubepods itself the kernel knows: one per QoS class has one.
pub const MAX_SHARED_PARENTS: usize = 4;

/// The uid that means "no uid" in [`GateEntry::exempt_uids`]; the kernel has no such user.
pub const NO_UID: u32 = u32::MAX;

codes! {
    /// What a gate does now.
    GateState {
        /// Nobody has decided yet.
        Unknown = 0 "unknown",
        /// Closed: captured connections are judged by the mode.
        Holding = 1 "holding",
        /// Open for good, for the entry's reason.
        Open = 2 "open",
        /// The workload does not ask for a gate.
        NotEnrolled = 3 "not-enrolled",
    }
}

codes! {
    /// What a closed gate does with a captured connection.
    Mode {
        /// Nothing captured leaves before the proxy is ready.
        Hold = 0 "hold",
        /// An attempt passes as soon as somebody listens.
        Retry = 1 "retry",
        /// Nothing is held; what would have been is counted.
        Observe = 2 "observe",
    }
}

codes! {
    /// Whether a container's connections are held.
    ContainerClass {
        /// Not classified yet.
        Unknown = 0 "unknown",
        /// An application container.
        Gated = 1 "gated",
        /// A proxy or an init container.
        Exempt = 2 "exempt",
    }
}

/// Ports in host byte order; 0 marks an unused slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct CapturePorts(pub [u16; MAX_CAPTURE_PORTS]);

impl CapturePorts {
    /// Whether `port` (host byte order) is one of them; 0 never is.
    #[inline(always)]
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        // A product is 0 where one of its factors is: a branch for each slot would double the paths that the verifier follows.
        let [a, b, c, d, e, f, g, h] = self.0.map(|slot| u64::from(slot ^ port));
        (a * b * c * d == 0 || e * f * g * h == 0) && port != 0
    }
}

/// Value of `GATES`: one pod's gate, keyed by the [`CgroupId`] of the pod's cgroup. Written by the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GateEntry {
    /// The longest that one socket may be held, from its first drop, in nanoseconds. The kernel enforces it alone.
    pub cap_ns: u64,
    /// When it was closed last: what a socket had dropped before belongs to an earlier hold.
    pub closed_at: MonoTime,
    /// [`GateState`] code.
    pub state: u32,
    /// [`Mode`] code.
    pub mode: u32,
    /// [`crate::reason::Reason`] code: why the gate is in this state.
    pub reason: u32,
    /// [`ContainerClass`] code of containers that `CONTAINERS` does not know.
    pub default_class: u32,
    /// Socket uids that are never held ([`NO_UID`]: unused slot), as `bpf_get_socket_uid` gives them.
    pub exempt_uids: [u32; MAX_EXEMPT_UIDS],
    /// Where the mesh redirects captured connections.
    pub capture_ports: CapturePorts,
    /// Where the mesh redirects captured datagrams, DNS, as long as they may be held: also for a while after the gate was opened,
    /// until somebody is bound there.
    pub datagram_ports: CapturePorts,
}

impl GateEntry {
    /// Whether sockets of `uid` (as `bpf_get_socket_uid` gives it) are never held.
    #[inline(always)]
    #[must_use]
    pub fn exempts(&self, uid: u32) -> bool {
        // As in `CapturePorts::contains`.
        let [a, b, c, d] = self.exempt_uids.map(|exempt| u64::from(exempt ^ uid));
        a * b == 0 || c * d == 0
    }
}

/// Value of `CONTAINERS`: keyed by the [`CgroupId`] one level below the pod's. Written by the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ContainerEntry {
    /// [`ContainerClass`] code.
    pub class: u32,
}

/// The one slot of `AGENT`. Written by the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct AgentEntry {
    /// When the agent last said that it is alive.
    pub heartbeat: MonoTime,
    /// A heartbeat older than this many nanoseconds is stale.
    pub stale_after_ns: u64,
    /// The longest that an unclassified pod or container is held, in nanoseconds.
    pub grace_ns: u64,
    /// The cgroups at the first of `pod_levels` that are no pods, but hold those of a QoS class; 0 marks an unused slot.
    pub shared_parents: [CgroupId; MAX_SHARED_PARENTS],
    /// [`crate::ABI_VERSION`] of the writer.
    pub abi: u32,
    /// Grows with every agent that takes over: a parked SYN is announced once to each.
    pub epoch: u32,
    /// How many gates are closed, one more where some pod is not known yet; at 0 the connect-time programs leave at once.
    pub closed_gates: u32,
    /// The kernel's timer frequency (HZ), jiffies per second.
    pub hz: u32,
    /// First SYN timeout of a socket that is likely to be held, in jiffies; 0 leaves the kernel's 1 s.
    pub syn_rto_jiffies: u32,
    /// `net.ipv4.tcp_syn_linear_timeouts` (kernel 6.5 and later), which the kernel adds to every SYN budget.
    pub syn_linear_timeouts: u32,
    /// Cgroup levels at which a pod's cgroup may sit: level of kubepods plus 1, or plus 2 below a shared parent.
    pub pod_levels: [u32; 2],
    /// Capture ports of pods that are not classified, and the ports whose listeners are announced.
    pub capture_ports: CapturePorts,
}

impl AgentEntry {
    /// Whether the agent was alive a moment ago and speaks this ABI.
    #[inline(always)]
    #[must_use]
    pub fn is_fresh(&self, now: MonoTime) -> bool {
        self.silent_ns(now) < self.stale_after_ns
    }

    /// For how long the agent has said nothing in this ABI, in nanoseconds.
    #[inline(always)]
    #[must_use]
    pub fn silent_ns(&self, now: MonoTime) -> u64 {
        if self.abi == crate::ABI_VERSION { now.since(self.heartbeat) } else { u64::MAX }
    }

    /// The id and the level of the pod's cgroup among a socket's ancestors, of which `ancestor` gives the id at a level;
    /// an id of 0: none.
    #[inline(always)]
    #[must_use]
    pub fn pod(&self, ancestor: impl Fn(u32) -> u64) -> (CgroupId, u32) {
        let [first, second] = self.pod_levels;
        let id = CgroupId(ancestor(first));
        let [a, b, c, d] = self.shared_parents;
        // One comparison after the other, each of which ends the search: so many paths for the verifier, not two to that power.
        let shared = a.0 == id.0 || b.0 == id.0 || c.0 == id.0 || d.0 == id.0;
        if shared && id.0 != 0 && second != first { (CgroupId(ancestor(second)), second) } else { (id, first) }
    }
}

// SAFETY: repr(C), all fields integers or transparent over them, sizes asserted below to hold no padding.
unsafe impl Shared for GateEntry {}
// SAFETY: as above.
unsafe impl Shared for ContainerEntry {}
// SAFETY: as above.
unsafe impl Shared for AgentEntry {}

const _: () = {
    assert!(size_of::<GateEntry>() == 2 * 8 + 4 * 4 + 4 * MAX_EXEMPT_UIDS + 2 * 2 * MAX_CAPTURE_PORTS);
    assert!(size_of::<ContainerEntry>() == 4);
    assert!(size_of::<AgentEntry>() == 3 * 8 + 8 * 4 + 8 * MAX_SHARED_PARENTS + 2 * MAX_CAPTURE_PORTS);
    assert!(align_of::<GateEntry>() == 8 && align_of::<AgentEntry>() == 8);
    assert!(size_of::<CgroupId>() == 8);
    // `CapturePorts::contains` and `GateEntry::exempts` multiply half of them in 64 bits.
    assert!(MAX_CAPTURE_PORTS == 2 * 4 && MAX_EXEMPT_UIDS == 2 * 2);
};
