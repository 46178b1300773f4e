//! Parking: a copy of the dropped SYN or datagram goes to the agent, which sends it again the moment the gate opens.
//!
//! Knows nothing of the verdict. A full ring buffer loses nothing: the SYN is offered again at its next attempt.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::{bpf_get_socket_uid, generated::bpf_skb_load_bytes},
    maps::ring_buf::RingBufEntry,
    programs::SkBuffContext,
};
use conngate_common::{
    counter::{Counter, Helper, Program},
    hold::{HoldRecord, WANTS_ERRORS},
    id::{CgroupId, MonoTime, SocketCookie},
    reason::Reason,
    record::{
        DATAGRAM_HEAD, DATAGRAM_LEN, DATAGRAM_TAIL, DatagramRecord, ParkedRecord, RecordHeader, RecordKind, SYN_LEN,
    },
};

use crate::{
    count,
    maps::{EVENTS, cookie},
    packet::LoopbackPacket,
};

/// What there is to say of a dropped packet.
pub struct Dropped<'a> {
    pub ctx: &'a SkBuffContext,
    pub sk: *mut bpf_sock,
    pub record: &'a HoldRecord,
    pub container: CgroupId,
    pub packet: &'a LoopbackPacket,
    pub reason: Reason,
    pub now: MonoTime,
}

impl Dropped<'_> {
    /// Announces the held SYN; `false`: not announced.
    #[inline(always)]
    pub fn park(&self) -> bool {
        let Some(slot) = reserve::<ParkedRecord>() else { return false };
        self.park_short(slot, RecordKind::Parked, self.destination())
    }

    /// Announces the held datagram, and takes its destination from the hold record.
    #[inline(always)]
    pub fn park_datagram(&self, to: ([u8; 16], u16)) -> bool {
        let len = self.ctx.len();
        if len <= SYN_LEN as u32 || len > DATAGRAM_LEN as u32 {
            let Some(slot) = reserve::<ParkedRecord>() else { return false };
            return self.park_short(slot, RecordKind::Datagram, to);
        }
        let Some(mut slot) = reserve::<DatagramRecord>() else { return false };
        let at = slot.as_mut_ptr();
        // SAFETY: reserved. What `load` does not fill of `rest` nobody reads: it lies behind `len`.
        let copied = unsafe {
            (&raw mut (*at).parked).write(self.describe(RecordKind::Datagram, len, to));
            let rest = (&raw mut (*at).rest).cast::<u8>();
            self.load::<SYN_LEN>(0, (&raw mut (*at).parked.syn).cast(), len)
                && self.load::<DATAGRAM_HEAD>(SYN_LEN as u32, rest, len - SYN_LEN as u32)
                && (len <= (SYN_LEN + DATAGRAM_HEAD) as u32
                    || self.load::<DATAGRAM_TAIL>(
                        (SYN_LEN + DATAGRAM_HEAD) as u32,
                        rest.add(DATAGRAM_HEAD),
                        len - (SYN_LEN + DATAGRAM_HEAD) as u32,
                    ))
        };
        settle(slot, copied)
    }

    #[inline(always)]
    fn park_short(&self, mut slot: RingBufEntry<ParkedRecord>, kind: RecordKind, to: ([u8; 16], u16)) -> bool {
        let len = self.ctx.len();
        slot.write(self.describe(kind, len.min(SYN_LEN as u32), to));
        // SAFETY: written just above.
        let copied = unsafe { self.load::<SYN_LEN>(0, (&raw mut (*slot.as_mut_ptr()).syn).cast(), len) };
        settle(slot, copied)
    }

    /// Copies 1 to `ROOM` of the `len` bytes of the packet that follow `from`; `len` must not be 0.
    ///
    /// # Safety
    /// There must be room for `ROOM` bytes.
    #[inline(always)]
    unsafe fn load<const ROOM: usize>(&self, from: u32, to: *mut u8, len: u32) -> bool {
        // Bounded by arithmetic in the very register that the call takes: verifiers before 6.9 forget the bound of a value that
        // was spilled before it was compared ("R3 min value is outside of the allowed memory range"). The black box keeps the
        // compiler from turning it back into comparisons.
        let bounded = (core::hint::black_box(len.min(ROOM as u32)).wrapping_sub(1) & (ROOM as u32 - 1)) + 1;
        // SAFETY: `bounded` is at most the room that the caller promises.
        unsafe { bpf_skb_load_bytes(self.ctx.skb.skb.cast(), from, to.cast(), bounded) == 0 }
    }

    #[inline(always)]
    fn describe(&self, kind: RecordKind, len: u32, (dst_ip, dst_port): ([u8; 16], u16)) -> ParkedRecord {
        let Self { ctx, sk, record, .. } = *self;
        ParkedRecord {
            header: RecordHeader {
                at: self.now,
                gate: record.gate,
                socket: SocketCookie(cookie(ctx)),
                kind: kind.code(),
                protocol: self.packet.protocol,
            },
            first_drop: record.first_drop,
            container: self.container,
            connector: record.connector,
            // SAFETY: the hook's own context.
            uid: unsafe { bpf_get_socket_uid(ctx.skb.skb) },
            // SAFETY: `sk` is a full socket.
            mark: unsafe { (*sk).mark },
            // SAFETY: as above.
            device: unsafe { (*sk).bound_dev_if },
            // SAFETY: as above.
            over_tcp: u32::from(record.flags & WANTS_ERRORS != 0 && unsafe { (*sk).dst_port } != 0),
            reason: self.reason.code(),
            syn_len: len,
            dst_ip,
            dst_port,
            capture_port: self.packet.port,
            ip_version: self.packet.ip_version,
            // SAFETY: as above; in host byte order, unlike the destination's.
            src_port: unsafe { (*sk).src_port } as u16,
            syn: [0; SYN_LEN],
        }
    }

    /// The socket's own destination, before NAT; of a v4-mapped socket the IPv4 address.
    #[inline(always)]
    pub fn destination(&self) -> ([u8; 16], u16) {
        let sk = self.sk;
        // Both are read, word by word and volatile: choosing first would make the address a variable, and the verifier says
        // "pointer arithmetic on sock prohibited".
        // SAFETY: `sk` is a full socket.
        let v4 = unsafe { (&raw const (*sk).dst_ip4).read_volatile() };
        // SAFETY: as above.
        let v6 = [0, 1, 2, 3].map(|i| unsafe { (&raw const (*sk).dst_ip6[i]).read_volatile() });
        let words = if self.packet.ip_version == 4 { [v4, 0, 0, 0] } else { v6 };
        // SAFETY: the words are in network byte order in memory; sixteen bytes either way.
        let ip = unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) };
        // SAFETY: as above.
        (ip, u16::from_be(unsafe { (*sk).dst_port }))
    }
}

#[inline(always)]
fn reserve<T: 'static>() -> Option<RingBufEntry<T>> {
    let slot = EVENTS.reserve_untyped::<T>(0);
    if slot.is_none() {
        count::counted(Counter::LostRecords);
    }
    slot
}

#[inline(always)]
fn settle<T: 'static>(slot: RingBufEntry<T>, copied: bool) -> bool {
    if copied {
        slot.submit(0);
    } else {
        count::failed(Program::Egress, Helper::SkbLoadBytes);
        slot.discard(0);
    }
    copied
}
