//! Admission at connect(): who connects is written into the socket's hold record, where a later drop finds it.
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
    hold::{ATTRIBUTED, Connector},
    id::{MonoTime, NetnsCookie},
    record::{TCP, UDP},
};

use crate::maps;

/// Admits a connection to `port` (host byte order), unless it cannot be captured; datagrams' only where they are held.
#[inline(always)]
pub fn admit(ctx: &SockAddrContext, program: Program, loopback: bool, port: u16) {
    let Some(agent) = maps::agent().filter(|agent| agent.closed_gates != 0) else { return };
    // SAFETY: the hook's own context.
    let protocol = unsafe { (*ctx.sock_addr).protocol };
    if protocol != TCP && protocol != UDP {
        return;
    }
    // SAFETY: a helper without pointers.
    let ancestor = |level: u32| unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
    let (pod, _) = agent.pod(ancestor);
    let gate = maps::gate(pod);
    if protocol == UDP && gate.is_none_or(|gate| gate.datagram_ports == CapturePorts::default()) {
        return;
    }
    // A nameserver on loopback is captured like any other.
    if pod.0 == 0 || !may_be_held(agent, gate, ctx.uid(), loopback && protocol == TCP, port) {
        return;
    }
    // SAFETY: the hook's own context; `sk` is never null here.
    let sk = unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk };
    let Some(record) = maps::hold_record(sk.cast(), true, program) else { return };
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
}

/// Whether a drop may follow: the gate is closed (or unknown to a live agent) and nothing exempts the connection.
#[inline(always)]
fn may_be_held(agent: &AgentEntry, gate: Option<&GateEntry>, uid: u32, loopback: bool, port: u16) -> bool {
    // SAFETY: a helper without pointers.
    let now = MonoTime(unsafe { bpf_ktime_get_ns() });
    let (held, ports) = match gate {
        Some(gate) => (
            gate.state == GateState::Holding.code() && gate.mode != Mode::Observe.code() && !gate.exempts(uid),
            gate.capture_ports,
        ),
        None => (agent.is_fresh(now), agent.capture_ports),
    };
    held && (!loopback || ports.contains(port))
}
