//! What is known of each gate besides what the core knows: its spec, and where its workload's namespace is.
//!
//! Knows nothing of when a gate opens.

use std::{
    collections::HashMap,
    mem,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use conngate_common::{
    gate::{CapturePorts, ContainerClass, GateEntry, GateState, MAX_EXEMPT_UIDS, Mode, NO_UID},
    id::{CgroupId, MonoTime, NetnsCookie},
    reason::Reason,
};
use tokio::{sync::Notify, time::timeout};

use crate::{
    cgroup::pods::PodCgroup,
    inject::Target,
    looks::{Looks, Sandbox},
    netns::{Netns, same},
    ready::probe,
    spec::GateSpec,
};

/// Where a workload's network namespace is found.
#[derive(Clone, Debug)]
pub enum Home {
    /// It is this one, of a command in a cgroup of its own.
    Command(Netns, PathBuf),
    /// It is that of the processes in this pod, once there are some: to be looked for.
    Pod(PodCgroup, Looks),
}

/// One gate.
pub struct Enrolled {
    /// What the workload asks for; `None`: nothing.
    pub spec: Option<GateSpec>,
    pub(super) home: Home,
    /// The workload's namespace, once it is known.
    netns: Option<Netns>,
    /// It is being looked for.
    looking: bool,
    /// Whether somebody looks for the proxy's end.
    pub(super) silence: Silence,
    /// Whether there is anybody to ask.
    pub(super) wakes: Wakes,
    /// How long one probe may take: more for a proxy that was late.
    pub(super) patience: Duration,
    /// What the proxy was found to be, in words, and when.
    pub found: Option<(MonoTime, String)>,
    /// How many of its DNS queries were answered as truncated.
    pub dns_truncated: u64,
    /// What was written to the kernel last.
    pub(super) state: Option<(GateState, Reason)>,
    /// When it was opened, while it is open.
    pub(super) opened: Option<MonoTime>,
    /// When it was closed last; the beginning of time for a gate that an earlier agent has closed.
    pub(super) closed_at: MonoTime,
}

/// Whether the proxy listens at all, as far as the kernel tells: as long as it does not, it is asked but once a second. Shared with
/// a probe that waits for its turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Wakes(Arc<(AtomicBool, Notify)>);

impl Wakes {
    /// How much later a proxy is asked that does not listen.
    const QUIET: Duration = Duration::from_millis(750);

    /// Nobody listens.
    pub(super) fn quiet(&self) {
        self.0.0.store(true, Relaxed);
    }

    /// Somebody does.
    fn wake(&self) {
        self.0.0.store(false, Relaxed);
        self.0.1.notify_waiters();
    }

    /// Waits for somebody to ask, or a while.
    pub(super) async fn wait(&self) {
        let woken = self.0.1.notified();
        if self.0.0.load(Relaxed) {
            // Either is as good.
            let _ = timeout(Self::QUIET, woken).await;
        }
    }
}

/// What a look for the workload's namespace says of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It goes on, or has not begun.
    Same,
    /// It has begun.
    First,
    /// The one that was known is over.
    Another,
}

/// One look at a time, and one more for all that happened meanwhile.
#[derive(Debug, Default)]
pub(super) struct Silence {
    asked: bool,
    again: bool,
}

impl Silence {
    /// There is news; says whether to look now.
    pub(super) const fn ask(&mut self) -> bool {
        self.again = self.asked;
        !mem::replace(&mut self.asked, true)
    }

    /// A look was taken; says whether there was news meanwhile.
    pub(super) const fn answered(&mut self) -> bool {
        self.asked = false;
        mem::replace(&mut self.again, false)
    }
}

impl Enrolled {
    /// The gate as the kernel reads it.
    pub(super) fn entry(&self, state: GateState, reason: Reason) -> GateEntry {
        match &self.spec {
            Some(spec) => spec.entry(state, reason, self.closed_at),
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
        }
    }

    /// Where its packets are to be sent.
    pub(super) fn target(&mut self, gate: CgroupId) -> Target {
        Target { gate, home: self.netns(), pod: self.home.pod().cloned() }
    }

