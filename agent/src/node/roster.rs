//! The roster: joins the node's pod cgroups with the pods that the sources tell of, and says what that means for gates.
//!
//! Knows nothing of the kernel, of sources or of time: cgroups and pods go in, acts come out. Either half of a pod may come
//! first, and an act is said once for as long as it stays true.
//!
//! Invariants:
//! - A pod that nobody has told of has no gate; its cgroup alone asks for nothing but [`Act::Ask`].
//! - A gate belongs to one cgroup: a pod whose cgroup was made anew (a static pod's UID stays) has a new gate.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use conngate_common::{gate::ContainerClass, id::CgroupId};

use crate::{
    cgroup::{identity::identify_by_status, pods::PodCgroup},
    pods::{
        annotations::{Ask, NotAsked, PodAsk, ask, unknown_keys},
        bad::BadAnnotations,
        defaults::Defaults,
        pod::{Container, ContainerKind, PREFIX, Pod},
    },
    spec::GateSpec,
    uid::PodUid,
};

/// The most pods of one node, far above any kubelet's maxPods; the kernel's table of gates has as many places.
const ROOM: usize = 4096;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Close a gate, or give it another spec.
    Enrol {
        /// Which.
        gate: CgroupId,
        /// What the pod asks for.
        spec: Box<GateSpec>,
    },
    /// The pod asks for no gate.
    Decline(CgroupId),
    /// The pod is being deleted.
    Terminate(CgroupId),
    /// The pod's cgroup is gone.
    Retire(CgroupId),
    /// The cgroup of a container that was told apart is gone.
    ForgetContainer(CgroupId),
    /// What the kubelet says of the proxy's container.
    Vouch {
        /// Whose.
        gate: CgroupId,
        /// The id of the container that it calls ready, which may be one of an earlier life; `None`: it calls none ready.
        ready: Option<String>,
    },
    /// Containers that were told apart are to be told apart again.
    Reclassify(CgroupId),
    /// The pod's annotations are wrong: it has no gate.
    Refuse {
        /// Whose.
        pod: Arc<Pod>,
        /// Which, and what is allowed.
        bad: BadAnnotations,
    },
    /// Annotations of ours that mean nothing.
    Warn {
        /// Whose.
        pod: Arc<Pod>,
        /// The keys.
        unknown: Vec<String>,
    },
}

/// What was said last of a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Gated(Box<PodAsk>),
    Declined,
    Terminating,
}

/// A container of a pod that was told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    name: String,
    class: ContainerClass,
}

#[derive(Debug, Default)]
struct Member {
    cgroup: Option<PodCgroup>,
    pod: Option<Arc<Pod>>,
    told: Option<Told>,
    vouched: Option<String>,
    refused: Option<BadAnnotations>,
    warned: Vec<String>,
    containers: BTreeMap<CgroupId, Known>,
}

impl Member {
    fn id(&self) -> Option<CgroupId> {
        self.cgroup.as_ref().map(|cgroup| cgroup.id)
    }
}

/// The pods of this node.
#[derive(Debug, Default)]
pub struct Roster {
    defaults: Defaults,
    members: HashMap<PodUid, Member>,
    gates: HashMap<CgroupId, PodUid>,
}

impl Roster {
    /// Nobody yet.
    #[must_use]
    pub fn new(defaults: Defaults) -> Self {
        Self { defaults, ..Self::default() }
    }

    /// A pod's cgroup is there.
    pub fn appeared(&mut self, cgroup: PodCgroup) -> Vec<Act> {
        let uid = cgroup.uid;
        let before = self.members.get(&uid).and_then(|member| member.cgroup.as_ref()).map(|cgroup| cgroup.id);
        let mut acts = match before {
            Some(before) if before != cgroup.id => self.vanished(uid, before),
            Some(_) | None => Vec::new(),
        };
        self.gates.insert(cgroup.id, uid);
        self.members.entry(uid).or_default().cgroup = Some(cgroup);
        acts.extend(self.settle(uid));
        acts
    }

    /// A pod's cgroup is gone.
    pub fn vanished(&mut self, uid: PodUid, gate: CgroupId) -> Vec<Act> {
        self.gates.remove(&gate);
        let Some(member) = self.members.get_mut(&uid) else { return Vec::new() };
        if member.cgroup.as_ref().is_none_or(|cgroup| cgroup.id != gate) {
            return Vec::new();
        }
        let before = std::mem::take(member);
        member.pod = before.pod;
        self.drop_if_empty(uid);
        before.containers.into_keys().map(Act::ForgetContainer).chain([Act::Retire(gate)]).collect()
    }

    /// A source tells of a pod, for the first time or anew.
    pub fn seen(&mut self, pod: Arc<Pod>) -> Vec<Act> {
        let uid = pod.uid;
        if !self.members.contains_key(&uid) && (pod.finished || self.members.len() >= ROOM) {
            return Vec::new();
        }
        self.members.entry(uid).or_default().pod = Some(pod);
        self.settle(uid)
    }

