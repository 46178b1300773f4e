//! What an earlier agent left in the pinned maps: it agrees with the pods of now, or goes.
//!
//! Knows nothing of pins. Gates that were open stay open; of closed ones the core learns when their pod is known.

use super::agent::Agent;
use crate::{cgroup::watch::PodWatch, serve::conditions::Condition, spec::GateSpec};

impl Agent {
    /// The first whole list of pods is through: what earlier agents left agrees with it, or goes.
    pub(super) fn reconcile(&mut self, watch: &PodWatch) {
        // The watch may know cgroups that it has not told of yet.
        for cgroup in watch.pods().filter(|cgroup| self.roster.cgroup(cgroup.id).is_none()).cloned().collect::<Vec<_>>()
        {
            let acts = self.roster.appeared(cgroup);
            self.carry_out(acts);
        }
        let gone: Vec<_> = self.inherited.keys().filter(|gate| self.roster.cgroup(**gate).is_none()).copied().collect();
        for gate in gone {
            self.inherited.remove(&gate);
            self.app.retire(gate);
        }
        let known = self.app.loaded().maps.containers();
        let pods: Vec<_> = watch.pods().cloned().collect();
        let mut there = Vec::new();
        for pod in &pods {
            for container in pod.containers().unwrap_or_default() {
                if known.contains(&container.id) && self.roster.is_gated(pod.id) != Some(false) {
                    there.push(container.id);
                    if self.roster.is_gated(pod.id) == Some(true) {
                        self.tell_apart(pod, container.id);
                    }
                }
            }
        }
        for container in known.into_iter().filter(|container| !there.contains(container)) {
            self.app.forget_container(container);
        }
        self.conditions.met(Condition::Reconciled);
    }

    /// Inherited closed gates whose pods no source tells of: a listener alone may open them, for nobody else would.
    pub(super) fn adopt(&mut self) {
        let closed: Vec<_> =
            self.inherited.iter().filter_map(|(gate, entry)| Some((*gate, GateSpec::inherited(entry)?))).collect();
        for (gate, spec) in closed {
            if let Some(home) = self.home(gate) {
                tracing::warn!(gate = gate.0, "no source tells of an inherited gate's pod: it opens for a listener");
                self.inherited.remove(&gate);
                self.app.enrol(gate, spec, home);
                // They wait for news of the pod, and the kernel tells of each but once.
                for record in self.waiting.pod_is_known(gate) {
                    self.app.admit(record);
                }
            }
        }
    }
}
