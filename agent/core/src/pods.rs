//! The node's pods: joins their cgroups with what sources tell of them, and says what that means for gates.
//!
//! Either half of a pod may come first, and what follows is said once for as long as it stays true.
//!
//! Invariants:
//! - A pod of which nobody has told, or of which nobody can say yet what it asks for, is undecided: it has no gate, and is not
//!   declined.
//! - A gate belongs to one cgroup: a pod whose cgroup was made anew (a static pod's UID stays) has a new gate.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    sync::Arc,
};

use conngate_common::{gate::ContainerClass, id::CgroupId};

use crate::{
    pod::{Ask, Pod, Remark, is_container},
    spec::GateSpec,
    uid::PodUid,
};

/// The most pods of one node, far above any kubelet's maxPods; the kernel's table of gates has as many places.
const ROOM: usize = 4096;

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The pod asks for this gate.
    Enrol(CgroupId, Box<GateSpec>),
    /// The pod asks for no gate.
    Decline(CgroupId),
    /// The pod is being deleted.
    Terminate(CgroupId),
    /// The pod's cgroup is gone.
    Retire(CgroupId),
    /// A container is of another class now; `None`: its cgroup is gone.
    Container(CgroupId, Option<ContainerClass>),
    /// The kubelet says whether the proxy's container is ready, one that is there.
    Vouch(CgroupId, bool),
    /// Whoever wrote the pod should hear this.
    Remark(CgroupId, Remark),
}

/// What was decided last.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    /// With the classes of its containers.
    Gated(Box<GateSpec>, Vec<(String, ContainerClass)>),
    Declined,
    Terminating,
}

/// A container of a pod that was told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identified {
    name: Arc<str>,
    class: ContainerClass,
}

#[derive(Debug, Default)]
struct Entry {
    gate: Option<CgroupId>,
    pod: Option<Arc<Pod>>,
    decision: Option<Decision>,
    vouched: bool,
    remarks: Vec<Remark>,
    /// The cgroups of its containers, the sandbox's among them, as they were listed last, and the containers' ids.
    there: BTreeMap<CgroupId, Option<String>>,
    /// They were listed at all: of those that are there at first nobody knows when they came.
    listed: bool,
    identified: BTreeMap<CgroupId, Identified>,
    /// Those that waited in vain, and are not made to wait again.
    passed: BTreeSet<CgroupId>,
}

/// How a pod's containers are others than before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Containers {
    /// Some have come since they were listed last.
    pub came: bool,
    /// They are others, or are listed for the first time.
    pub changed: bool,
}

/// The pods of this node.
#[derive(Debug, Default)]
pub struct PodTable {
    entries: HashMap<PodUid, Entry>,
    gates: HashMap<CgroupId, PodUid>,
}

impl PodTable {
    /// A pod's cgroup is there.
    pub fn appeared(&mut self, uid: PodUid, gate: CgroupId) -> Vec<Change> {
        let before = self.entries.get(&uid).and_then(|entry| entry.gate);
        let mut changes = match before {
            Some(before) if before != gate => self.vanished(uid, before),
            Some(_) | None => Vec::new(),
        };
        self.gates.insert(gate, uid);
        self.entries.entry(uid).or_default().gate = Some(gate);
        changes.extend(self.settle(uid));
        changes
    }

    /// A pod's cgroup is gone.
    pub fn vanished(&mut self, uid: PodUid, gate: CgroupId) -> Vec<Change> {
        self.gates.remove(&gate);
        let Some(entry) = self.entries.get_mut(&uid).filter(|entry| entry.gate == Some(gate)) else {
            return Vec::new();
        };
        let before = mem::take(entry);
        entry.pod = before.pod;
        self.drop_if_empty(uid);
        let containers = before.identified.into_keys().map(|id| Change::Container(id, None));
        containers.chain([Change::Retire(gate)]).collect()
    }

    /// A source tells of a pod, for the first time or anew.
    pub fn seen(&mut self, pod: Arc<Pod>) -> Vec<Change> {
        let uid = pod.uid;
        if !self.entries.contains_key(&uid) && (pod.finished || self.entries.len() >= ROOM) {
            return Vec::new();
        }
        self.entries.entry(uid).or_default().pod = Some(pod);
        self.settle(uid)
    }

    /// The pod is no longer there, says a source; its last containers may still end.
    pub fn gone(&mut self, uid: PodUid) -> Vec<Change> {
        let Some(entry) = self.entries.get_mut(&uid) else { return Vec::new() };
        entry.pod = None;
        let changes = match (entry.gate, &entry.decision) {
            (Some(gate), Some(Decision::Gated(..))) => {
                entry.decision = Some(Decision::Terminating);
                vec![Change::Terminate(gate)]
            }
            _ => Vec::new(),
        };
        self.drop_if_empty(uid);
        changes
    }

