//! Who held before this agent, and the pods that nobody held for: containers of theirs had started already.
//!
//! An earlier agent, or the boot unit (`conngate boot`), whose word is still fresh has held until now, and what it held stays held
//! for as long as it has allowed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use conngate_common::{
    gate::{AgentEntry, ContainerClass, Mode},
    id::{CgroupId, MonoTime},
};

use super::{GRACE, Node, What};
use crate::{
    backoff::after,
    pod::{Pod, Started, is_container},
};

/// What started longer ago has got over it: who installs conngate hears of the pods of the last hour only.
const LONG_AGO: Duration = Duration::from_secs(60 * 60);

/// By how much a status tells a start too early.
const ROUNDED: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// Since when connections have been held without a gap; `None`: they are not yet.
    since: Option<MonoTime>,
    /// The pods of which there is nothing to tell: known to an earlier agent, told, or declined.
    settled: BTreeSet<CgroupId>,
    /// The containers that were seen to come just after that: a status says too roughly when.
    came: BTreeSet<String>,
    /// The longer grace of whoever held before, and until when it counts.
    grace: Option<(Duration, MonoTime)>,
}

impl Early {
    /// The container of `pod` that had started before anybody held.
    fn container<'a>(&self, gate: CgroupId, pod: &'a Pod) -> Option<&'a str> {
        let since = self.since.filter(|_| !self.settled.contains(&gate))?;
        let came = |started: &Started| {
            after(started.at, ROUNDED) > since
                && started.id.as_ref().is_some_and(|id| self.came.iter().any(|came| is_container(id, came)))
        };
        let is_early = |started: &Started| started.at < since && after(started.at, LONG_AGO) > since && !came(started);
        let mut gated = pod.containers.iter().filter(|container| container.class == ContainerClass::Gated);
        gated.find(|container| container.started.as_ref().is_some_and(is_early)).map(|container| &*container.name)
    }
}

impl Node {
    /// Somebody was here before, and has said this of itself.
    pub(super) fn succeed(&mut self, earlier: &AgentEntry) {
        if !earlier.is_fresh(self.now) {
            return;
        }
        self.early.since = Some(MonoTime(0));
        let end = after(earlier.heartbeat, Duration::from_nanos(earlier.stale_after_ns));
        // In any case as long as it takes to tell whose they are.
        self.early.grace = Some((Duration::from_nanos(earlier.grace_ns), end.max(after(self.now, GRACE))));
    }

    /// The programs are attached.
    pub(super) fn attached(&mut self) {
        self.early.since.get_or_insert(self.now);
    }

    /// A pod's containers are these now: what was not there when all were looked for has come since.
    pub(super) fn note_coming(&mut self, gate: CgroupId, there: &BTreeMap<CgroupId, Option<String>>) {
        let is_soon = |since: MonoTime| self.now < after(since, 5 * ROUNDED);
        if self.walked && self.early.since.is_none_or(is_soon) {
            let known: BTreeSet<_> = self.pods.there().filter(|(of, _)| *of == gate).map(|(_, id)| id).collect();
            let came = there.iter().filter(|(cgroup, _)| !known.contains(cgroup));
            self.early.came.extend(came.filter_map(|(_, id)| id.clone()));
        }
    }

    /// The longest that an unclassified connection is held now.
    #[must_use]
    pub fn grace(&self) -> Duration {
        let longer = self.early.grace.filter(|(_, until)| self.now < *until);
        longer.map_or(GRACE, |(grace, _)| grace.max(GRACE))
    }

    /// An earlier agent knew these.
    pub(super) fn knew(&mut self, gates: impl Iterator<Item = CgroupId>) {
        self.early.settled.extend(gates);
    }

    /// Tells, once, of a pod that asks for a gate and was there first.
    pub(super) fn tell_early(&mut self, gate: CgroupId) {
        let Some(pod) = self.pods.pod(gate).cloned() else { return };
        match (self.pods.is_gated(gate), self.mode(gate)) {
            (Some(true), Some(Mode::Hold | Mode::Retry)) => {
                if let Some(container) = self.early.container(gate, &pod) {
                    self.early.settled.insert(gate);
                    self.tell(gate, What::StartedBefore { container: container.into() });
                }
            }
            // It did not ask in time.
            (Some(_), _) => drop(self.early.settled.insert(gate)),
            (None, _) => {}
        }
    }

    /// The pod is gone.
    pub(super) fn forget_early(&mut self, gate: CgroupId) {
        self.early.settled.remove(&gate);
    }
}
