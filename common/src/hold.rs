//! The hold record: what the kernel keeps with a socket (`HOLDS`, sk_storage) while it may be held.
//!
//! Knows nothing of user space: only the programs write it, and it dies with its socket.

use crate::{
    Shared,
    id::{CgroupId, MonoTime, NetnsCookie},
};

/// Length of a task's command name, `TASK_COMM_LEN` in include/linux/sched.h.
pub const COMM_LEN: usize = 16;

/// The connect hook saw the process: [`Connector`] is filled.
pub const ATTRIBUTED: u32 = 1 << 0;
/// The first SYN timeout was shortened.
pub const SHORT_RTO: u32 = 1 << 1;
/// The application set its own `TCP_SYNCNT`, which is kept: the kernel's own back-off counts, not our retry rate.
pub const OWN_BUDGET: u32 = 1 << 2;
/// The last attempt passed: the socket is no longer held.
pub const RELEASED: u32 = 1 << 3;
/// The kernel's SYN budget ran out.
pub const EXPIRED: u32 = 1 << 4;
/// The application asked for errors (`IP_RECVERR`), and `setsockopt` has swallowed that.
pub const WANTS_ERRORS: u32 = 1 << 5;

/// Who called connect(), seen in the connect hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Connector {
    /// The socket's network namespace.
    pub netns: NetnsCookie,
    /// Process id in the initial pid namespace.
    pub tgid: u32,
    /// User and group id in the initial user namespace.
    pub uid: u32,
    /// Likewise.
    pub gid: u32,
    /// Always 0.
    pub reserved: u32,
    /// The process's name, NUL-padded.
    pub comm: [u8; COMM_LEN],
}

/// Value of `HOLDS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct HoldRecord {
    /// The pod's gate.
    pub gate: CgroupId,
    /// When the socket's first SYN was dropped; 0: never.
    pub first_drop: MonoTime,
    /// Who connects, where the connect hook ran.
    pub connector: Connector,
    /// Where a datagram that is on its way goes, before NAT, as of [`crate::record::ParkedRecord::dst_ip`]: sendto() alone knows.
    pub sent_to: [u8; 16],
    /// How many SYNs were dropped.
    pub attempts: u32,
    /// The agent ([`crate::gate::AgentEntry::epoch`]) that has a copy of the SYN; 0: none.
    pub parked_epoch: u32,
    /// Bits above.
    pub flags: u32,
    /// `net.ipv4.tcp_syn_retries` of the socket's namespace; 0: unknown.
    pub ordinary_retries: u32,
    /// The `TCP_SYNCNT` that the programs set last; 0: none. Another value on the socket is the application's own.
    pub syncnt: u32,
    /// What bounded the socket's back-off (`TCP_RTO_MAX_MS`) before the programs did, in milliseconds; 0: they have not.
    pub back_off_ms: u32,
    /// The port of `sent_to`, host byte order; 0: nowhere but where the socket is connected to.
    pub sent_to_port: u16,
    /// The IP version of `sent_to`, 4 or 6.
    pub sent_to_version: u16,
    /// Always 0.
    pub reserved: u32,
}

// SAFETY: repr(C), integers and byte arrays only, size asserted below to hold no padding.
unsafe impl Shared for Connector {}
// SAFETY: as above.
unsafe impl Shared for HoldRecord {}

const _: () = {
    assert!(size_of::<Connector>() == 8 + 4 * 4 + COMM_LEN);
    assert!(size_of::<HoldRecord>() == 2 * 8 + size_of::<Connector>() + 16 + 6 * 4 + 2 * 2 + 4);
};
