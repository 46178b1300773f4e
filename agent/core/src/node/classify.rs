//! Whose is a connection that the kernel holds as unclassified? Its pod by the cgroup, its container by that one's mounts. What
//! cannot be said yet waits, for the grace and no longer.

use std::{sync::Arc, time::Duration};

use conngate_common::{gate::ContainerClass, id::CgroupId, reason::Reason, record::ParkedRecord};

use super::{Found, Node, Output, What};
use crate::{connections::is_datagram, dns::Datagram, gate::Event, workload::Sandbox};

/// After this long the kubelet's status says what a container's processes do not.
const PATIENCE: Duration = Duration::from_secs(1);

impl Node {
    /// A connection is held.
    pub(super) fn parked(&mut self, record: ParkedRecord) {
        if self.connections.holds(record.header.socket) {
            // The same socket connects again: its first copy goes before the second comes.
            self.carry_out();
        }
        // An inherited gate's connections may be announced before anybody has told of its workload.
        if record.reason == Reason::Unclassified.code() || !self.workloads.contains_key(&record.header.gate) {
            self.classify(record);
        } else {
            self.admit(record);
        }
    }

    /// A datagram is held.
    pub(super) fn datagram(&mut self, datagram: Datagram) {
        let record = datagram.record;
        self.queries.keep(self.now, datagram);
        self.parked(record);
    }

    fn classify(&mut self, record: ParkedRecord) {
        let (gate, container) = (record.header.gate, record.container);
        let Some(uid) = self.pods.uid(gate) else {
            self.outputs.push_back(Output::FindPod(gate));
            return self.unclassified.for_pod(record);
        };
        match (self.pods.is_gated(gate), self.pods.class(gate, container)) {
            // A gate that was adopted: which of its containers it is nobody can say.
            (None, _) if self.workloads.contains_key(&gate) => self.admit(record),
            (None, _) => {
                self.outputs.push_back(Output::AskFor(uid));
                self.unclassified.for_pod(record);
            }
            (Some(false), _) => self.admit(record),
            (Some(true), Some(class)) => self.hand_over(record, class),
            (Some(true), None) => {
                if self.unclassified.for_container(self.now, record) {
                    self.outputs.push_back(Output::Identify { gate, container });
                }
            }
        }
    }

    /// The pod is known now: what waited for that goes on.
    pub(super) fn hand_on(&mut self, gate: CgroupId) {
        for record in self.unclassified.pod_is_known(gate) {
            self.classify(record);
        }
    }

    /// The pod's cgroup is known now.
    pub(super) fn pod_appeared(&mut self, gate: CgroupId) {
        if self.pods.is_gated(gate).is_none() {
            self.hand_on(gate);
        }
    }

    fn hand_over(&mut self, record: ParkedRecord, class: ContainerClass) {
        match class {
            ContainerClass::Gated => self.admit(record),
            ContainerClass::Exempt | ContainerClass::Unknown => self.pass(record),
        }
    }

    /// The connection waits at its gate.
    fn admit(&mut self, record: ParkedRecord) {
        self.classified(&record);
        let (gate, socket) = (record.header.gate, record.header.socket);
        let Some(workload) = self.workloads.get(&gate) else { return };
        let is_gated = workload.spec.is_some();
        // Where there is no room the kernel's own retry remains.
        if self.connections.is_full(gate) && !self.connections.holds(socket) {
            return drop(self.queries.take(socket));
        }
        let truncates = workload.spec.as_ref().is_some_and(|spec| spec.truncates(record.capture_port));
        // Whoever asked has given up meanwhile.
        if is_datagram(&record) && !self.queries.hold(socket, truncates) {
            return;
        }
        if self.connections.park(record) {
            self.outputs.push_back(Output::Prepare(gate, Box::new(record)));
        }
        self.event(Event::Parked { gate, socket, first_drop: record.first_drop });
        if is_gated {
            let container = self.pods.container_name(gate, record.container).cloned();
            let is_first = self.holding.insert(gate);
            self.tell(gate, What::Held { record: Box::new(record), container, is_first });
        }
    }

