//! sock_ops of gated sockets: the SYN budget while held and after, and how the hold ended.
//!
//! Knows nothing of packets. A socket that was never dropped keeps everything that the application or the kernel set;
//! only its first SYN timeout is shorter, where a connect hook saw that its gate is closed (facts: what the mesh will
//! capture is not known before the SYN has left), and then it gets one more retry, so that it waits as long as before.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RTO_CB, BPF_SOCK_OPS_RTO_CB_FLAG, BPF_SOCK_OPS_STATE_CB,
        BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TIMEOUT_INIT,
    },
    helpers::{bpf_getsockopt, bpf_ktime_get_ns, bpf_setsockopt, generated::bpf_probe_read_kernel},
    macros::sock_ops,
    programs::SockOpsContext,
};
use aya_log_ebpf::debug;
use conngate_common::{
    budget::{MAX_SYNCNT, ORDINARY_RETRIES, after_release, back_off_ms, stays_steady},
    counter::{Counter, Helper, Program},
    gate::GateState,
    hold::{EXPIRED, HoldRecord, OWN_BUDGET, RELEASED, SHORT_RTO},
    id::{MonoTime, SocketCookie},
    reason::Reason,
    record::{EndedRecord, Outcome, RecordHeader, RecordKind, TCP},
};

use crate::{
    NETNS_OFFSET, SYN_RETRIES_OFFSET, TCP_SYN_RETRIES_OFFSET, TCP_SYN_RETRIES_SIZE, count,
    maps::{self, EVENTS, GATES},
};

/// IPPROTO_TCP as a socket option level.
const SOL_TCP: i32 = 6;
/// `TCP_SYNCNT` in include/uapi/linux/tcp.h.
const TCP_SYNCNT: i32 = 7;
/// `TCP_RTO_MAX_MS` (6.15), likewise.
const TCP_RTO_MAX_MS: i32 = 44;
/// `TCP_BPF_IW` in include/uapi/linux/bpf.h.
const TCP_BPF_IW: i32 = 1001;
/// `TCP_INIT_CWND` in include/net/tcp.h: what an unheld connection starts with.
const INITIAL_WINDOW: u32 = 10;
/// `BPF_TCP_SYN_SENT` and `BPF_TCP_CLOSE`.
const SYN_SENT: u32 = 2;
const CLOSE: u32 = 7;

#[sock_ops]
pub fn sock_ops(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(&ctx),
        BPF_SOCK_OPS_TIMEOUT_INIT => first_timeout(&ctx),
        BPF_SOCK_OPS_RTO_CB => timed_out(&ctx),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(&ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(0) == SYN_SENT && ctx.arg(1) == CLOSE => closed(&ctx),
        _ => {}
    }
    // Up to 5.15 any other value discards the reply of the whole chain.
    1
}

/// Before the first SYN: ask to be called at its timeouts and at its end, while any gate is closed.
#[inline(always)]
fn connecting(ctx: &SockOpsContext) {
    let Some(agent) = maps::agent().filter(|agent| agent.closed_gates != 0) else { return };
    let flags = ctx.cb_flags() | BPF_SOCK_OPS_RTO_CB_FLAG | BPF_SOCK_OPS_STATE_CB_FLAG;
    if ctx.set_cb_flags(flags as i32).is_err() {
        count::failed(Program::SockOps, Helper::CbFlagsSet);
    }
    let own = |ours| syn_retries(ctx) != Some(ours);
    let Some(record) = record(ctx, own(0)) else { return };
    if own(record.syncnt) {
        record.flags |= OWN_BUDGET;
    } else if agent.syn_rto_jiffies != 0 {
        record.flags |= SHORT_RTO;
    }
}

/// The first SYN timeout. Also asked at every later one to model the whole, so the answer never changes.
#[inline(always)]
fn first_timeout(ctx: &SockOpsContext) {
    if record(ctx, false).is_some_and(|record| record.flags & SHORT_RTO != 0)
        && let Some(agent) = maps::agent()
    {
        ctx.set_reply(agent.syn_rto_jiffies);
    }
}

