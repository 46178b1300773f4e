//! What is known of one gate besides what the gate itself knows: its spec, its network namespace, and how its proxy answers.

use std::{mem, sync::Arc, time::Duration};

use conngate_common::{
    gate::{CapturePorts, ContainerClass, GateEntry, GateState, MAX_EXEMPT_UIDS, Mode, NO_UID},
    id::{MonoTime, NetnsCookie},
    reason::Reason,
};

use crate::{backoff::Backoff, spec::GateSpec};

/// How long one probe may take: a proxy that was late has longer, up to what Istio's own probe allows (istio#27384).
pub const PROBE_DEADLINE: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(3));

/// A network namespace: two that are the same are one, as long as somebody keeps it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Netns {
    /// As records tell it; 0: this kernel has none.
    pub cookie: NetnsCookie,
    /// Of its file (`st_dev`, `st_ino`).
    pub device: u64,
    /// See `device`.
    pub inode: u64,
}

/// What was seen of a pod's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// It is this one.
    Netns(Netns),
    /// The pod has no process that is in any but the node's.
    Nobody,
    /// It could not be seen.
    Unknown,
}

/// What a look at a pod's network namespace says of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It goes on, or has not begun.
    Same,
    /// It has begun.
    First,
    /// The one that was known is over.
    Another,
}

/// One gate's workload.
#[derive(Debug, Default)]
pub struct Workload {
    /// What it asks for; `None`: nothing.
    pub spec: Option<GateSpec>,
    /// How people call its pod.
    pub(crate) name: Option<Arc<str>>,
    /// What its proxy was found to be, in words, and when.
    pub found: Option<(MonoTime, String)>,
    pub(crate) netns: Option<Netns>,
    /// Whether somebody looks for its namespace.
    pub(crate) sandbox: Inquiry,
    /// The last look could not see its namespace.
    pub(crate) unseen: bool,
    /// Whether somebody looks for the proxy's end.
    pub(crate) silence: Inquiry,
    /// Nobody listens where the proxy would, as far as the kernel tells: there is nobody to ask.
    pub(crate) quiet: bool,
    /// When it was told last that somebody listens.
    pub(crate) heard: Option<MonoTime>,
    /// Probes in a row that were too late.
    late: u32,
    /// What the kernel was told last.
    pub(crate) state: Option<(GateState, Reason)>,
    /// When it was opened, while it is open.
    pub(crate) opened: Option<MonoTime>,
    /// When it was closed last.
    pub(crate) closed_at: MonoTime,
    /// It is open, and its datagrams are held until somebody is bound where they go.
    pub(crate) awaits_dns: bool,
    /// What an earlier agent left in the kernel, until this one writes.
    pub(crate) inherited: Option<GateEntry>,
    /// How many of its DNS queries were answered as truncated.
    pub dns_truncated: u64,
}

/// One look at a time, and one more for all that happened meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Inquiry {
    asked: bool,
    again: bool,
}

impl Inquiry {
    /// Whether a look is under way.
    pub(crate) const fn is_open(&self) -> bool {
        self.asked
    }

    /// There is news; says whether to look now.
    pub(crate) const fn ask(&mut self) -> bool {
        self.again = self.asked;
        !mem::replace(&mut self.asked, true)
    }

    /// A look was taken; says whether there was news meanwhile.
    pub(crate) const fn answered(&mut self) -> bool {
        self.asked = false;
        mem::replace(&mut self.again, false)
    }
}

impl Workload {
    /// The gate as the kernel should have it; `None`: it should have none.
    #[must_use]
    pub fn entry(&self) -> Option<GateEntry> {
        let (state, reason) = self.state?;
        Some(match &self.spec {
            Some(spec) => {
                let mut entry = spec.entry(state, reason, self.closed_at);
                if state != GateState::Holding && !self.awaits_dns {
                    entry.datagram_ports = CapturePorts::default();
                }
                entry
            }
            None => GateEntry {
                cap_ns: 0,
                closed_at: self.closed_at,
                state: state.code(),
                mode: Mode::Observe.code(),
                reason: reason.code(),
                default_class: ContainerClass::Exempt.code(),
                exempt_uids: [NO_UID; MAX_EXEMPT_UIDS],
                capture_ports: CapturePorts::default(),
                datagram_ports: CapturePorts::default(),
            },
        })
    }

    /// The gate goes into this state: notes since when, and whether its datagrams are held on.
    pub(crate) fn turn(&mut self, now: MonoTime, state: GateState, reason: Reason) {
        let before = self.inherited.take().or_else(|| self.entry());
        if state == GateState::Holding {
            let closed = before.filter(|before| before.state == state.code()).map(|before| before.closed_at);
            self.closed_at = closed.unwrap_or(now);
        }
        let held = before.is_some_and(|before| before.datagram_ports != CapturePorts::default());
        self.awaits_dns = held && awaits_dns(state, reason);
        self.opened = (state == GateState::Open).then(|| self.opened.unwrap_or(now));
    }

    /// Its network namespace, where it is known.
    #[must_use]
    pub const fn netns(&self) -> Option<Netns> {
        self.netns
    }

    /// How long a probe may take.
    pub(crate) fn deadline(&self) -> Duration {
        PROBE_DEADLINE.delay(self.late)
    }

    /// The proxy was asked, and `is_late`.
    pub(crate) const fn answered(&mut self, is_late: bool) {
        self.late = if is_late { self.late.saturating_add(1) } else { 0 };
    }

    /// Whether connections to `port` are captured here.
    pub(crate) fn captures(&self, port: u16) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.capture_ports.contains(port))
    }

    /// The proxy's own port.
    pub(crate) fn port(&self) -> Option<u16> {
        self.spec.as_ref().map(|spec| spec.capture_ports.0[0])
    }

    /// Its network namespace was looked at.
    pub(crate) fn saw(&mut self, sandbox: Sandbox) -> Life {
        let found = match sandbox {
            Sandbox::Netns(netns) => Some(netns),
            Sandbox::Nobody => None,
            Sandbox::Unknown => return Life::Same,
        };
        let before = mem::replace(&mut self.netns, found);
        match (before, found) {
            (Some(before), Some(found)) if before == found => Life::Same,
            (Some(_), _) => {
                self.quiet = false;
                Life::Another
            }
            (None, Some(_)) => Life::First,
            (None, None) => Life::Same,
        }
    }
}

/// Whether a gate waits for its DNS in this state: it was opened because the proxy is ready, not because nobody waits any longer.
const fn awaits_dns(state: GateState, reason: Reason) -> bool {
    matches!((state, reason), (GateState::Open, Reason::Ready | Reason::Listening | Reason::KubeletReady))
}
