//! cgroup/connect6: admits IPv6 connections, and IPv4 ones of AF_INET6 sockets (v4-mapped addresses).

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use conngate_common::counter::Program;

use crate::admit::{Destination, admit};

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    admit(&ctx, Program::Connect6, &Destination::v6(&ctx));
    1
}
