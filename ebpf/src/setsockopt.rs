//! cgroup/setsockopt: swallows IP_RECVERR and IPV6_RECVERR of pods whose datagrams are held.
//!
//! With it send() fails with ENOBUFS where a datagram is dropped, and resolvers that ask for it (glibc) give up at once; without
//! it they wait and send again. The socket goes without for its life, which ends with the lookup.

use aya_ebpf::{
    bindings::bpf_sockopt, helpers::generated::bpf_get_current_ancestor_cgroup_id, macros::cgroup_sockopt,
    programs::SockoptContext,
};
use conngate_common::gate::{CapturePorts, GateState};

use crate::maps;

/// `SOL_IP` and `IP_RECVERR` (include/uapi/linux/in.h), `SOL_IPV6` and `IPV6_RECVERR` (in6.h).
const RECVERR: [(i32, i32); 2] = [(0, 11), (41, 25)];

/// What is larger the kernel has not copied; the program must then ask for the original, or the call fails.
const PAGE: i32 = 4096;

/// Let the kernel go on.
const GO_ON: i32 = 1;

#[cgroup_sockopt(setsockopt)]
pub fn setsockopt(ctx: SockoptContext) -> i32 {
    // SAFETY: the hook's own context.
    let option: &mut bpf_sockopt = unsafe { &mut *ctx.sockopt };
    if option.optlen > PAGE {
        option.optlen = 0;
    } else if RECVERR.contains(&(option.level, option.optname)) && holds_datagrams() {
        // Done, says the call, and nothing was.
        option.optlen = -1;
    }
    GO_ON
}

/// Whether the caller's pod has a closed gate for datagrams.
#[inline(always)]
fn holds_datagrams() -> bool {
    let Some(agent) = maps::agent().filter(|agent| agent.closed_gates != 0) else { return false };
    // SAFETY: a helper without pointers.
    let ancestor = |level: u32| unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
    let (pod, _) = agent.pod(ancestor);
    maps::gate(pod)
        .is_some_and(|gate| gate.state == GateState::Holding.code() && gate.datagram_ports != CapturePorts::default())
}
