//! conngate's programs: one file per hook, and the few things they share.
//!
//! Knows nothing of readiness, pods or Kubernetes: it sees cgroup ids, sockets and what the agent wrote into the maps.
//!
//! Invariants:
//! - Whatever fails here, the connection goes on: every early return passes.
//! - `egress` leaves at `state != SYN_SENT`, before any lookup, and with datagrams when no gate is closed, as the connect
//!   hooks do.
//! - A hold ends without the agent: at its cap, or when somebody listens and the agent's heartbeat is stale.
#![no_std]
#![no_main]

mod admit;
mod ancestry;
mod connect4;
mod connect6;
mod count;
mod datagram;
mod egress;
mod listen;
mod maps;
mod packet;
mod park;
mod sendmsg4;
mod sendmsg6;
mod setsockopt;
mod sock_ops;

use aya_ebpf::Global;

/// The ABI of this object; the agent reads it before it loads anything.
#[unsafe(no_mangle)]
static CONNGATE_ABI: u32 = conngate_common::ABI_VERSION;

/// 1 where sock_ops programs may ask for the netns cookie (kernel 5.15 and later). Set by the agent before load.
#[unsafe(no_mangle)]
static SOCK_OPS_NETNS_COOKIE: Global<u32> = Global::new(0);

/// 1 where setsockopt programs may ask for the caller's cgroups (kernel 6.1 and later), likewise.
#[unsafe(no_mangle)]
static SETSOCKOPT_ANCESTORS: Global<u32> = Global::new(0);

/// Offset of `icsk_syn_retries` in `struct inet_connection_sock`, from the kernel's BTF; 0: unknown, or no program may read it,
/// and no budget is touched.
#[unsafe(no_mangle)]
static SYN_RETRIES_OFFSET: Global<u32> = Global::new(0);

/// Offset of the network namespace in `struct sock`, likewise; 0: unknown.
#[unsafe(no_mangle)]
static NETNS_OFFSET: Global<u32> = Global::new(0);

/// Offset and size of `net.ipv4.tcp_syn_retries` in `struct net`, likewise; 0: unknown.
#[unsafe(no_mangle)]
static TCP_SYN_RETRIES_OFFSET: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static TCP_SYN_RETRIES_SIZE: Global<u32> = Global::new(0);

/// bpf_probe_read_kernel may only be called by GPL-compatible programs.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
