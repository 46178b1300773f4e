//! Parking: a copy of the dropped SYN or datagram goes to the agent, which sends it again the moment the gate opens.
//!
//! Knows nothing of the verdict. A full ring buffer loses nothing: the SYN is offered again at its next attempt.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::{bpf_get_socket_uid, generated::bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use conngate_common::{
    counter::{Counter, Helper, Program},
    hold::HoldRecord,
    id::{CgroupId, MonoTime, SocketCookie},
    reason::Reason,
    record::{ParkedRecord, RecordHeader, RecordKind, SYN_LEN},
};

use crate::{
    count,
    maps::{EVENTS, cookie},
    packet::LoopbackPacket,
};

/// Announces the held SYN; `false`: not announced.
#[inline(always)]
pub fn park(
    ctx: &SkBuffContext,
    sk: *mut bpf_sock,
    record: &HoldRecord,
    container: CgroupId,
    syn: &LoopbackPacket,
    reason: Reason,
    now: MonoTime,
) -> bool {
    let Some(mut slot) = EVENTS.reserve(0) else {
        count::counted(Counter::LostRecords);
        return false;
    };
    let len = ctx.len();
    slot.write(ParkedRecord {
        header: RecordHeader {
            at: now,
            gate: record.gate,
            socket: SocketCookie(cookie(ctx)),
            kind: RecordKind::Parked.code(),
            protocol: syn.protocol,
        },
        first_drop: record.first_drop,
        container,
        connector: record.connector,
        // SAFETY: the hook's own context.
        uid: unsafe { bpf_get_socket_uid(ctx.skb.skb) },
        // SAFETY: `sk` is a full socket.
        mark: unsafe { (*sk).mark },
        // SAFETY: as above.
        device: unsafe { (*sk).bound_dev_if },
        reserved: 0,
        reason: reason.code(),
        syn_len: len.min(SYN_LEN as u32),
        dst_ip: destination(sk, syn.ip_version),
        // SAFETY: as above.
        dst_port: u16::from_be(unsafe { (*sk).dst_port }),
        capture_port: syn.port,
        ip_version: syn.ip_version,
        // SAFETY: as above; in host byte order, unlike the destination's.
        src_port: unsafe { (*sk).src_port } as u16,
        syn: [0; SYN_LEN],
    });
    // SAFETY: written just above.
    let bytes = unsafe { &mut (*slot.as_mut_ptr()).syn };
    // 1 to SYN_LEN, bounded by arithmetic in the very register that the call takes: verifiers before 6.9 forget the bound of
    // a value that was spilled before it was compared ("R3 min value is outside of the allowed memory range"). The black
    // box keeps the compiler from turning it back into comparisons.
    let bounded = (core::hint::black_box(len.min(SYN_LEN as u32)).wrapping_sub(1) & (SYN_LEN as u32 - 1)) + 1;
    // SAFETY: `bounded` is at most the buffer's length.
    let copied = unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), 0, bytes.as_mut_ptr().cast(), bounded) } == 0;
    if copied {
        slot.submit(0);
    } else {
        count::failed(Program::Egress, Helper::SkbLoadBytes);
        slot.discard(0);
    }
    copied
}

/// The socket's own destination, before NAT; of a v4-mapped socket the IPv4 address.
#[inline(always)]
fn destination(sk: *mut bpf_sock, ip_version: u16) -> [u8; 16] {
    // Both are read, word by word and volatile: choosing first would make the address a variable, and the verifier says
    // "pointer arithmetic on sock prohibited".
    // SAFETY: `sk` is a full socket.
    let v4 = unsafe { (&raw const (*sk).dst_ip4).read_volatile() };
    // SAFETY: as above.
    let v6 = [0, 1, 2, 3].map(|i| unsafe { (&raw const (*sk).dst_ip6[i]).read_volatile() });
    let words = if ip_version == 4 { [v4, 0, 0, 0] } else { v6 };
    // SAFETY: the words are in network byte order in memory; sixteen bytes either way.
    unsafe { core::mem::transmute(words) }
}