    /// The pod is no longer there, says a source; its last containers may still end.
    pub fn gone(&mut self, uid: PodUid) -> Vec<Act> {
        let Some(member) = self.members.get_mut(&uid) else { return Vec::new() };
        member.pod = None;
        let acts = match (&member.cgroup, &member.told) {
            (Some(cgroup), Some(Told::Gated(_))) => {
                member.told = Some(Told::Terminating);
                vec![Act::Terminate(cgroup.id)]
            }
            _ => Vec::new(),
        };
        self.drop_if_empty(uid);
        acts
    }

    /// Whose gate it is.
    #[must_use]
    pub fn cgroup(&self, gate: CgroupId) -> Option<&PodCgroup> {
        self.members.get(self.gates.get(&gate)?)?.cgroup.as_ref()
    }

    /// The pod whose gate it is, once a source has told of it.
    #[must_use]
    pub fn pod(&self, gate: CgroupId) -> Option<&Arc<Pod>> {
        self.members.get(self.gates.get(&gate)?)?.pod.as_ref()
    }

    /// What is known of a gate: `None`: nothing yet; `Some(false)`: it has none.
    #[must_use]
    pub fn is_gated(&self, gate: CgroupId) -> Option<bool> {
        let told = self.members.get(self.gates.get(&gate)?)?.told.as_ref()?;
        Some(matches!(told, Told::Gated(_)))
    }

    /// The pods of which nobody has told yet, so that nobody can say whether their connections are held.
    pub fn undecided(&self) -> impl Iterator<Item = CgroupId> {
        self.members.values().filter(|member| member.told.is_none()).filter_map(Member::id)
    }

    /// The pods that are meant by a name, by a namespace and a name, or by a UID: each as people call it, and its gate's
    /// cgroup once it has one.
    #[must_use]
    pub fn meant_by(&self, name: &str) -> Vec<(String, Option<CgroupId>)> {
        let called = |(uid, member): (&PodUid, &Member)| match &member.pod {
            Some(pod) => (pod.name == name || pod.path() == name).then(|| (pod.path(), member.id())),
            None => (uid.to_string() == name).then(|| (uid.to_string(), member.id())),
        };
        self.members.iter().filter_map(called).collect()
    }

    /// Why a gate's pod has none; `None`: it has one.
    #[must_use]
    pub fn why_not(&self, gate: CgroupId) -> Option<String> {
        let member = self.members.get(self.gates.get(&gate)?)?;
        match (&member.told, &member.refused, &member.pod) {
            (Some(Told::Gated(_)), ..) => None,
            (Some(Told::Terminating), ..) => Some("it is being deleted, or has ended".to_owned()),
            (Some(Told::Declined), Some(bad), _) => Some(bad.to_string()),
            (Some(Told::Declined) | None, None, Some(pod)) => match ask(pod, &self.defaults) {
                Ok(Ask::None(why)) => Some(why.explanation().to_owned()),
                Ok(Ask::Gate(_)) | Err(_) => None,
            },
            (Some(Told::Declined) | None, ..) => Some("no source has told of it".to_owned()),
        }
    }

    /// Where a gate's values come from, by the last part of the annotations' keys.
    #[must_use]
    pub fn origins(&self, gate: CgroupId) -> BTreeMap<String, String> {
        let told = self.gates.get(&gate).and_then(|uid| self.members.get(uid)?.told.as_ref());
        let Some(Told::Gated(ask)) = told else { return BTreeMap::new() };
        let short = |key: &str| key.trim_start_matches(PREFIX).to_owned();
        ask.origins.iter().map(|(key, origin)| (short(key), origin.to_string())).collect()
    }

    /// The name of a container that was told apart.
    #[must_use]
    pub fn container_name(&self, gate: CgroupId, container: CgroupId) -> Option<&str> {
        Some(self.members.get(self.gates.get(&gate)?)?.containers.get(&container)?.name.as_str())
    }

    /// The classes of a gate's containers that were told apart, by their cgroups.
    #[must_use]
    pub fn classes(&self, gate: CgroupId) -> Vec<(CgroupId, ContainerClass)> {
        let member = self.gates.get(&gate).and_then(|uid| self.members.get(uid));
        let known = member.into_iter().flat_map(|member| &member.containers);
        known.map(|(id, known)| (*id, known.class)).collect()
    }

    /// The containers of a gate that were told apart.
    pub fn containers(&self, gate: CgroupId) -> impl Iterator<Item = (&str, ContainerClass)> {
        let member = self.gates.get(&gate).and_then(|uid| self.members.get(uid));
        let known = member.into_iter().flat_map(|member| member.containers.values());
        known.map(|known| (known.name.as_str(), known.class))
    }

    /// What the container `name` of the pod is. A name that the last word of the pod does not have is a container that was
    /// added to the running pod.
    #[must_use]
    pub fn class_of(&self, gate: CgroupId, name: &str) -> Option<ContainerClass> {
        let member = self.members.get(self.gates.get(&gate)?)?;
        let kind = member.pod.as_ref().and_then(|pod| pod.containers.iter().find(|container| container.name == name));
        let kind = kind.map_or(ContainerKind::Ephemeral, |container| container.kind);
        match member.told.as_ref()? {
            Told::Gated(ask) => Some(ask.class_of(name, kind)),
            Told::Declined | Told::Terminating => Some(ContainerClass::Exempt),
        }
    }

