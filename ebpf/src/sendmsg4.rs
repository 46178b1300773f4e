//! cgroup/sendmsg4: admits IPv4 datagrams of sockets that are not connected, those of AF_INET6 sockets (v4-mapped addresses) too.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use conngate_common::counter::Program;

use crate::admit::{Destination, send};

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    send(&ctx, Program::SendMsg4, &Destination::v4(&ctx));
    1
}
