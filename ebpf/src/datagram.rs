//! A captured datagram: DNS, where the mesh captures it. Held by the same verdict while the pod's gate is closed.
//!
//! Its resolver sends again by itself, after seconds, and gives up after some more: a copy of each datagram goes to the agent.
//! Knows nothing of DNS. Pods that nobody has told of are left alone.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::{bpf_ktime_get_ns, bpf_skb_ancestor_cgroup_id},
    programs::SkBuffContext,
};
use conngate_common::{
    budget::Drop,
    counter::Program,
    gate::GateState,
    id::{CgroupId, MonoTime},
    verdict::{Attempt, Verdict, judge},
};

use crate::{count, egress::class, maps, packet::LoopbackPacket, park::park};

/// Whether it is dropped. The resolver takes that for a loss only where `setsockopt` has swallowed IP_RECVERR.
#[inline(always)]
pub fn hold(ctx: &SkBuffContext, sk: *mut bpf_sock) -> Option<Drop> {
    let agent = maps::agent().filter(|agent| agent.closed_gates != 0)?;
    let mut packet = LoopbackPacket::datagram(ctx)?;
    // SAFETY: the hook's own context.
    let ancestor = |level: u32| unsafe { bpf_skb_ancestor_cgroup_id(ctx.skb.skb, level as i32) };
    let (pod, level) = agent.pod(ancestor);
    let gate = maps::gate(pod)?;
    if gate.state != GateState::Holding.code() || !gate.datagram_ports.contains(packet.port) {
        return None;
    }
    let container = CgroupId(ancestor(level + 1));
    let known = maps::hold_record(sk.cast(), false, Program::Egress);
    // SAFETY: a helper without pointers.
    let now = MonoTime(unsafe { bpf_ktime_get_ns() });
    let verdict = judge(&Attempt {
        gate: Some(gate),
        container: class(ctx, Some(gate), container),
        now,
        first_drop: known.as_ref().map(|record| record.first_drop).filter(|first_drop| first_drop.0 != 0),
        listener: packet.finds_listener(ctx),
        agent_fresh: agent.is_fresh(now),
        agent_silent_ns: agent.silent_ns(now),
        grace_ns: agent.grace_ns,
    });
    let Verdict::Hold(reason) = verdict else { return None };
    let record = match known {
        Some(record) => record,
        None => maps::hold_record(sk.cast(), true, Program::Egress)?,
    };
    if record.first_drop.0 == 0 {
        record.gate = pod;
        record.first_drop = now;
    }
    count::datagram(reason);
    park(ctx, sk, record, container, &packet, reason, now);
    Some(Drop::Steady)
}
