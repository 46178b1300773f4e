//! What a workload asks of its gate, complete: when it opens, where the mesh captures, whom to ask.
//!
//! Knows nothing of where it was written: options and annotations are parsed into this at the edge.

use std::time::Duration;

use conngate_common::{
    gate::{CapturePorts, ContainerClass, GateEntry, GateState, MAX_EXEMPT_UIDS, Mode},
    id::MonoTime,
    reason::Reason,
};

use crate::{
    gate::{OnTimeout, Policy, Readiness},
    url::ReadyUrl,
};

/// The kernel's own cap lies this much after the agent's longest hold, timeout or regate: a living agent acts first.
const CAP_MARGIN: Duration = Duration::from_secs(1);

/// What a workload asks of its gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateSpec {
    /// When it opens.
    pub policy: Policy,
    /// Where the mesh redirects to.
    pub capture_ports: CapturePorts,
    /// Where the mesh redirects DNS over UDP to.
    pub datagram_ports: CapturePorts,
    /// Whether a DNS query that waits for long is answered as truncated, so that its resolver asks again over TCP.
    pub dns_truncate: bool,
    /// Whose connections are never held ([`conngate_common::gate::NO_UID`]: unused).
    pub exempt_uids: [u32; MAX_EXEMPT_UIDS],
    /// What containers are that nobody classified.
    pub default_class: ContainerClass,
    /// What to ask; `None`: a listener is enough.
    pub ready_url: Option<ReadyUrl>,
}

impl GateSpec {
    /// The spec of a closed gate that an earlier agent left, as far as the kernel knows it: whom to ask it does not, so a
    /// listener is enough. `None`: the gate is not closed, or not of this ABI.
    #[must_use]
    pub fn inherited(entry: &GateEntry) -> Option<Self> {
        (entry.state == GateState::Holding.code()).then_some(())?;
        Some(Self {
            policy: Policy {
                mode: Mode::try_from(entry.mode).ok()?,
                timeout: Duration::from_nanos(entry.cap_ns).saturating_sub(CAP_MARGIN),
                on_timeout: OnTimeout::Release,
                readiness: Readiness::Listener,
                regate: None,
            },
            capture_ports: entry.capture_ports,
            datagram_ports: entry.datagram_ports,
            dns_truncate: true,
            exempt_uids: entry.exempt_uids,
            default_class: ContainerClass::try_from(entry.default_class).ok()?,
            ready_url: None,
        })
    }

    /// Whether a query that went to this capture port is answered as truncated when it waits for long: only where TCP to the same
    /// port of the nameserver is captured as well, and so waits too.
    #[must_use]
    pub fn truncates(&self, capture_port: u16) -> bool {
        self.dns_truncate && self.capture_ports.contains(capture_port)
    }

    /// The gate as the kernel reads it.
    #[must_use]
    pub fn entry(&self, state: GateState, reason: Reason, closed_at: MonoTime) -> GateEntry {
        let longest = self.policy.regate.map_or(self.policy.timeout, |regate| regate.max(self.policy.timeout));
        let cap = longest.saturating_add(CAP_MARGIN);
        GateEntry {
            cap_ns: u64::try_from(cap.as_nanos()).unwrap_or(u64::MAX),
            closed_at,
            state: state.code(),
            mode: self.policy.mode.code(),
            reason: reason.code(),
            default_class: self.default_class.code(),
            exempt_uids: self.exempt_uids,
            capture_ports: self.capture_ports,
            datagram_ports: self.datagram_ports,
        }
    }
}