    /// The cgroups below a pod's own, and the ids of their containers: those that are gone are forgotten.
    pub fn listed(&mut self, gate: CgroupId, there: BTreeMap<CgroupId, Option<String>>) -> (Containers, Vec<Change>) {
        let Some(entry) = self.entry_mut(gate) else { return Default::default() };
        let containers = Containers {
            came: entry.listed && there.keys().any(|id| !entry.there.contains_key(id)),
            changed: !entry.listed || !entry.there.keys().eq(there.keys()),
        };
        let gone: Vec<_> = entry.identified.keys().filter(|id| !there.contains_key(id)).copied().collect();
        entry.identified.retain(|id, _| there.contains_key(id));
        entry.passed.retain(|id| there.contains_key(id));
        (entry.there, entry.listed) = (there, true);
        let mut changes: Vec<_> = gone.into_iter().map(|id| Change::Container(id, None)).collect();
        changes.extend(entry.settle());
        (containers, changes)
    }

    /// Remembers which container a cgroup is; the empty name is none of the pod's. Answers its class.
    pub fn identified(&mut self, gate: CgroupId, container: CgroupId, name: Arc<str>) -> ContainerClass {
        let Some(entry) = self.entry_mut(gate) else { return ContainerClass::Exempt };
        let class = entry.class_of(&name);
        entry.identified.insert(container, Identified { name, class });
        class
    }

    /// Lets the connections of the containers that are there now pass, until [`PodTable::hold_again`].
    pub fn let_pass(&mut self, gate: CgroupId) -> Vec<Change> {
        let Some(entry) = self.entry_mut(gate) else { return Vec::new() };
        entry.passed.extend(entry.identified.keys());
        entry.reclassify()
    }

    /// Nothing is let pass any longer.
    pub fn hold_again(&mut self, gate: CgroupId) -> Vec<Change> {
        let Some(entry) = self.entry_mut(gate) else { return Vec::new() };
        entry.passed.clear();
        entry.reclassify()
    }

    /// Who hears of it has forgotten whether the proxy was vouched for.
    pub fn vouch_again(&mut self, gate: CgroupId) -> Vec<Change> {
        let Some(entry) = self.entry_mut(gate) else { return Vec::new() };
        entry.vouched = false;
        entry.settle()
    }

    fn settle(&mut self, uid: PodUid) -> Vec<Change> {
        self.entries.get_mut(&uid).map(Entry::settle).unwrap_or_default()
    }

    fn drop_if_empty(&mut self, uid: PodUid) {
        if self.entries.get(&uid).is_some_and(|entry| entry.pod.is_none() && entry.gate.is_none()) {
            self.entries.remove(&uid);
        }
    }

    fn entry_mut(&mut self, gate: CgroupId) -> Option<&mut Entry> {
        self.entries.get_mut(self.gates.get(&gate)?)
    }

    fn entry(&self, gate: CgroupId) -> Option<&Entry> {
        self.entries.get(self.gates.get(&gate)?)
    }
}

impl Entry {
    /// Says what has become true of the pod.
    fn settle(&mut self) -> Vec<Change> {
        let (Some(pod), Some(gate)) = (self.pod.clone(), self.gate) else { return Vec::new() };
        let mut changes = Vec::new();
        let fresh = pod.remarks.iter().filter(|remark| !self.remarks.contains(remark));
        changes.extend(fresh.map(|remark| Change::Remark(gate, remark.clone())));
        self.remarks.clone_from(&pod.remarks);
        let decision = match &pod.ask {
            // Not declined: what is held stays held until it is known, and what was decided stays.
            Ask::Undecided(_) => return changes,
            Ask::Gate(_) if pod.ending => Decision::Terminating,
            Ask::Gate(spec) => {
                let classes = pod.containers.iter().map(|container| (container.name.clone(), container.class));
                Decision::Gated(spec.clone(), classes.collect())
            }
            Ask::None(_) => Decision::Declined,
        };
        let before = self.decision.replace(decision.clone());
        let is_new = before.as_ref() != Some(&decision);
        match decision {
            Decision::Gated(spec, _) => {
                if is_new {
                    changes.push(Change::Enrol(gate, spec));
                }
                changes.extend(self.reclassify());
                // A status may be older than the pod's sandbox (a reboot keeps it): it counts for a container that is there.
                let is_there = |id: &str| self.there.values().flatten().any(|there| is_container(id, there));
                let mut proxies = pod.containers.iter().filter(|container| container.is_ready_proxy);
                let vouched = proxies.any(|proxy| proxy.id.as_deref().is_some_and(is_there));
                if mem::replace(&mut self.vouched, vouched) != vouched {
                    changes.push(Change::Vouch(gate, vouched));
                }
            }
            Decision::Declined if is_new => changes.push(Change::Decline(gate)),
            Decision::Terminating if is_new => changes.push(Change::Terminate(gate)),
            Decision::Declined | Decision::Terminating => {}
        }
        changes
    }

    fn reclassify(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut identified = mem::take(&mut self.identified);
        for (id, container) in &mut identified {
            let passes = self.passed.contains(id);
            let class = if passes { ContainerClass::Exempt } else { self.class_of(&container.name) };
            if mem::replace(&mut container.class, class) != class {
                changes.push(Change::Container(*id, Some(class)));
            }
        }
        self.identified = identified;
        changes
    }