    /// The workload's namespace; `None`: it is not known yet, and is looked for.
    pub(super) fn netns(&mut self) -> Option<Netns> {
        match &self.home {
            Home::Command(netns, _) => Some(netns.clone()),
            Home::Pod(..) if self.netns.is_some() => self.netns.clone(),
            Home::Pod(pod, looks) => {
                self.looking = self.looking || looks.netns(pod, None);
                None
            }
        }
    }

    /// Whether the workload's namespace is known.
    pub(super) const fn knows_netns(&self) -> bool {
        self.netns.is_some()
    }

    /// Somebody listens at `port`: if it is the proxy's own, there is somebody to ask.
    pub(super) fn heard(&self, port: u16) {
        if self.spec.as_ref().is_some_and(|spec| spec.capture_ports.0[0] == port) {
            self.wakes.wake();
        }
    }

    /// Looks for the workload's namespace, which may be another one now.
    pub(super) fn look_for_netns(&mut self) {
        if let Home::Pod(pod, looks) = &self.home {
            // One that is under way may have looked too early; the queue of looks is bounded.
            self.looking = looks.netns(pod, self.netns.clone());
        }
    }

    /// The workload's namespace was looked for.
    pub(super) fn found_netns(&mut self, found: Sandbox) -> Life {
        self.looking = false;
        let found = match found {
            Sandbox::Netns(netns) => Some(netns),
            Sandbox::Nobody => None,
            Sandbox::Unknown => return Life::Same,
        };
        let life = match (&self.netns, &found) {
            (Some(known), Some(found)) if same(known, found) => Life::Same,
            (Some(_), _) => {
                self.wakes.wake();
                Life::Another
            }
            (None, Some(_)) => Life::First,
            (None, None) => Life::Same,
        };
        self.netns = found;
        life
    }
}

impl Home {
    /// The workload's cgroup.
    pub(super) fn cgroup(&self) -> &Path {
        match self {
            Self::Command(_, cgroup) => cgroup,
            Self::Pod(pod, _) => &pod.path,
        }
    }

    /// The pod, where it is one.
    pub(super) fn pod(&self) -> Option<&PodCgroup> {
        match self {
            Self::Command(..) => None,
            Self::Pod(pod, _) => Some(pod),
        }
    }
}

/// All gates.
#[derive(Default)]
pub(super) struct Enrolments(HashMap<CgroupId, Enrolled>);

impl Enrolments {
    pub(super) fn insert(&mut self, gate: CgroupId, spec: Option<GateSpec>, home: Home) {
        let fresh = Enrolled {
            spec,
            home,
            netns: None,
            looking: false,
            silence: Silence::default(),
            wakes: Wakes::default(),
            patience: probe::DEADLINE,
            found: None,
            dns_truncated: 0,
            state: None,
            opened: None,
            closed_at: MonoTime(0),
        };
        let enrolled = match self.0.remove(&gate) {
            Some(before) => Enrolled { spec: fresh.spec, home: fresh.home, ..before },
            None => fresh,
        };
        self.0.insert(gate, enrolled);
    }

    pub(super) fn remove(&mut self, gate: CgroupId) {
        self.0.remove(&gate);
    }

    pub(super) fn get(&self, gate: CgroupId) -> Option<&Enrolled> {
        self.0.get(&gate)
    }

    pub(super) fn by_gate(&mut self, gate: CgroupId) -> Option<&mut Enrolled> {
        self.0.get_mut(&gate)
    }

    /// The gates whose connections are captured at `port` in `netns`; in any namespace where the kernel cannot tell (0). One
    /// whose namespace is not known yet asks by itself once it is.
    pub(super) fn captured(&mut self, netns: NetnsCookie, port: u16) -> Vec<CgroupId> {
        let unknown = NetnsCookie(0);
        let matches = |enrolled: &mut Enrolled| {
            let captures = enrolled.spec.as_ref().is_some_and(|spec| spec.capture_ports.contains(port));
            captures && (netns == unknown || enrolled.netns().is_some_and(|own| own.cookie() == netns))
        };
        self.0.iter_mut().filter_map(|(gate, enrolled)| matches(enrolled).then_some(*gate)).collect()
    }
}
