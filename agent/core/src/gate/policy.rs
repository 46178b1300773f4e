//! What a workload asks of its gate.
//!
//! Knows nothing of annotations or options: they are parsed into this at the edge.

use std::time::Duration;

use conngate_common::{gate::Mode, reason::Reason};

use super::Want;

/// When a gate opens, and what happens if it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What the closed gate does with a captured connection.
    pub mode: Mode,
    /// The longest hold, from the first drop of the gate's first connection.
    pub timeout: Duration,
    /// What happens then.
    pub on_timeout: OnTimeout,
    /// What counts as ready.
    pub readiness: Readiness,
    /// Hold again when nobody listens any longer, at most this long; `None`: never again.
    pub regate: Option<Duration>,
}

/// What happens to the connections that still wait at the timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTimeout {
    /// They go on, as without a gate.
    Release,
    /// They end with an error.
    Reset,
}

/// What counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The proxy's own ready endpoint says so.
    Probe,
    /// Somebody listens on a capture port.
    Listener,
}

impl Policy {
    /// What has to be found for the gate to open. In mode retry the kernel lets a SYN pass as soon as somebody listens,
    /// so that waiting for more would only leave the parked ones behind.
    pub(super) const fn want(&self) -> Want {
        match (self.mode, self.readiness) {
            (Mode::Retry, _) | (_, Readiness::Listener) => Want::Listener,
            (Mode::Hold | Mode::Observe, Readiness::Probe) => Want::Ready,
        }
    }

    /// Why the gate is closed: what it waits for is not there.
    pub(super) const fn closed_reason(&self) -> Reason {
        match self.want() {
            Want::Ready => Reason::NotReady,
            Want::Listener => Reason::NoListener,
        }
    }
}
