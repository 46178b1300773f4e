//! cgroup/sendmsg6: admits IPv6 datagrams of sockets that are not connected.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use conngate_common::counter::Program;

use crate::admit::{Destination, send};

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    send(&ctx, Program::SendMsg6, &Destination::v6(&ctx));
    1
}
