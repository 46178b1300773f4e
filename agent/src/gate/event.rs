//! What the core is told.
//!
//! Knows nothing of who tells it. An event of a gate that nobody enrolled changes nothing; only the copy of a SYN that
//! came with it is given back.

use conngate_common::{
    id::{CgroupId, MonoTime, SocketCookie},
    record::Outcome,
};

use super::Policy;

/// Something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A workload asks for a gate, or asks for another policy on the one it has. An open gate stays open.
    Enrolled {
        /// The workload's gate.
        gate: CgroupId,
        /// What it asks for.
        policy: Policy,
    },
    /// The workload is gone, or asks for a gate no longer.
    Retired {
        /// The workload's gate.
        gate: CgroupId,
    },
    /// A SYN was dropped, and a copy of it is kept. May be told twice, and after the gate was opened: the verdict and
    /// the opening met.
    Parked {
        /// Whose.
        gate: CgroupId,
        /// The socket that connects.
        socket: SocketCookie,
        /// When its first SYN was dropped.
        first_drop: MonoTime,
    },
    /// A connection that was held waits no longer.
    Ended {
        /// Whose.
        gate: CgroupId,
        /// Its socket.
        socket: SocketCookie,
        /// How it ended. The core does the same for all: the connection needs no help any more.
        outcome: Outcome,
    },
    /// Somebody called listen() on a capture port.
    Listening {
        /// Whose.
        gate: CgroupId,
    },
    /// The answer to an [`super::Effect::Probe`].
    Probed {
        /// Whose.
        gate: CgroupId,
        /// What was found.
        answer: Answer,
    },
    /// An operator opens the gate.
    Override {
        /// Which.
        gate: CgroupId,
    },
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The proxy says that it is ready; this is enough for every policy.
    Ready,
    /// Somebody listens on a capture port; enough where a listener is wanted.
    Listening,
    /// Neither, or nobody could tell in time.
    NotReady,
}
