//! Whose is a connection that the kernel holds as unclassified? Its pod by the cgroup, its container by that one's mounts.
//!
//! Knows nothing of what a pod asks for: the roster does. What cannot be said yet waits, for the grace and no longer.

use std::time::Instant;

use conngate_common::{gate::ContainerClass, id::CgroupId, record::ParkedRecord};

use super::agent::Agent;
use crate::{
    app::{GRACE, Home, error_chain},
    cgroup::{
        identity::{IdentityError, identify},
        pods::{ContainerCgroup, PodCgroup},
        watch::PodWatch,
    },
    kernel::clock,
};

impl Agent {
    /// A connection is held of which the kernel does not know whose it is.
    pub(super) fn unclassified(&mut self, record: ParkedRecord, watch: &mut PodWatch) {
        let gate = record.header.gate;
        if self.roster.cgroup(gate).is_none()
            && let Some(cgroup) = watch.pod(gate, Instant::now()).cloned()
        {
            let acts = self.roster.appeared(cgroup);
            self.carry_out(acts);
        }
        self.classify(record);
    }

    pub(super) fn classify(&mut self, record: ParkedRecord) {
        let (gate, container) = (record.header.gate, record.container);
        let Some(cgroup) = self.roster.cgroup(gate).cloned() else {
            return tracing::debug!(gate = gate.0, "a connection of no pod is held for the grace");
        };
        let class = match self.roster.is_gated(gate) {
            None => {
                self.sources.ask(cgroup.uid);
                return self.waiting.for_pod(record);
            }
            Some(false) => return self.app.admit(record),
            Some(true) => match self.roster.known(gate, container) {
                Some(class) => class,
                None => match self.tell_apart(&cgroup, container) {
                    Some(class) => class,
                    None => return self.waiting.for_container(clock::now(), record),
                },
            },
        };
        match class {
            ContainerClass::Gated => self.app.admit(record),
            ContainerClass::Exempt | ContainerClass::Unknown => self.app.pass(record, &Home::Pod(cgroup)),
        }
    }

    /// Finds out which container it is; `None`: not yet.
    pub(super) fn tell_apart(&mut self, pod: &PodCgroup, container: CgroupId) -> Option<ContainerClass> {
        let there = pod.containers().ok()?.into_iter().find(|there| there.id == container);
        let name = match &there {
            Some(there) => self.identify(pod, there)?,
            None => None,
        };
        let class = name.as_ref().and_then(|name| self.roster.class_of(pod.id, name)).unwrap_or(ContainerClass::Exempt);
        self.app.classify(container, class);
        let name = name.unwrap_or_default();
        self.told_apart(pod.id, &name, class);
        self.roster.identified(pod.id, container, name, class);
        Some(class)
    }

    /// A container's name: by its mounts, or where those do not tell, by what the kubelet says. `None`: not yet;
    /// `Some(None)`: it has none, it is the sandbox.
    fn identify(&self, pod: &PodCgroup, container: &ContainerCgroup) -> Option<Option<String>> {
        match identify(&container.path, pod.uid) {
            Ok(identity) => Some(Some(identity.name)),
            Err(IdentityError::Pause { .. }) => Some(None),
            Err(IdentityError::NotYet { .. }) => None,
            Err(error) => {
                let id = container.container.as_deref().unwrap_or_default();
                let name = self.roster.name_by_status(pod.id, id).map(str::to_owned);
                let pod = self.name(pod.id);
                tracing::debug!(
                    pod,
                    error = error_chain(&error),
                    by_status = name,
                    "its mounts do not tell a container"
                );
                name.map(Some)
            }
        }
    }

    /// Those whose container could not be told apart a moment ago.
    pub(super) fn look_again(&mut self) {
        let now = clock::now();
        while let Some(record) = self.waiting.due(now) {
            if now.since(record.header.at) < u64::try_from(GRACE.as_nanos()).unwrap_or(u64::MAX) {
                self.classify(record);
            } else {
                let pod = self.name(record.header.gate);
                tracing::warn!(pod, "a connection is not held: nobody can say which container's it is");
            }
        }
    }

    /// The pod is known now: what waited for that goes on.
    pub(super) fn hand_on(&mut self, gate: CgroupId) {
        for record in self.waiting.pod_is_known(gate) {
            self.classify(record);
        }
    }
}
