//! What people are told of a pod's gate: the log, and Kubernetes Events on the pod.
//!
//! Knows nothing of how either is kept or sent.

use std::sync::Arc;

use conngate_common::{id::CgroupId, reason::Reason};

use super::agent::Agent;
use crate::{
    gate::Summary,
    pods::{events::Happening, pod::Pod},
};

impl Agent {
    /// The first connection of a closed gate is held.
    pub(super) fn held(&mut self, gate: CgroupId) {
        if self.holding.insert(gate)
            && let Some(pod) = self.roster.pod(gate)
        {
            let note = "Connections that the mesh captures are held until its proxy is ready";
            self.recorder.record(pod, Happening::ConnectionsHeld, note);
        }
    }

    pub(super) fn opened(&mut self, gate: CgroupId, summary: &Summary) {
        let (pod, seconds) = (self.name(gate), summary.longest.as_secs_f64());
        let Summary { reason, held, waiting, .. } = summary;
        tracing::info!(pod, %reason, held, waiting, seconds, "gate opened");
        self.holding.remove(&gate);
        if *held == 0 {
            return;
        }
        let Some(pod) = self.roster.pod(gate) else { return };
        if *reason == Reason::Timeout {
            let note =
                format!("The proxy was not ready after {seconds:.1} s; connections held: {held}, waiting: {waiting}");
            self.recorder.record(pod, Happening::GateTimedOut, &note);
        } else {
            let note = format!("Connections held: {held}, the longest for {seconds:.1} s; opened: {reason}");
            self.recorder.record(pod, Happening::GateOpened, &note);
        }
    }

    pub(super) fn refuse(&self, pod: &Arc<Pod>, bad: &str) {
        tracing::warn!(pod = pod.path(), bad, "not gated");
        self.recorder.record(pod, Happening::InvalidAnnotation, &format!("The pod is not gated: {bad}"));
    }
}
