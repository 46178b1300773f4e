//! Why: one closed set of words for verdicts and for gate transitions.
//!
//! The same word is the metric label, the log field, the Kubernetes Event and the answer of `explain`.

use crate::codes::codes;

codes! {
    /// Why a captured SYN was held or passed, and why a gate opened.
    Reason {
        /// The gate is open: the proxy reported ready.
        Ready = 0 "ready",
        /// Somebody listens on the capture port, and that is enough here.
        Listening = 1 "listening",
        /// The cap (or the grace of an unclassified pod) has passed.
        Timeout = 2 "timeout",
        /// An operator opened the gate.
        Operator = 3 "operator",
        /// The workload terminates.
        Terminating = 4 "terminating",
        /// The agent's heartbeat is stale: nobody could open the gate.
        AgentStale = 5 "agent-stale",
        /// The workload does not ask for a gate.
        NotEnrolled = 6 "not-enrolled",
        /// The container or uid is exempt: the proxy itself, an init container.
        Exempt = 7 "exempt",
        /// Held: the proxy listens but has not reported ready.
        NotReady = 8 "not-ready",
        /// Held: nobody listens on the capture port, the SYN could only be refused.
        NoListener = 9 "no-listener",
        /// Held: the agent has not classified the pod or container yet; while nobody listens, or its pod's gate is closed.
        Unclassified = 10 "unclassified",
        /// A code in a map is not of this ABI: the connection goes on.
        Invalid = 11 "invalid",
        /// The gate is open: the ready endpoint cannot be asked, but somebody listens and the kubelet says that the
        /// proxy's container is ready.
        KubeletReady = 12 "kubelet-ready",
    }
}

impl Reason {
    /// Whether it is a reason to hold; the others are reasons to pass.
    #[must_use]
    pub const fn holds(self) -> bool {
        match self {
            Self::NotReady | Self::NoListener | Self::Unclassified => true,
            Self::Ready
            | Self::Listening
            | Self::Timeout
            | Self::Operator
            | Self::Terminating
            | Self::AgentStale
            | Self::NotEnrolled
            | Self::Exempt
            | Self::Invalid
            | Self::KubeletReady => false,
        }
    }
}