    fn class_of(&self, name: &str) -> ContainerClass {
        match (&self.decision, &self.pod) {
            (Some(Decision::Gated(..)), Some(pod)) if !name.is_empty() => {
                let listed = pod.containers.iter().find(|container| container.name == name);
                listed.map_or(pod.unlisted, |container| container.class)
            }
            _ => ContainerClass::Exempt,
        }
    }
}

/// What is known.
impl PodTable {
    /// The UID after which the cgroup of this gate is named.
    #[must_use]
    pub fn uid(&self, gate: CgroupId) -> Option<PodUid> {
        self.gates.get(&gate).copied()
    }

    /// The gate of a pod, once its cgroup is there.
    #[must_use]
    pub fn gate(&self, uid: PodUid) -> Option<CgroupId> {
        self.entries.get(&uid)?.gate
    }

    /// Every gate, and the UID after which its cgroup is named.
    pub fn gates(&self) -> impl Iterator<Item = (CgroupId, PodUid)> {
        self.gates.iter().map(|(gate, uid)| (*gate, *uid))
    }

    /// The pod whose gate it is, once a source has told of it.
    #[must_use]
    pub fn pod(&self, gate: CgroupId) -> Option<&Arc<Pod>> {
        self.entry(gate)?.pod.as_ref()
    }

    /// Whether the pod has a gate; `None`: it is undecided, or there is none.
    #[must_use]
    pub fn is_gated(&self, gate: CgroupId) -> Option<bool> {
        self.entry(gate)?.decision.as_ref().map(|decision| matches!(decision, Decision::Gated(..)))
    }

    /// The pods of which nobody can say yet whether their connections are held.
    pub fn undecided(&self) -> impl Iterator<Item = CgroupId> {
        self.entries.values().filter(|entry| entry.decision.is_none()).filter_map(|entry| entry.gate)
    }

    /// The pods of which no source has told yet.
    pub fn untold(&self) -> impl Iterator<Item = CgroupId> {
        let untold = |entry: &&Entry| entry.decision.is_none() && entry.pod.is_none();
        self.entries.values().filter(untold).filter_map(|entry| entry.gate)
    }

    /// The pods that are meant by a name, by a namespace and a name, or by a UID: each as people call it, and its gate's
    /// cgroup once it has one.
    #[must_use]
    pub fn meant_by(&self, name: &str) -> Vec<(String, Option<CgroupId>)> {
        let called = |(uid, entry): (&PodUid, &Entry)| match &entry.pod {
            Some(pod) => (pod.name == name || pod.path() == name).then(|| (pod.path(), entry.gate)),
            None => (uid.to_string() == name).then(|| (uid.to_string(), entry.gate)),
        };
        self.entries.iter().filter_map(called).collect()
    }

    /// Why a gate's pod has none; `None`: it has one.
    #[must_use]
    pub fn why_not(&self, gate: CgroupId) -> Option<String> {
        let entry = self.entry(gate)?;
        match (&entry.decision, entry.pod.as_ref().map(|pod| &pod.ask)) {
            (Some(Decision::Gated(..)), _) => None,
            (Some(Decision::Terminating), _) => Some("it is being deleted, or has ended".to_owned()),
            (_, Some(Ask::None(why) | Ask::Undecided(why))) => Some(why.clone()),
            (_, Some(Ask::Gate(_)) | None) => Some("no source has reported it".to_owned()),
        }
    }

    /// The name of a container that was told apart.
    #[must_use]
    pub fn container_name(&self, gate: CgroupId, container: CgroupId) -> Option<&Arc<str>> {
        Some(&self.entry(gate)?.identified.get(&container)?.name)
    }

    /// The class of a container that was told apart.
    #[must_use]
    pub fn class(&self, gate: CgroupId, container: CgroupId) -> Option<ContainerClass> {
        Some(self.entry(gate)?.identified.get(&container)?.class)
    }

    /// The class of this container, whoever's it is; `None`: it was not told apart.
    #[must_use]
    pub fn class_of_cgroup(&self, container: CgroupId) -> Option<ContainerClass> {
        let identified = self.entries.values().find_map(|entry| entry.identified.get(&container));
        identified.map(|container| container.class)
    }

    /// The containers of a gate that were told apart.
    pub fn containers(&self, gate: CgroupId) -> impl Iterator<Item = (&str, ContainerClass)> {
        let identified = self.entry(gate).into_iter().flat_map(|entry| entry.identified.values());
        identified.map(|container| (&*container.name, container.class))
    }

    /// The containers that are there, each with its gate.
    pub fn there(&self) -> impl Iterator<Item = (CgroupId, CgroupId)> {
        let all = self.entries.values().filter_map(|entry| Some((entry.gate?, &entry.there)));
        all.flat_map(|(gate, there)| there.keys().map(move |container| (gate, *container)))
    }
}

#[cfg(test)]
mod tests;
