//! sock_ops of listeners: wakes the prober when somebody calls listen() on a capture port, and tells when it ends.
//!
//! A program of its own, because the listener need not live in the gated cgroup: `conngate run` gates one command while
//! Envoy runs elsewhere, and in an ambient mesh the node's proxy listens inside the pod's namespace.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_LISTEN_CB},
    helpers::{bpf_get_netns_cookie, bpf_ktime_get_ns},
    macros::sock_ops,
    programs::SockOpsContext,
};
use conngate_common::{
    counter::{Counter, Helper, Program},
    id::{CgroupId, MonoTime, NetnsCookie, SocketCookie},
    record::{ListeningRecord, RecordHeader, RecordKind, TCP},
};

use crate::{
    SOCK_OPS_NETNS_COOKIE, count,
    maps::{self, EVENTS},
};

/// `BPF_TCP_LISTEN`
const LISTEN: u32 = 10;

#[sock_ops]
pub fn listen(ctx: SockOpsContext) -> u32 {
    let listens = match ctx.op() {
        BPF_SOCK_OPS_TCP_LISTEN_CB => 1,
        BPF_SOCK_OPS_STATE_CB if ctx.arg(0) == LISTEN => 0,
        _ => return 1,
    };
    let port = ctx.local_port();
    if maps::agent().is_some_and(|agent| agent.capture_ports.contains(port as u16)) {
        if listens == 1 && ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32).is_err() {
            count::failed(Program::Listen, Helper::CbFlagsSet);
        }
        announce(&ctx, port, listens);
    }
    1
}

#[inline(always)]
fn announce(ctx: &SockOpsContext, port: u32, listens: u32) {
    let netns = match SOCK_OPS_NETNS_COOKIE.load() {
        0 => 0,
        // SAFETY: the hook's own context. The verifier never sees this call where the constant is 0.
        _ => unsafe { bpf_get_netns_cookie(ctx.as_ptr()) },
    };
    let Some(mut slot) = EVENTS.reserve_untyped::<ListeningRecord>(0) else {
        return count::counted(Counter::LostRecords);
    };
    slot.write(ListeningRecord {
        header: RecordHeader {
            // SAFETY: a helper without pointers.
            at: MonoTime(unsafe { bpf_ktime_get_ns() }),
            gate: CgroupId(0),
            socket: SocketCookie(maps::cookie(ctx)),
            kind: RecordKind::Listening.code(),
            protocol: TCP,
        },
        netns: NetnsCookie(netns),
        port,
        listens,
    });
    slot.submit(0);
}
