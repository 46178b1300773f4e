//! What the core wants done.
//!
//! Knows nothing of how. Effects are carried out in their order; each may be carried out twice.

use std::time::Duration;

use conngate_common::{
    gate::GateState,
    id::{CgroupId, SocketCookie},
    reason::Reason,
};

/// Something should be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The gate's entry in the kernel, with the mode, ports and cap of the policy it was enrolled with last.
    Write {
        /// Which.
        gate: CgroupId,
        /// What it does.
        state: GateState,
        /// Why.
        reason: Reason,
    },
    /// The gate has no entry in the kernel, and a probe of it that is under way is of no interest.
    Forget {
        /// Which.
        gate: CgroupId,
    },
    /// Ask once, now, and answer with [`super::Event::Probed`].
    Probe {
        /// Whose.
        gate: CgroupId,
        /// What to look for.
        want: Want,
    },
    /// Send these parked SYNs again, now, in this order; keep the copies.
    Replay {
        /// Whose.
        gate: CgroupId,
        /// Which, never empty.
        sockets: Vec<SocketCookie>,
    },
    /// End these connections with an error.
    Reset {
        /// Whose.
        gate: CgroupId,
        /// Which, never empty.
        sockets: Vec<SocketCookie>,
    },
    /// The copy of this SYN is not needed any more.
    Unpark {
        /// Whose.
        gate: CgroupId,
        /// Which.
        socket: SocketCookie,
    },
    /// The gate was opened: for the log, the Event, the one line on stderr.
    Opened {
        /// Which.
        gate: CgroupId,
        /// What there is to say.
        summary: Summary,
    },
}

impl Effect {
    /// Whose it is.
    #[must_use]
    pub const fn gate(&self) -> CgroupId {
        match self {
            Self::Write { gate, .. }
            | Self::Forget { gate }
            | Self::Probe { gate, .. }
            | Self::Replay { gate, .. }
            | Self::Reset { gate, .. }
            | Self::Unpark { gate, .. }
            | Self::Opened { gate, .. } => *gate,
        }
    }
}

/// What a probe looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// A proxy that says it is ready.
    Ready,
    /// Somebody who listens where the waiting connections go; while none waits, on the first capture port.
    Listener,
}

/// What a gate did while it was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Why it opened.
    pub reason: Reason,
    /// How many connections it held. One whose record comes after the opening is replayed, not counted.
    pub held: u64,
    /// From the first drop of all to the opening; zero when nothing was held.
    pub longest: Duration,
    /// How many connections still waited as it opened: they are replayed, or were reset.
    pub waiting: usize,
}
