//! The records of the ring buffer `EVENTS`, from the programs to the agent.
//!
//! Knows nothing of what the agent makes of them. A record that found the buffer full is counted, and the SYN is
//! announced again at its next attempt.

use crate::{
    Shared,
    codes::codes,
    hold::Connector,
    id::{CgroupId, MonoTime, NetnsCookie, SocketCookie},
};

/// Bytes of a SYN that are kept, from the network header on: an IPv4 or IPv6 header with a full TCP header fits. A power of
/// two: the programs bound the copied length by a mask.
pub const SYN_LEN: usize = 128;

/// Bytes of a datagram that are kept, likewise: 1,232 of DNS, which is what resolvers announce with EDNS0 at most (DNS flag day
/// 2020), fit behind an IPv6 header. Of a longer one [`SYN_LEN`] are.
pub const DATAGRAM_LEN: usize = SYN_LEN + DATAGRAM_HEAD + DATAGRAM_TAIL;

/// What is copied of a long datagram behind its first [`SYN_LEN`] bytes, and then of its rest at most: a power of two, as above.
pub const DATAGRAM_HEAD: usize = 128;
/// Likewise.
pub const DATAGRAM_TAIL: usize = 1024;

/// IP protocols (IANA, "Assigned Internet Protocol Numbers").
pub const TCP: u32 = 6;
/// Likewise.
pub const UDP: u32 = 17;

codes! {
    /// What a record is; decides its length.
    RecordKind {
        /// A captured SYN was dropped for the first time (for this agent): [`ParkedRecord`].
        Parked = 1 "parked",
        /// A connection that was held has ended its SYN_SENT state: [`EndedRecord`].
        Ended = 2 "ended",
        /// Somebody listens on a capture port, or does so no longer: [`ListeningRecord`].
        Listening = 3 "listening",
        /// A captured datagram was dropped: [`ParkedRecord`], or [`DatagramRecord`] where it is longer than a SYN.
        Datagram = 4 "datagram",
    }
}

codes! {
    /// How a held connection ended its wait.
    Outcome {
        /// Connected.
        Established = 0 "established",
        /// Closed by the application, or its process ended.
        Abandoned = 1 "abandoned",
        /// The kernel's SYN budget or the application's own timeout ran out.
        Expired = 2 "expired",
        /// Answered with a reset after its release.
        Refused = 3 "refused",
        /// A DNS query, answered as truncated: its resolver asks again over TCP.
        Truncated = 4 "truncated",
    }
}

/// First bytes of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RecordHeader {
    /// When it happened.
    pub at: MonoTime,
    /// The pod's gate; 0 where it is not known (listeners).
    pub gate: CgroupId,
    /// The socket.
    pub socket: SocketCookie,
    /// [`RecordKind`] code.
    pub kind: u32,
    /// The socket's IP protocol: [`TCP`] or [`UDP`].
    pub protocol: u32,
}

/// A SYN was parked: the connection is held. Or a datagram, whose socket may send more of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ParkedRecord {
    /// What, when, whose.
    pub header: RecordHeader,
    /// When the socket's first SYN was dropped (earlier than `header.at` where an earlier record was lost).
    pub first_drop: MonoTime,
    /// The container's cgroup, one level below the pod's; 0: there is none.
    pub container: CgroupId,
    /// Who connects; zero where no connect hook ran.
    pub connector: Connector,
    /// The socket's user id, as `bpf_get_socket_uid` gives it.
    pub uid: u32,
    /// The socket's mark (`SO_MARK`); 0: none.
    pub mark: u32,
    /// The device that the socket is bound to (`SO_BINDTODEVICE`); 0: none.
    pub device: u32,
    /// 1: whoever asks goes on over TCP when its answer is truncated, and gives up when the kernel does: it connected its socket and
    /// asked for errors, as of all resolvers only glibc's does (since 2.31). 0: another one, or a SYN.
    pub over_tcp: u32,
    /// [`crate::reason::Reason`] code of the verdict.
    pub reason: u32,
    /// Valid bytes of `syn`, and of what follows in a [`DatagramRecord`].
    pub syn_len: u32,
    /// The socket's own destination, before NAT: an IPv4 address in the first 4 bytes, or an IPv6 address. Of a datagram that
    /// went to another than the socket is connected to, that one.
    pub dst_ip: [u8; 16],
    /// Its port, host byte order; 0: not known (a datagram of a socket that is not connected, where no sendmsg hook ran).
    pub dst_port: u16,
    /// The capture port that the packet went to, host byte order.
    pub capture_port: u16,
    /// IP version of the packet, 4 or 6 (a v4-mapped socket sends version 4).
    pub ip_version: u16,
    /// The socket's own source port, before NAT, host byte order: conntrack gives another one to the packet of a second
    /// connection from the same port, which the redirect would otherwise make the same.
    pub src_port: u16,
    /// The packet from its network header on; addresses and checksum as after NAT.
    pub syn: [u8; SYN_LEN],
}

/// A datagram that is longer than a SYN was parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DatagramRecord {
    /// As of a SYN. Its `syn` is the packet's beginning, and `syn_len` counts what follows as well.
    pub parked: ParkedRecord,
    /// What follows.
    pub rest: [u8; DATAGRAM_LEN - SYN_LEN],
}

/// A held connection is no longer waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct EndedRecord {
    /// What, when, whose.
    pub header: RecordHeader,
    /// When the socket's first SYN was dropped.
    pub first_drop: MonoTime,
    /// How many SYNs were dropped.
    pub attempts: u32,
    /// [`Outcome`] code.
    pub outcome: u32,
}

/// Somebody called listen() on a capture port, or closed such a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ListeningRecord {
    /// What, when.
    pub header: RecordHeader,
    /// Where; 0 on kernels that cannot tell (before 5.15).
    pub netns: NetnsCookie,
    /// The port, host byte order.
    pub port: u32,
    /// 1: listens; 0: listens no longer.
    pub listens: u32,
}

// SAFETY: repr(C), integers and byte arrays only, sizes asserted below to hold no padding.
unsafe impl Shared for RecordHeader {}
// SAFETY: as above.
unsafe impl Shared for ParkedRecord {}
// SAFETY: as above.
unsafe impl Shared for DatagramRecord {}
// SAFETY: as above.
unsafe impl Shared for EndedRecord {}
// SAFETY: as above.
unsafe impl Shared for ListeningRecord {}

const _: () = {
    assert!(SYN_LEN.is_power_of_two() && SYN_LEN >= 40 + 60);
    assert!(size_of::<RecordHeader>() == 32);
    assert!(size_of::<ParkedRecord>() == 32 + 2 * 8 + size_of::<Connector>() + 4 * 4 + 8 + 16 + 8 + SYN_LEN);
    assert!(DATAGRAM_TAIL.is_power_of_two() && DATAGRAM_LEN == 40 + 8 + 1232);
    assert!(size_of::<DatagramRecord>() == size_of::<ParkedRecord>() + DATAGRAM_LEN - SYN_LEN);
    assert!(core::mem::offset_of!(ParkedRecord, syn) + SYN_LEN == size_of::<ParkedRecord>());
    assert!(size_of::<EndedRecord>() == 48);
    assert!(size_of::<ListeningRecord>() == 48);
};
