//! cgroup/setsockopt: swallows IP_RECVERR and IPV6_RECVERR of datagram sockets, where it is attached: at a pod's cgroup, while
//! the pod's gate is closed for datagrams.
//!
//! With it send() fails with ENOBUFS where a datagram is dropped, and resolvers that ask for it (glibc) give up at once; without
//! it they wait and send again. The socket goes without for its life, which ends with the lookup. Asks no helper and no map:
//! which pod the caller belongs to a program of this type can only ask since 6.1.

use aya_ebpf::{bindings::bpf_sockopt, macros::cgroup_sockopt, programs::SockoptContext};
use conngate_common::record::UDP;

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
    } else if RECVERR.contains(&(option.level, option.optname)) && is_datagram(option) {
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
