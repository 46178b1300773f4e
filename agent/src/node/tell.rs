//! What is told of a pod's gate: the journal, the log, and Kubernetes Events on the pod.
//!
//! Knows nothing of how any of them is kept or sent. The log has one line at info for each life of a gate, and nothing of
//! single connections above debug.

use std::sync::Arc;

use conngate_common::{
    gate::{ContainerClass, GateState},
    id::{CgroupId, MonoTime},
    reason::Reason,
    record::{EndedRecord, Outcome, ParkedRecord},
};

use super::agent::Agent;
use crate::{
    gate::Summary,
    kernel::clock,
    pods::{events::Happening, no_gate::NoGate, pod::Pod},
    view::{Time, event::What},
};

impl Agent {
    fn happened(&mut self, gate: CgroupId, at: MonoTime, what: What) {
        let pod = self.name(gate);
        self.journal.happened(gate, &pod, Time(clock::wall(at)), what);
    }

    /// The gate does something else now.
    pub(super) fn changed(&mut self, gate: CgroupId, state: GateState, reason: Reason) {
        // It may be gone by now.
        let Some(enrolled) = self.app.enrolled(gate) else { return };
        let mode = enrolled.spec.as_ref().map(|spec| spec.policy.mode.word().to_owned());
        let reason = self.why(gate, state, reason).to_owned();
        tracing::debug!(pod = self.name(gate), %state, reason, mode, "gate changed");
        let state = state.word().to_owned();
        self.happened(gate, clock::now(), What::Changed { state, reason, mode });
    }

    /// A container was told apart.
    pub(super) fn told_apart(&mut self, gate: CgroupId, container: &str, class: ContainerClass) {
        tracing::debug!(pod = self.name(gate), container, %class, "container told apart");
        let (container, class) = (container.to_owned(), class.word().to_owned());
        self.happened(gate, clock::now(), What::Container { container, class });
    }

    /// A connection is held.
    pub(super) fn held(&mut self, record: &ParkedRecord) {
        let gate = record.header.gate;
        let held_us = clock::now().since(record.first_drop) / 1000;
        let reason = super::reason(record.reason);
        tracing::debug!(pod = self.name(gate), %reason, socket = record.header.socket.0, held_us, "connection held");
        let connection = self.connection(record);
        self.happened(gate, record.header.at, What::Held(connection));
        if self.app.enrolled(gate).is_some()
            && self.holding.insert(gate)
            && let Some(pod) = self.roster.pod(gate)
        {
            let note = "Connections that the mesh captures are held until its proxy is ready";
            self.recorder.record(pod, Happening::ConnectionsHeld, note);
        }
    }

    /// A connection that was held waits no longer.
    pub(super) fn ended(&mut self, record: &EndedRecord, outcome: Outcome) {
        let (gate, socket) = (record.header.gate, record.header.socket.0);
        tracing::debug!(pod = self.name(gate), %outcome, socket, "connection waits no longer");
        let what = What::Ended {
            socket,
            outcome: outcome.word().to_owned(),
            attempts: record.attempts,
            held_seconds: seconds(record.header.at.since(record.first_drop)),
        };
        self.happened(gate, record.header.at, what);
    }

    /// Somebody listens where a closed gate's connections are captured.
    pub(super) fn listening(&mut self, gate: CgroupId) {
        tracing::debug!(pod = self.name(gate), "somebody listens on a capture port");
        self.happened(gate, clock::now(), What::Listening);
    }

    /// A closed gate was opened: the end of its life.
    pub(super) fn opened(&mut self, gate: CgroupId, summary: &Summary) {
        let Summary { reason, held, longest, waiting } = *summary;
        let (pod, longest_seconds) = (self.name(gate), longest.as_secs_f64());
        tracing::info!(pod, %reason, held, waiting, seconds = longest_seconds, "gate opened");
        let what = What::Opened {
            reason: reason.word().to_owned(),
            held,
            waiting: u64::try_from(waiting).unwrap_or(u64::MAX),
            longest_seconds,
        };
        self.happened(gate, clock::now(), what);
        self.holding.remove(&gate);
        if held == 0 {
            return;
        }
        let Some(pod) = self.roster.pod(gate) else { return };
        if reason == Reason::Timeout {
            let found = self.app.enrolled(gate).and_then(|enrolled| {
                let url = enrolled.spec.as_ref()?.ready_url.as_ref()?;
                let (_, found) = enrolled.found.as_ref()?;
                Some(format!("{url} said last: {found}"))
            });
            let found = found.unwrap_or_else(|| "nobody listened on its capture ports".to_owned());
            let note = format!(
                "The proxy was not ready after {longest_seconds:.1} s ({found}); connections held: {held}, \
                 waiting: {waiting}"
            );
            self.recorder.record(pod, Happening::GateTimedOut, &note);
        } else {
            let note = format!("Connections held: {held}, the longest for {longest_seconds:.1} s; opened: {reason}");
            self.recorder.record(pod, Happening::GateOpened, &note);
        }
    }

    /// The pod is being deleted.
    pub(super) fn terminating(&mut self, gate: CgroupId) {
        tracing::debug!(pod = self.name(gate), reason = %Reason::Terminating, "nothing is held any longer");
        self.happened(gate, clock::now(), What::Terminating);
    }

    /// The pod's cgroup is gone. A gate that was still closed ends its life here.
    pub(super) fn gone(&mut self, gate: CgroupId) {
        let closed = self.app.table().gate(gate).filter(|closed| closed.state() == GateState::Holding);
        if let Some(closed) = closed {
            tracing::info!(pod = self.name(gate), reason = %closed.reason(), held = closed.held(), "gate gone");
        }
        self.holding.remove(&gate);
        self.happened(gate, clock::now(), What::Gone);
    }

    /// The pod asks for a gate that it cannot have; `words` say why, for people.
    pub(super) fn refuse(&self, pod: &Arc<Pod>, why: NoGate, words: &str) {
        if why == NoGate::InvalidAnnotation {
            tracing::warn!(pod = pod.path(), reason = %why, bad = words, "not gated");
        } else {
            tracing::info!(pod = pod.path(), reason = %why, "not gated");
        }
        self.recorder.record(pod, Happening::NotGated(why), &format!("The pod is not gated: {words}"));
    }

    /// Why a gate is in this state; of a pod that has none, why it has none.
    pub(super) fn why(&self, gate: CgroupId, state: GateState, reason: Reason) -> &'static str {
        let cannot = (state == GateState::NotEnrolled).then(|| self.roster.cannot(gate)).flatten();
        cannot.map_or(reason.word(), NoGate::word)
    }
}

fn seconds(nanos: u64) -> f64 {
    std::time::Duration::from_nanos(nanos).as_secs_f64()
}
