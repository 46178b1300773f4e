//! Admission at connect() and sendto(): who connects is written into the socket's hold record, where a later drop finds it.
//!
//! Knows nothing of the verdict. A connection without a record is held all the same, only nobody knows whose it is.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_ancestor_cgroup_id, bpf_get_netns_cookie, bpf_ktime_get_ns},
    programs::SockAddrContext,
};
use conngate_common::{
    counter::Program,
    gate::{AgentEntry, CapturePorts, GateEntry, GateState, Mode},
    hold::{ATTRIBUTED, Connector, HoldRecord},
    id::{MonoTime, NetnsCookie},
    record::{TCP, UDP},
};

use crate::maps;

/// Where a call goes: an IPv4 address in the first word, or an IPv6 address, in network byte order; the port in host byte order.
pub struct Destination {
    pub ip: [u32; 4],
    pub ip_version: u16,
    pub port: u16,
}

impl Destination {
    /// That of an IPv4 hook.
    #[inline(always)]
    pub fn v4(ctx: &SockAddrContext) -> Self {
        // SAFETY: the hook's own context.
        let ip = unsafe { (*ctx.sock_addr).user_ip4 };
        Self { ip: [ip, 0, 0, 0], ip_version: 4, port: port(ctx) }
    }

    /// That of an IPv6 hook.
    #[inline(always)]
    pub fn v6(ctx: &SockAddrContext) -> Self {
        // SAFETY: the hook's own context, read word by word as the verifier asks.
        let ip = unsafe {
            let words = &raw const (*ctx.sock_addr).user_ip6;
            [(*words)[0], (*words)[1], (*words)[2], (*words)[3]]
        };
        Self { ip, ip_version: 6, port: port(ctx) }
    }

    #[inline(always)]
    fn is_loopback(&self) -> bool {
        match (self.ip_version, self.ip.map(u32::from_be)) {
            (4, [v4, ..]) | (_, [0, 0, 0xffff, v4]) => v4 >> 24 == 127,
            (_, ip) => ip == [0, 0, 0, 1],
        }
    }
}

#[inline(always)]
fn port(ctx: &SockAddrContext) -> u16 {
    // SAFETY: the hook's own context; the port is in network byte order in the low 16 bits.
    u16::from_be(unsafe { (*ctx.sock_addr).user_port } as u16)
}

/// Admits a connection, unless it cannot be captured; datagrams' only where they are held.
#[inline(always)]
pub fn admit(ctx: &SockAddrContext, program: Program, to: &Destination) -> Option<&'static mut HoldRecord> {
    let agent = maps::agent().filter(|agent| agent.closed_gates != 0)?;
    // SAFETY: the hook's own context.
    let protocol = unsafe { (*ctx.sock_addr).protocol };
    if protocol != TCP && protocol != UDP {
        return None;
    }
    // SAFETY: a helper without pointers.
    let ancestor = |level: u32| unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
    let (pod, _) = agent.pod(ancestor);
    let gate = maps::gate(pod);
    let held = if protocol == UDP {
        // A nameserver on loopback is captured like any other.
        gate.is_some_and(|gate| datagrams_may_be_held(gate, ctx.uid()))
    } else {
        may_be_held(agent, gate, ctx.uid(), to)
    };
    if pod.0 == 0 || !held {
        return None;
    }
    // SAFETY: the hook's own context; `sk` is never null here.
    let sk = unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk };
    let record = maps::hold_record(sk.cast(), true, program)?;
    record.gate = pod;
    record.flags |= ATTRIBUTED;
    record.connector = Connector {
        // SAFETY: the hook's own context.
        netns: NetnsCookie(unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }),
        tgid: ctx.tgid(),
        uid: ctx.uid(),
        gid: ctx.gid(),
        reserved: 0,
        comm: ctx.command().unwrap_or_default(),
    };
    Some(record)
}

/// Admits a datagram that goes elsewhere than its socket is connected to, if it is at all, and writes down where: what is sent
/// by this call arrives in egress before the call returns.
#[inline(always)]
pub fn send(ctx: &SockAddrContext, program: Program, to: &Destination) {
    if let Some(record) = admit(ctx, program, to) {
        // SAFETY: sixteen bytes either way, in network byte order in memory.
        record.sent_to = unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(to.ip) };
        record.sent_to_port = to.port;
        record.sent_to_version = to.ip_version;
    }
}

/// Whether a drop may follow: the gate is closed (or unknown to a live agent) and nothing exempts the connection.
#[inline(always)]
fn may_be_held(agent: &AgentEntry, gate: Option<&GateEntry>, uid: u32, to: &Destination) -> bool {
    // SAFETY: a helper without pointers.
    let now = MonoTime(unsafe { bpf_ktime_get_ns() });
    let (held, ports) = match gate {
        Some(gate) => (gate.state == GateState::Holding.code() && holds(gate, uid), gate.capture_ports),
        None => (agent.is_fresh(now), agent.capture_ports),
    };
    held && (!to.is_loopback() || ports.contains(to.port))
}

/// As [`may_be_held`]: a gate names datagram ports only while their datagrams are held.
#[inline(always)]
fn datagrams_may_be_held(gate: &GateEntry, uid: u32) -> bool {
    gate.datagram_ports != CapturePorts::default() && holds(gate, uid)
}

#[inline(always)]
fn holds(gate: &GateEntry, uid: u32) -> bool {
    gate.mode != Mode::Observe.code() && !gate.exempts(uid)
}