/// A SYN timer went off: `args` are the retransmissions so far, the timeout in jiffies, and whether the budget is spent.
#[inline(always)]
fn timed_out(ctx: &SockOpsContext) {
    let Some(record) = record(ctx, false) else { return };
    let (retransmits, rto, expired) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    if expired != 0 {
        record.flags |= EXPIRED;
    }
    match syn_retries(ctx) {
        Some(current) if current == record.syncnt => {}
        Some(_) | None => {
            record.flags |= OWN_BUDGET;
            return;
        }
    }
    if record.ordinary_retries == 0 {
        record.ordinary_retries = ordinary_retries(ctx);
    }
    let wanted = if record.first_drop.0 == 0 {
        if record.flags & SHORT_RTO == 0 || record.syncnt != 0 {
            return;
        }
        (record.ordinary_retries + 1).min(MAX_SYNCNT)
    } else if record.flags & RELEASED == 0 {
        bound_back_off(ctx, record);
        MAX_SYNCNT
    } else if record.syncnt == MAX_SYNCNT {
        let Some(agent) = maps::agent() else { return };
        unbound_back_off(ctx, record);
        after_release(retransmits, rto, agent.hz, record.ordinary_retries, agent.syn_linear_timeouts)
    } else {
        return;
    };
    if wanted != record.syncnt && set(ctx, TCP_SYNCNT, wanted) {
        record.syncnt = wanted;
        debug!(ctx, "syn budget {} after {} retransmissions", wanted, retransmits);
    }
}

/// A hold that is longer than steady attempts can carry spreads those that it has left over its time. Where the kernel has no
/// such bound (before 6.15) its back-off is the ordinary one.
#[inline(always)]
fn bound_back_off(ctx: &SockOpsContext, record: &mut HoldRecord) {
    // SAFETY: the entry is read at once.
    let Some(gate) = (unsafe { GATES.get(record.gate.0) }) else { return };
    let left_ns = gate.cap_ns.saturating_sub(now().since(record.first_drop));
    if record.back_off_ms == 0 {
        if stays_steady(record.attempts, left_ns) {
            return;
        }
        let mut before = 0u32;
        let value = (&raw mut before).cast();
        // SAFETY: four bytes are written to `before`.
        if unsafe { bpf_getsockopt(ctx.as_ptr(), SOL_TCP, TCP_RTO_MAX_MS, value, 4) } != 0 {
            return;
        }
        record.back_off_ms = before;
    }
    set(ctx, TCP_RTO_MAX_MS, back_off_ms(record.attempts, left_ns));
}

/// The hold is over: what bounds the back-off is again what did before.
#[inline(always)]
fn unbound_back_off(ctx: &SockOpsContext, record: &mut HoldRecord) {
    if record.back_off_ms != 0 && set(ctx, TCP_RTO_MAX_MS, record.back_off_ms) {
        record.back_off_ms = 0;
    }
}

/// The handshake is done; the kernel has cut the window to 1, because it believes that the SYNs were lost.
#[inline(always)]
fn established(ctx: &SockOpsContext) {
    let Some(record) = record(ctx, false).filter(|record| record.first_drop.0 != 0) else { return };
    // SAFETY: the hook's own context.
    if unsafe { (*ctx.ops).snd_cwnd } < INITIAL_WINDOW {
        set(ctx, TCP_BPF_IW, INITIAL_WINDOW);
    }
    if record.syncnt != 0 {
        set(ctx, TCP_SYNCNT, record.ordinary_retries);
    }
    count::held_for(now().since(record.first_drop));
    count::counted(Counter::Established);
    let_go(record);
    end(ctx, record, Outcome::Established);
}

/// SYN_SENT ended without a connection.
#[inline(always)]
fn closed(ctx: &SockOpsContext) {
    let Some(record) = record(ctx, false).filter(|record| record.first_drop.0 != 0) else { return };
    // SAFETY: the entry is read at once.
    let open = unsafe { GATES.get(record.gate.0) }.is_some_and(|gate| gate.state != GateState::Holding.code());
    let (outcome, counter) = if record.flags & EXPIRED != 0 {
        (Outcome::Expired, Counter::Expired)
    } else if open || record.flags & RELEASED != 0 {
        let_go(record);
        (Outcome::Refused, Counter::Refused)
    } else {
        (Outcome::Abandoned, Counter::Abandoned)
    };
    count::counted(counter);
    end(ctx, record, outcome);
}

