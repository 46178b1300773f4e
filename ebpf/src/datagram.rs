//! A captured datagram: DNS, where the mesh captures it. Held by the same verdict while the pod's gate is closed, and until the
//! mesh's DNS proxy is bound to its port.
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
    id::{CgroupId, MonoTime},
    verdict::{Attempt, Verdict, judge_datagram},
};

use crate::{count, egress::class, maps, packet::LoopbackPacket, park::Dropped};

/// Whether it is dropped. The resolver takes that for a loss only where `setsockopt` has swallowed IP_RECVERR.
#[inline(always)]
pub fn hold(ctx: &SkBuffContext, sk: *mut bpf_sock) -> Option<Drop> {
    let agent = maps::agent().filter(|agent| agent.closed_gates != 0)?;
    let mut packet = LoopbackPacket::datagram(ctx)?;
    // SAFETY: the hook's own context.
    let ancestor = |level: u32| unsafe { bpf_skb_ancestor_cgroup_id(ctx.skb.skb, level as i32) };
    let (pod, level) = agent.pod(ancestor);
    // A gate names them only while their datagrams are held.
    let gate = maps::gate(pod).filter(|gate| gate.datagram_ports.contains(packet.port))?;
    let container = CgroupId(ancestor(level + 1));
    let known = maps::hold_record(sk.cast(), false, Program::Egress);
    // SAFETY: a helper without pointers.
    let now = MonoTime(unsafe { bpf_ktime_get_ns() });
    // A resolver may keep its socket: each closing of the gate begins a hold of its own.
    let first_drop = known.as_ref().map(|record| record.first_drop).filter(|at| at.0 != 0 && at.0 >= gate.closed_at.0);
    let verdict = judge_datagram(&Attempt {
        gate: Some(gate),
        container: class(ctx, Some(gate), container),
        now,
        first_drop,
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
    if first_drop.is_none() {
        record.gate = pod;
        record.first_drop = now;
    }
    count::datagram(reason);
    // Where sendto() said that it goes, which is said of this datagram alone.
    let (ip, port) = (record.sent_to, core::mem::take(&mut record.sent_to_port));
    let dropped = Dropped { ctx, sk, record, container, packet: &packet, reason, now };
    let to = if port != 0 && dropped.record.sent_to_version == packet.ip_version {
        (ip, port)
    } else {
        dropped.destination()
    };
    dropped.park_datagram(to);
    Some(Drop::Steady)
}
