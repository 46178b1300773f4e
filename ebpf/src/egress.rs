//! cgroup_skb/egress: the verdict on a captured SYN or datagram.
//!
//! It runs after the mesh's NAT, so a SYN to loopback at a capture port *is* a captured connection. Retransmissions come
//! from softirq: never ask for the current task here, only for the socket's cgroup.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::{bpf_get_socket_uid, bpf_ktime_get_ns, bpf_sk_fullsock, bpf_skb_ancestor_cgroup_id},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use aya_log_ebpf::debug;
use conngate_common::{
    budget::{Drop, MAX_SYNCNT, drop_code},
    counter::{Counter, Program},
    gate::{ContainerClass, GateEntry},
    hold::{OWN_BUDGET, RELEASED},
    id::{CgroupId, MonoTime},
    record::UDP,
    verdict::{Attempt, Verdict, judge},
};

use crate::{count, datagram, maps, packet::LoopbackPacket, park::Dropped};

/// Let the packet go.
const PASS: i32 = 1;
/// `BPF_TCP_SYN_SENT`
const SYN_SENT: u32 = 2;

#[cgroup_skb(egress)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    match socket(&ctx).and_then(|sk| dropped(&ctx, sk)) {
        None => PASS,
        Some(Drop::Steady) => Drop::Steady as i32,
        Some(Drop::BackOff) => Drop::BackOff as i32,
    }
}

/// The packet's socket, a full one.
#[inline(always)]
fn socket(ctx: &SkBuffContext) -> Option<*mut bpf_sock> {
    // SAFETY: the hook's own context.
    let sk = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    // SAFETY: not null, as the helper asks.
    let sk = unsafe { bpf_sk_fullsock(sk) };
    (!sk.is_null()).then_some(sk)
}

/// Whether its packet is dropped, and how: of TCP only what is in SYN_SENT concerns us.
#[inline(always)]
fn dropped(ctx: &SkBuffContext, sk: *mut bpf_sock) -> Option<Drop> {
    // SAFETY: a full socket.
    let sock = unsafe { &*sk };
    if sock.state == SYN_SENT {
        hold(ctx, sk)
    } else if sock.protocol == UDP {
        datagram::hold(ctx, sk)
    } else {
        None
    }
}

#[inline(always)]
fn hold(ctx: &SkBuffContext, sk: *mut bpf_sock) -> Option<Drop> {
    let mut syn = LoopbackPacket::syn(ctx)?;
    let agent = maps::agent()?;
    // SAFETY: the hook's own context.
    let ancestor = |level: u32| unsafe { bpf_skb_ancestor_cgroup_id(ctx.skb.skb, level as i32) };
    let (pod, level) = agent.pod(ancestor);
    if pod.0 == 0 {
        return None;
    }
    let (gate, container) = (maps::gate(pod), CgroupId(ancestor(level + 1)));
    if !gate.map_or(agent.capture_ports, |gate| gate.capture_ports).contains(syn.port) {
        return None;
    }
    let known = maps::hold_record(sk.cast(), false, Program::Egress);
    // SAFETY: a helper without pointers.
    let now = MonoTime(unsafe { bpf_ktime_get_ns() });
    let verdict = judge(&Attempt {
        gate,
        container: class(ctx, gate, container),
        now,
        first_drop: known.as_ref().map(|record| record.first_drop).filter(|first_drop| first_drop.0 != 0),
        listener: syn.finds_listener(ctx),
        agent_fresh: agent.is_fresh(now),
        agent_silent_ns: agent.silent_ns(now),
        grace_ns: agent.grace_ns,
    });
    count::judged(verdict);
    debug!(ctx, "syn to port {}: verdict {} reason {}", syn.port, verdict.kind(), verdict.reason().code());
    match verdict {
        Verdict::Pass(_) | Verdict::WouldHold(_) => {
            if let Some(record) = known {
                if record.first_drop.0 != 0 && record.flags & RELEASED == 0 {
                    count::released(verdict.reason());
                }
                record.flags |= RELEASED;
            }
            None
        }
        Verdict::Hold(reason) => {
            let record = match known {
                Some(record) => record,
                None => maps::hold_record(sk.cast(), true, Program::Egress)?,
            };
            if record.first_drop.0 == 0 {
                record.gate = pod;
                record.first_drop = now;
                count::counted(Counter::Held);
            }
            record.flags &= !RELEASED;
            let raised = record.syncnt == MAX_SYNCNT && record.flags & OWN_BUDGET == 0;
            let left_ns = gate.map_or(agent.grace_ns, |gate| gate.cap_ns).saturating_sub(now.since(record.first_drop));
            let drop = drop_code(record.attempts, raised, record.back_off_ms != 0, left_ns);
            record.attempts += 1;
            let parked = record.parked_epoch != agent.epoch
                && Dropped { ctx, sk, record, container, packet: &syn, reason, now }.park();
            if parked {
                record.parked_epoch = agent.epoch;
            }
            Some(drop)
        }
    }
}

/// The container's class; the gate says what an unlisted container is, and which uids are exempt.
#[inline(always)]
pub fn class(ctx: &SkBuffContext, gate: Option<&GateEntry>, container: CgroupId) -> ContainerClass {
    let Some(gate) = gate else { return ContainerClass::Unknown };
    // SAFETY: the hook's own context.
    if gate.exempts(unsafe { bpf_get_socket_uid(ctx.skb.skb) }) {
        return ContainerClass::Exempt;
    }
    maps::class(gate, container)
}
