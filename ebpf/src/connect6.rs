//! cgroup/connect6: admits IPv6 connections, and IPv4 ones of AF_INET6 sockets (v4-mapped addresses).

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use conngate_common::counter::Program;

use crate::admit::admit;

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    // SAFETY: the hook's own context, read word by word as the verifier asks.
    let ip = unsafe {
        let words = &raw const (*ctx.sock_addr).user_ip6;
        [(*words)[0], (*words)[1], (*words)[2], (*words)[3]].map(u32::from_be)
    };
    // SAFETY: as above; the port is in network byte order in the low 16 bits.
    let port = u16::from_be(unsafe { (*ctx.sock_addr).user_port } as u16);
    let loopback = match ip {
        [0, 0, 0, 1] => true,
        [0, 0, 0xffff, v4] => v4 >> 24 == 127,
        _ => false,
    };
    admit(&ctx, Program::Connect6, loopback, port);
    1
}
