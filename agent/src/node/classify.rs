//! Whose is a connection that the kernel holds as unclassified? Its pod by the cgroup, its container by that one's mounts.
//!
//! Knows nothing of what a pod asks for: the roster does. What cannot be said yet waits, for the grace and no longer.

use std::time::Instant;

use conngate_common::{gate::ContainerClass, id::CgroupId, record::ParkedRecord};

use super::agent::Agent;
use crate::{
    app::{GRACE, error_chain},
    cgroup::{identity::IdentityError, pods::PodCgroup, watch::PodWatch},
    kernel::clock,
    looks::{Container, Looked},
};

/// After this long the kubelet's status says what a container's processes do not.
const PATIENCE_NANOS: u64 = 1_000_000_000;

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
            tracing::debug!(gate = gate.0, "a connection of no pod that is known is held for the grace");
            return self.waiting.for_pod(record);
        };
        let class = match self.roster.is_gated(gate) {
            // An inherited gate that no source tells of: which of its containers it is nobody can say.
            None if self.app.enrolled(gate).is_some() => return self.app.admit(record),
            None => {
                self.sources.ask(cgroup.uid);
                return self.waiting.for_pod(record);
            }
            Some(false) => return self.app.admit(record),
            Some(true) => match self.roster.known(gate, container) {
                Some(class) => class,
                None => {
                    if self.waiting.for_container(clock::now(), record) {
                        self.ask_container(&cgroup, container);
                    }
                    return;
                }
            },
        };
        self.hand_over(record, class);
    }

    fn hand_over(&mut self, record: ParkedRecord, class: ContainerClass) {
        match class {
            ContainerClass::Gated => self.app.admit(record),
            ContainerClass::Exempt | ContainerClass::Unknown => self.app.pass(record),
        }
    }

    /// A container is to be told apart, also where no connection waits for that.
    pub(super) fn tell_apart(&mut self, pod: &PodCgroup, container: CgroupId) {
        if self.waiting.ask(clock::now(), (pod.id, container)) {
            self.ask_container(pod, container);
        }
    }

    fn ask_container(&mut self, pod: &PodCgroup, container: CgroupId) {
        if !self.looks.container(pod, container) {
            self.waiting.not_yet(clock::now(), (pod.id, container));
        }
    }

    /// A look was taken.
    pub(super) fn looked(&mut self, looked: Looked) {
        let Looked { gate, container, netns } = looked;
        let Some((container, found)) = container else { return self.app.found_netns(gate, netns) };
        self.app.saw_netns(gate, netns);
        let name = match found {
            Container::Named(name) => name,
            Container::Sandbox | Container::Gone => String::new(),
            Container::Untold(id, error) => {
                let now = clock::now();
                let Some(since) = self.waiting.not_yet(now, (gate, container)) else { return };
                let not_yet = matches!(error, IdentityError::NotYet { .. });
                // The status comes late, and of a container that starts now it may say nothing or the last one.
                let id = id.filter(|_| !not_yet || now.since(since) > PATIENCE_NANOS).unwrap_or_default();
                let name = self.roster.name_by_status(gate, &id).map(str::to_owned);
                let (pod, error) = (self.name(gate), error_chain(&error));
                tracing::debug!(pod, error, by_status = name, "its mounts do not tell a container");
                let Some(name) = name else { return };
                name
            }
        };
        let class = self.roster.class_of(gate, &name).filter(|_| !name.is_empty()).unwrap_or(ContainerClass::Exempt);
        self.app.classify(container, class);
        self.told_apart(gate, &name, class);
        self.roster.identified(gate, container, name, class);
        for record in self.waiting.container_is_known((gate, container)) {
            self.hand_over(record, class);
        }
    }

    /// Those that could not be told apart a moment ago.
    pub(super) fn look_again(&mut self) {
        self.expire();
        for (gate, container) in self.waiting.due(clock::now()) {
            match self.roster.cgroup(gate).cloned() {
                Some(pod) => self.ask_container(&pod, container),
                None => drop(self.waiting.container_is_known((gate, container))),
            }
        }
    }

    /// Those that the kernel has let go of.
    pub(super) fn expire(&mut self) {
        for (gate, connections) in self.waiting.expire(clock::now(), GRACE) {
            let pod = self.name(gate);
            tracing::warn!(pod, connections, "not held: nobody can say which container's they are");
        }
    }

    /// The pod is known now: what waited for that goes on.
    pub(super) fn hand_on(&mut self, gate: CgroupId) {
        for record in self.waiting.pod_is_known(gate) {
            self.classify(record);
        }
    }
}
