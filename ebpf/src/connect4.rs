//! cgroup/connect4: admits IPv4 connections.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use conngate_common::counter::Program;

use crate::admit::admit;

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the hook's own context.
    let ip = u32::from_be(unsafe { (*ctx.sock_addr).user_ip4 });
    // SAFETY: as above; the port is in network byte order in the low 16 bits.
    let port = u16::from_be(unsafe { (*ctx.sock_addr).user_port } as u16);
    admit(&ctx, Program::Connect4, ip >> 24 == 127, port);
    1
}
