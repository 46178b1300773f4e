//! Entries of the programs' maps as an agent leaves them that holds nothing.
//!
//! Knows nothing of who attaches the programs.

use conngate::clock;
use conngate_common::{
    ABI_VERSION,
    gate::{AgentEntry, CapturePorts, ContainerClass, GateEntry, GateState, MAX_EXEMPT_UIDS, Mode, NO_UID},
    id::MonoTime,
    reason::Reason,
};
use conngate_testbed::lab::redirect::CAPTURE_PORT;

/// The agent; gated cgroups sit at `level`. It is never taken for dead.
pub(super) fn agent(level: u32) -> AgentEntry {
    AgentEntry {
        heartbeat: clock::now(),
        stale_after_ns: u64::MAX,
        grace_ns: 0,
        abi: ABI_VERSION,
        epoch: 1,
        closed_gates: 0,
        hz: clock::hz(),
        syn_rto_jiffies: 0,
        syn_linear_timeouts: 0,
        pod_levels: [level; 2],
        shared_parents: Default::default(),
        capture_ports: capture_ports(),
    }
}

/// A gate that was opened because the proxy is ready.
pub(super) fn open_gate() -> GateEntry {
    GateEntry {
        cap_ns: 60_000_000_000,
        closed_at: MonoTime(0),
        state: GateState::Open.code(),
        mode: Mode::Hold.code(),
        reason: Reason::Ready.code(),
        default_class: ContainerClass::Gated.code(),
        exempt_uids: [NO_UID; MAX_EXEMPT_UIDS],
        capture_ports: capture_ports(),
        datagram_ports: CapturePorts::default(),
    }
}

fn capture_ports() -> CapturePorts {
    let mut ports = CapturePorts::default();
    ports.0[0] = CAPTURE_PORT;
    ports
}
