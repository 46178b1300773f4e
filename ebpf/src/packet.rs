//! A SYN or a datagram as cgroup_skb/egress sees it: after NAT, from its network header on.
//!
//! Knows nothing of gates. IPv6 extension headers are not followed: a connect() sends none unless the application
//! asked for them, and what is not understood passes.

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_F_CURRENT_NETNS,
    helpers::generated::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
    programs::SkBuffContext,
};
use conngate_common::{
    counter::{Helper, Program},
    record::{TCP, UDP},
};

use crate::count;

/// The flags byte of a TCP header: SYN, and ACK for comparison.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// `TCP_LISTEN` in include/net/tcp_states.h.
const LISTEN: u32 = 10;
/// Sizes of the two variants of `struct bpf_sock_tuple`.
const IPV4_TUPLE: u32 = 12;
const IPV6_TUPLE: u32 = 36;

/// A SYN or a datagram on its way to a port of the loopback interface.
pub struct LoopbackPacket {
    /// `struct bpf_sock_tuple`: both addresses and the ports, of IPv4 in the first three words.
    tuple: [u32; 9],
    /// 4 or 6.
    pub ip_version: u16,
    /// Destination port after NAT, host byte order.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: u32,
}

/// Fixed part of an IPv4 header.
#[repr(C)]
struct Ipv4 {
    version_ihl: u8,
    tos: u8,
    total_len: u16,
    id: u16,
    fragment: u16,
    ttl: u8,
    protocol: u8,
    checksum: u16,
    saddr: u32,
    daddr: u32,
}

/// Fixed IPv6 header.
#[repr(C)]
struct Ipv6 {
    version_class_label: u32,
    payload_len: u16,
    next_header: u8,
    hop_limit: u8,
    saddr: [u32; 4],
    daddr: [u32; 4],
}

/// Fixed part of a TCP header, as far as it is needed.
#[repr(C)]
struct Tcp {
    ports: u32,
    seq: u32,
    ack: u32,
    offset: u8,
    flags: u8,
}

impl LoopbackPacket {
    /// Reads a SYN; `None` when it is anything else.
    #[inline(always)]
    pub fn syn(ctx: &SkBuffContext) -> Option<Self> {
        let (packet, at) = Self::parse(ctx, TCP)?;
        let tcp: Tcp = load(ctx, at)?;
        (tcp.flags & (SYN | ACK) == SYN).then_some(packet)
    }

    /// Reads a datagram; `None` when it is anything else.
    #[inline(always)]
    pub fn datagram(ctx: &SkBuffContext) -> Option<Self> {
        Self::parse(ctx, UDP).map(|(packet, _)| packet)
    }

    /// The packet, if it is of this protocol, and where its transport header begins.
    #[inline(always)]
    fn parse(ctx: &SkBuffContext, protocol: u32) -> Option<(Self, usize)> {
        let first: u8 = load(ctx, 0)?;
        match first >> 4 {
            4 => {
                let ip: Ipv4 = load(ctx, 0)?;
                if u32::from(ip.protocol) != protocol || u32::from_be(ip.daddr) >> 24 != 127 {
                    return None;
                }
                let at = usize::from(first & 0x0f) * 4;
                let ports: u32 = load(ctx, at)?;
                Some((Self::new([ip.saddr, ip.daddr, ports, 0, 0, 0, 0, 0, 0], 4, ports, protocol), at))
            }
            6 => {
                let ip: Ipv6 = load(ctx, 0)?;
                if u32::from(ip.next_header) != protocol || ip.daddr != [0, 0, 0, 1u32.to_be()] {
                    return None;
                }
                let at = size_of::<Ipv6>();
                let ports: u32 = load(ctx, at)?;
                let ([a, b, c, d], [e, f, g, h]) = (ip.saddr, ip.daddr);
                Some((Self::new([a, b, c, d, e, f, g, h, ports], 6, ports, protocol), at))
            }
            _ => None,
        }
    }

    #[inline(always)]
    fn new(tuple: [u32; 9], ip_version: u16, ports: u32, protocol: u32) -> Self {
        // The destination port is the second half of the word, in network byte order.
        let [_, _, high, low] = ports.to_ne_bytes();
        Self { tuple, ip_version, port: u16::from_be_bytes([high, low]), protocol }
    }

    /// Whether somebody listens where the packet goes, in its network namespace.
    #[inline(always)]
    pub fn finds_listener(&mut self, ctx: &SkBuffContext) -> bool {
        // The kernel takes the current namespace as -1 in the low 32 bits.
        let netns = BPF_F_CURRENT_NETNS as i64 as u64;
        let size = if self.ip_version == 4 { IPV4_TUPLE } else { IPV6_TUPLE };
        let (ctx, tuple) = (ctx.as_ptr(), (&raw mut self.tuple).cast());
        if self.protocol == UDP {
            // SAFETY: the tuple is initialised and as large as the larger of the two sizes that the helper knows.
            let found = unsafe { bpf_sk_lookup_udp(ctx, tuple, size, netns, 0) };
            if found.is_null() {
                return false;
            }
            // SAFETY: the reference that the lookup took, released once.
            unsafe { bpf_sk_release(found.cast()) };
            return true;
        }
        // SAFETY: as above.
        let found = unsafe { bpf_skc_lookup_tcp(ctx, tuple, size, netns, 0) };
        if found.is_null() {
            return false;
        }
        // SAFETY: the reference is held until the release below.
        let listens = unsafe { (*found).state } == LISTEN;
        // SAFETY: the reference that the lookup took, released once.
        unsafe { bpf_sk_release(found.cast()) };
        listens
    }
}

#[inline(always)]
fn load<T>(ctx: &SkBuffContext, at: usize) -> Option<T> {
    ctx.load(at).inspect_err(|_| count::failed(Program::Egress, Helper::SkbLoadBytes)).ok()
}
