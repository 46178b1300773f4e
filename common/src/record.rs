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

/// IP protocols (IANA, "Assigned Internet Protocol Numbers").
pub const TCP: u32 = 6;
/// Likewise.
pub const UDP: u32 = 17;

codes! {
    /// What a record is; decides its length.
    RecordKind {
        /// A captured SYN was dropped for the first time (for this agent), or a captured datagram: [`ParkedRecord`].
        Parked = 1 "parked",
        /// A connection that was held has ended its SYN_SENT state: [`EndedRecord`].
        Ended = 2 "ended",
        /// Somebody listens on a capture port, or does so no longer: [`ListeningRecord`].
        Listening = 3 "listening",
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
    /// Always 0.
    pub reserved: u32,
    /// [`crate::reason::Reason`] code of the verdict.
    pub reason: u32,
    /// Valid bytes of `syn`.
    pub syn_len: u32,
    /// The socket's own destination, before NAT: an IPv4 address in the first 4 bytes, or an IPv6 address.
    pub dst_ip: [u8; 16],
    /// The socket's own destination port, host byte order.
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
unsafe impl Shared for EndedRecord {}
// SAFETY: as above.
unsafe impl Shared for ListeningRecord {}

const _: () = {
    assert!(SYN_LEN.is_power_of_two() && SYN_LEN >= 40 + 60);
    assert!(size_of::<RecordHeader>() == 32);
    assert!(size_of::<ParkedRecord>() == 32 + 2 * 8 + size_of::<Connector>() + 4 * 4 + 8 + 16 + 8 + SYN_LEN);
    assert!(size_of::<EndedRecord>() == 48);
    assert!(size_of::<ListeningRecord>() == 48);
};
