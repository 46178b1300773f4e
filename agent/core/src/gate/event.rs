//! What the core is told.
//!
//! Knows nothing of who tells it. An event of a gate that nobody announced (enrolled, declined, resumed) changes nothing;
//! only the copy of a SYN that came with it is given back.

use conngate_common::{
    id::{CgroupId, MonoTime, SocketCookie},
    reason::Reason,
    record::Outcome,
};

use super::Policy;

/// Something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A workload asks for a gate, or asks for another policy on the one it has. An open gate stays open, unless the
    /// workload had declined before.
    Enrolled {
        /// The workload's gate.
        gate: CgroupId,
        /// What it asks for.
        policy: Policy,
    },
    /// A workload asks for no gate, or asks no longer: whatever waits goes on.
    Declined {
        /// The workload's gate.
        gate: CgroupId,
    },
    /// A workload that is ready already asks for a gate, or one whose gate another agent has opened: it is open from the
    /// beginning. An existing gate is only given the policy, and the reason if it had declined.
    Resumed {
        /// The workload's gate.
        gate: CgroupId,
        /// What it asks for.
        policy: Policy,
        /// Why it is open.
        reason: Reason,
    },
    /// A workload is being deleted: nothing of it is held from now on.
    Terminating {
        /// The workload's gate.
        gate: CgroupId,
    },
    /// The workload is gone.
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
    /// Somebody called listen() on a capture port. Only makes the gate ask: it may be another port's listener, or gone.
    Listening {
        /// Whose.
        gate: CgroupId,
    },
    /// Nobody listens on any capture port any longer. A gate that had opened because the proxy was ready closes again, if
    /// its policy says so.
    Silent {
        /// Whose.
        gate: CgroupId,
    },
    /// The workload begins anew, in another network namespace or in none yet: its gate is closed and asked, whatever it was
    /// open for, unless the workload declined or is being deleted.
    Renewed {
        /// Whose.
        gate: CgroupId,
    },
    /// One of the workload's containers starts while its others go on. A gate that timed out is closed and asked again: what
    /// starts now is held as what started first was. So is one that opened for a listener, who may be gone.
    Restarted {
        /// Whose.
        gate: CgroupId,
    },
    /// What the kubelet says of the proxy's container. It counts only where the ready endpoint cannot be asked.
    Vouched {
        /// Whose.
        gate: CgroupId,
        /// Ready, by the kubelet.
        ready: bool,
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
    /// Neither.
    NotReady,
    /// Nobody could be asked: nobody listens there.
    Unanswered,
}
