//! cgroup/connect4: admits IPv4 connections.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use conngate_common::counter::Program;

use crate::admit::{Destination, admit};

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    admit(&ctx, Program::Connect4, &Destination::v4(&ctx));
    1
}