    /// The name of the container with this id, by the last word of the pod: it comes seconds after the container.
    #[must_use]
    pub fn name_by_status(&self, gate: CgroupId, id: &str) -> Option<&str> {
        let containers = &self.pod(gate)?.containers;
        identify_by_status(id, containers.iter().filter_map(|one| Some((one.id.as_deref()?, one.name.as_str()))))
    }

    /// Remembers which container a cgroup is.
    pub fn identified(&mut self, gate: CgroupId, container: CgroupId, name: String, class: ContainerClass) {
        let member = self.gates.get(&gate).and_then(|uid| self.members.get_mut(uid));
        if let Some(member) = member {
            member.containers.insert(container, Known { name, class });
        }
    }

    /// The class of a container that was told apart before.
    #[must_use]
    pub fn known(&self, gate: CgroupId, container: CgroupId) -> Option<ContainerClass> {
        Some(self.members.get(self.gates.get(&gate)?)?.containers.get(&container)?.class)
    }

    /// The containers of a gate that are of another class now.
    pub fn reclassify(&mut self, gate: CgroupId) -> Vec<(CgroupId, ContainerClass)> {
        let Some(member) = self.gates.get(&gate).and_then(|uid| self.members.get(uid)) else { return Vec::new() };
        let changed: Vec<_> = member
            .containers
            .iter()
            .filter_map(|(id, known)| Some((*id, known.clone(), self.class_of(gate, &known.name)?)))
            .filter(|(_, known, class)| known.class != *class)
            .collect();
        for (id, known, class) in &changed {
            self.identified(gate, *id, known.name.clone(), *class);
        }
        changed.into_iter().map(|(id, _, class)| (id, class)).collect()
    }

    /// The containers whose cgroup is not among `there` any longer.
    pub fn forget_containers(&mut self, gate: CgroupId, there: &BTreeSet<CgroupId>) -> Vec<CgroupId> {
        let member = self.gates.get(&gate).and_then(|uid| self.members.get_mut(uid));
        let Some(member) = member else { return Vec::new() };
        let gone: Vec<_> = member.containers.keys().filter(|id| !there.contains(id)).copied().collect();
        member.containers.retain(|id, _| there.contains(id));
        gone
    }

    /// Every gate with containers that were told apart.
    pub fn with_containers(&self) -> impl Iterator<Item = &PodCgroup> {
        self.members.values().filter(|member| !member.containers.is_empty()).filter_map(|member| member.cgroup.as_ref())
    }

    /// Says what has become true of a pod.
    fn settle(&mut self, uid: PodUid) -> Vec<Act> {
        let Some(member) = self.members.get_mut(&uid) else { return Vec::new() };
        let (Some(pod), Some(cgroup)) = (member.pod.clone(), &member.cgroup) else { return Vec::new() };
        let gate = cgroup.id;
        let mut acts = Vec::new();
        let asked = ask(&pod, &self.defaults);
        let refused = asked.as_ref().err().cloned();
        if let Some(bad) = &refused
            && member.refused.as_ref() != Some(bad)
        {
            acts.push(Act::Refuse { pod: pod.clone(), bad: bad.clone() });
        }
        member.refused = refused;
        let unknown = unknown_keys(&pod);
        if unknown != member.warned && !unknown.is_empty() {
            acts.push(Act::Warn { pod: pod.clone(), unknown: unknown.clone() });
        }
        member.warned = unknown;
        let told = match asked {
            // Undecided, not declined: what is held stays held until the labels are there.
            Ok(Ask::None(NotAsked::NamespaceUnknown)) => return acts,
            Ok(Ask::Gate(_)) if pod.terminating || pod.finished => Told::Terminating,
            Ok(Ask::Gate(ask)) => Told::Gated(ask),
            Ok(Ask::None(_)) | Err(_) => Told::Declined,
        };
        let before = member.told.replace(told.clone());
        if let Told::Gated(ask) = &told {
            let is_ready = |one: &&Container| one.ready && ask.proxy.runs_in(&one.name);
            let ready = pod.containers.iter().find(is_ready).and_then(|container| container.id.clone());
            if before.as_ref() != Some(&told) {
                acts.push(Act::Enrol { gate, spec: Box::new(ask.spec.clone()) });
                acts.push(Act::Reclassify(gate));
            }
            if member.vouched != ready {
                member.vouched.clone_from(&ready);
                acts.push(Act::Vouch { gate, ready });
            }
        } else if before.as_ref() != Some(&told) {
            acts.push(if told == Told::Declined { Act::Decline(gate) } else { Act::Terminate(gate) });
        }
        acts
    }

    fn drop_if_empty(&mut self, uid: PodUid) {
        if self.members.get(&uid).is_some_and(|member| member.pod.is_none() && member.cgroup.is_none()) {
            self.members.remove(&uid);
        }
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
