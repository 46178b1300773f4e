//! cgroup/setsockopt: swallows IP_RECVERR and IPV6_RECVERR of datagram sockets, where it is attached: at a pod's cgroup, while
//! the pod's gate is closed for datagrams.
//!
//! With it send() fails with ENOBUFS where a datagram is dropped, and resolvers that ask for it (glibc) give up at once; without
//! it they wait and send again. The socket goes without for its life. Whose queries are never held keeps it, as far as that is
//! known by then: before 6.1 no program of this type can ask whose the caller is, and it goes for the whole pod.

use aya_ebpf::{
    EbpfContext as _, bindings::bpf_sockopt, helpers::bpf_get_current_ancestor_cgroup_id, macros::cgroup_sockopt,
    programs::SockoptContext,
};
use conngate_common::{counter::Program, gate::ContainerClass, hold::WANTS_ERRORS, id::CgroupId, record::UDP};

use crate::{SETSOCKOPT_ANCESTORS, maps};

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
    } else if RECVERR.contains(&(option.level, option.optname)) && is_datagram(option) && !is_exempt(&ctx) {
        // SAFETY: the hook's own context; `sk` is never null here.
        let sk = unsafe { option.__bindgen_anon_1.sk };
        if let Some(record) = maps::hold_record(sk.cast(), true, Program::SetSockOpt) {
            record.flags |= WANTS_ERRORS;
        }
        // Done, says the call, and nothing was.
        option.optlen = -1;
    }
    GO_ON
}

#[inline(always)]
fn is_datagram(option: &bpf_sockopt) -> bool {
    // SAFETY: the hook's own context; `sk` is never null here.
    let sk = unsafe { option.__bindgen_anon_1.sk };
    // SAFETY: a socket, as the verifier knows.
    unsafe { (*sk).protocol == UDP }
}

/// Whether nothing of the caller is ever held: its user, or its container.
#[inline(always)]
fn is_exempt(ctx: &SockoptContext) -> bool {
    if SETSOCKOPT_ANCESTORS.load() == 0 {
        return false;
    }
    let Some(agent) = maps::agent() else { return false };
    // SAFETY: a helper without pointers.
    let ancestor = |level: u32| unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
    let (pod, level) = agent.pod(ancestor);
    let Some(gate) = maps::gate(pod) else { return false };
    gate.exempts(ctx.uid()) || maps::class(gate, CgroupId(ancestor(level + 1))) == ContainerClass::Exempt
}