/// Counts why it was let go of. An attempt that egress let pass was counted there; a SYN that was replayed egress does not
/// see as the socket's: then the gate says why, and through a closed one goes only what is exempt.
#[inline(always)]
fn let_go(record: &HoldRecord) {
    if record.flags & RELEASED != 0 {
        return;
    }
    // SAFETY: the entry is read at once.
    let reason = match unsafe { GATES.get(record.gate.0) } {
        Some(gate) if gate.state == GateState::Holding.code() => Reason::Exempt,
        Some(gate) => Reason::try_from(gate.reason).unwrap_or(Reason::Invalid),
        None => Reason::NotEnrolled,
    };
    count::released(reason);
}

/// Announces the end, and leaves a record as new for a socket that connects again.
#[inline(always)]
fn end(ctx: &SockOpsContext, record: &mut HoldRecord, outcome: Outcome) {
    announce(ctx, record, outcome);
    unbound_back_off(ctx, record);
    record.first_drop = MonoTime(0);
    record.attempts = 0;
    record.parked_epoch = 0;
    record.flags = 0;
}

#[inline(always)]
fn announce(ctx: &SockOpsContext, record: &HoldRecord, outcome: Outcome) {
    let Some(mut slot) = EVENTS.reserve_untyped::<EndedRecord>(0) else {
        return count::counted(Counter::LostRecords);
    };
    slot.write(EndedRecord {
        header: RecordHeader {
            at: now(),
            gate: record.gate,
            socket: SocketCookie(maps::cookie(ctx)),
            kind: RecordKind::Ended.code(),
            protocol: TCP,
        },
        first_drop: record.first_drop,
        attempts: record.attempts,
        outcome: outcome.code(),
    });
    slot.submit(0);
}

#[inline(always)]
fn record(ctx: &SockOpsContext, create: bool) -> Option<&'static mut HoldRecord> {
    // SAFETY: the hook's own context.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    maps::hold_record(sk.cast(), create, Program::SockOps)
}

/// `icsk_syn_retries`: 0 where neither the application nor we set `TCP_SYNCNT`; `None` where it cannot be read.
///
/// bpf_getsockopt would answer with the namespace's default instead of 0, and not at all before 6.0.
#[inline(always)]
fn syn_retries(ctx: &SockOpsContext) -> Option<u32> {
    let offset = SYN_RETRIES_OFFSET.load();
    if offset == 0 {
        return None;
    }
    read::<u8>(socket(ctx)?, offset).map(u32::from)
}

/// `net.ipv4.tcp_syn_retries` of the socket's namespace; the kernel's default where it cannot be read.
#[inline(always)]
fn ordinary_retries(ctx: &SockOpsContext) -> u32 {
    let (netns, sysctl) = (NETNS_OFFSET.load(), TCP_SYN_RETRIES_OFFSET.load());
    if netns == 0 || sysctl == 0 {
        return ORDINARY_RETRIES;
    }
    let value = || {
        let netns = read::<u64>(socket(ctx)?, netns)?;
        // An `int` before 5.15, a byte since.
        if TCP_SYN_RETRIES_SIZE.load() == 1 {
            read::<u8>(netns, sysctl).map(u32::from)
        } else {
            read::<u32>(netns, sysctl)
        }
    };
    value().unwrap_or(ORDINARY_RETRIES)
}

/// The address of the kernel's `struct sock`.
#[inline(always)]
fn socket(ctx: &SockOpsContext) -> Option<u64> {
    // SAFETY: the hook's own context.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    // "pointer arithmetic on sock prohibited": the address as a plain number, by way of the stack.
    if sk.is_null() { None } else { read((&raw const sk) as u64, 0) }
}

/// A `T` of integers at `address + offset` of the kernel's memory.
#[inline(always)]
fn read<T: Default>(address: u64, offset: u32) -> Option<T> {
    let mut value = T::default();
    let member = (address + u64::from(offset)) as *const c_void;
    // SAFETY: the helper checks the address, and writes the size of `value` to it.
    if unsafe { bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, member) } == 0 {
        return Some(value);
    }
    count::failed(Program::SockOps, Helper::ProbeReadKernel);
    None
}

#[inline(always)]
fn set(ctx: &SockOpsContext, option: i32, mut value: u32) -> bool {
    // SAFETY: four bytes are read from `value`.
    let done = unsafe { bpf_setsockopt(ctx.as_ptr(), SOL_TCP, option, (&raw mut value).cast(), 4) } == 0;
    if !done {
        count::failed(Program::SockOps, Helper::SetSockOpt);
    }
    done
}

#[inline(always)]
fn now() -> MonoTime {
    // SAFETY: a helper without pointers.
    MonoTime(unsafe { bpf_ktime_get_ns() })
}