    /// The connection is not to be held: an exempt container's.
    fn pass(&mut self, record: ParkedRecord) {
        self.classified(&record);
        let gate = record.header.gate;
        if !self.workloads.contains_key(&gate) {
            return;
        }
        if is_datagram(&record) {
            let queries = self.queries.take(record.header.socket);
            if !queries.is_empty() {
                self.outputs.push_back(Output::Pass(gate, queries));
            }
        } else {
            self.outputs.push_back(Output::Replay(gate, vec![record]));
        }
    }

    fn classified(&mut self, record: &ParkedRecord) {
        if record.reason == Reason::Unclassified.code() {
            let after = Duration::from_nanos(self.now.since(record.header.at));
            self.tell(record.header.gate, What::Classified(after));
        }
    }

    /// A container is to be told apart, also where no connection waits for that.
    pub(super) fn identify(&mut self, gate: CgroupId, container: CgroupId) {
        if self.unclassified.ask(self.now, (gate, container)) {
            self.outputs.push_back(Output::Identify { gate, container });
        }
    }

    /// Somebody has looked which container it is, and in which namespace.
    pub(super) fn identified(&mut self, gate: CgroupId, container: CgroupId, found: Found, sandbox: Sandbox) {
        self.told_apart(gate, container, found);
        // A container is in its pod's namespace; another one that is known wins. After its connections wait: where they go is
        // where listeners are looked for.
        if self.workloads.get(&gate).is_some_and(|workload| workload.netns().is_none()) {
            self.saw_netns(gate, sandbox);
        }
    }

    fn told_apart(&mut self, gate: CgroupId, container: CgroupId, found: Found) {
        let name: Arc<str> = match found {
            Found::Named(name) => name.into(),
            Found::Sandbox => "".into(),
            // Nothing to remember: its cgroup was listed as gone, or will be.
            Found::Gone => {
                for record in self.unclassified.container_is_known((gate, container)) {
                    self.pass(record);
                }
                return;
            }
            Found::Untold { id, not_yet, why } => {
                let Some(since) = self.unclassified.not_yet(self.now, (gate, container)) else { return };
                // The status comes late, and of a container that starts now it may say nothing or the last one.
                let is_late = Duration::from_nanos(self.now.since(since)) > PATIENCE;
                let id = id.filter(|_| !not_yet || is_late);
                let pod = self.pods.pod(gate).cloned();
                let status = pod.as_ref().zip(id).and_then(|(pod, id)| pod.container_with_id(&id));
                let name = status.map(|container| container.name.clone());
                self.tell(gate, What::Untold { why, by_status: name.clone() });
                let Some(name) = name else { return };
                name.into()
            }
        };
        if self.pods.uid(gate).is_some() {
            self.inherited_containers.remove(&container);
            let class = self.pods.identified(gate, container, name.clone());
            self.outputs.push_back(Output::WriteContainer(container, Some(class)));
            self.tell(gate, What::Container { name, class });
            for record in self.unclassified.container_is_known((gate, container)) {
                self.hand_over(record, class);
            }
        }
    }

    /// Those that could not be told apart a moment ago.
    pub(super) fn look_again(&mut self) {
        if self.unclassified.next_due().is_none_or(|due| due > self.now) {
            return;
        }
        self.expire();
        for (gate, container) in self.unclassified.due(self.now) {
            match self.pods.uid(gate) {
                Some(_) => self.outputs.push_back(Output::Identify { gate, container }),
                None => drop(self.unclassified.container_is_known((gate, container))),
            }
        }
    }

    /// Those that the kernel has let go of.
    pub(super) fn expire(&mut self) {
        // A gate that an earlier agent closed is the kernel's to hold at until its cap, whoever's it is.
        let is_closed = |gate: CgroupId| self.inherited.contains_key(&gate) && self.closed.contains(&gate);
        for (gate, connections) in self.unclassified.expire(self.now, self.grace(), is_closed) {
            self.tell(gate, What::Unclassified(connections));
        }
    }
}
