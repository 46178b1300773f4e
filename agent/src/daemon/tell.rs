//! What happens to gates is told: to the journal, the log, the metrics, and as Kubernetes Events on the pod.
//!
//! The log has one line at info for each life of a gate, and nothing of single connections above debug.

use std::time::Duration;

use conngate_common::{
    gate::{GateState, Mode},
    reason::Reason,
    record::{EndedRecord, Outcome},
};
use conngate_core::{
    node::{Fact, What},
    pod::Remark,
};

use super::{answers::connection, run::Daemon};
use crate::{
    clock,
    gate::Summary,
    pods::{events::Happening, no_gate::NoGate},
    uid::PodUid,
    url::ReadyUrl,
    view::{Time, event},
};

impl Daemon {
    /// Tells of something that happened to a gate.
    pub(super) fn tell(&mut self, fact: Fact) {
        let Fact { at, gate, pod, uid, what } = fact;
        let pod = &*pod;
        let event = |recorder: &Self, happening, note: &str| {
            if let Some(known) = uid.and_then(|uid| recorder.pods.get(&uid)) {
                recorder.recorder.record(&known.pod, happening, note);
            }
        };
        let told = match what {
            What::Changed { state, reason, mode } => {
                let reason = self.why(uid, state, reason);
                tracing::debug!(pod, %state, reason, mode = mode.map(Mode::word), "gate changed");
                changed(state, reason, mode)
            }
            What::Opened { summary, found } => {
                let Summary { reason, held, longest, waiting } = summary;
                let seconds = longest.as_secs_f64();
                tracing::info!(pod, %reason, held, waiting, seconds, "gate opened");
                self.recorded.opened(reason);
                if held != 0 {
                    let happening =
                        if reason == Reason::Timeout { Happening::GateTimedOut } else { Happening::GateOpened };
                    event(self, happening, &note(&summary, found));
                }
                opened(&summary)
            }
            What::Held { record, container, is_first } => {
                let connection = connection(&record, container.as_ref());
                let held_us = clock::now().since(record.first_drop) / 1000;
                let (reason, socket) = (&connection.reason, connection.socket);
                tracing::debug!(pod, reason, socket, held_us, "connection held");
                if is_first {
                    let note = "Holding the connections that the mesh captures until the pod's proxy is ready";
                    event(self, Happening::ConnectionsHeld, note);
                }
                event::What::Held(connection)
            }
            What::Ended { record, outcome, after_ready } => {
                tracing::debug!(pod, %outcome, socket = record.header.socket.0, "connection ended");
                if let Some(after_ready) = after_ready {
                    self.recorded.connected(after_ready);
                }
                ended(&record, outcome)
            }
            What::Listening => {
                tracing::debug!(pod, "a listener appeared on a capture port");
                event::What::Listening
            }
            What::Container { name, class } => {
                tracing::debug!(pod, container = &*name, %class, "container identified");
                event::What::Container { container: name.to_string(), class: class.word().to_owned() }
            }
            What::StartedBefore { container } => {
                tracing::warn!(pod, container = &*container, "started before anybody held connections here");
                self.recorded.started_before();
                let note = format!(
                    "Container {container} started before conngate held connections on this node: its first ones may have been \
                     refused"
                );
                event(self, Happening::StartedBeforeAgent, &note);
                event::What::StartedBeforeAgent { container: container.to_string() }
            }
            What::Terminating => {
                tracing::debug!(pod, reason = %Reason::Terminating, "nothing is held any longer");
                event::What::Terminating
            }
            What::Gone(closed) => {
                if let Some((reason, held)) = closed {
                    tracing::info!(pod, %reason, held, "gate gone");
                }
                event::What::Gone
            }
            What::Truncated(queries) => {
                tracing::debug!(pod, queries, "DNS queries are answered as truncated");
                return self.recorded.truncated(queries);
            }
            What::Enrolled(mode) => return tracing::debug!(pod, %mode, "gated"),
            What::Classified(after) => return self.recorded.classified(after),
            What::Unclassified(connections) => {
                return tracing::warn!(pod, connections, "not held: their container cannot be identified");
            }
            What::Untold { why, by_status } => {
                return tracing::debug!(pod, error = why, by_status, "its mounts do not identify a container");
            }
            What::Renewed => return tracing::info!(pod, "the pod starts a new life, in another network namespace"),
            What::Adopted => {
                let message = "no source reports an inherited gate's pod: it opens for a listener";
                return tracing::warn!(pod, gate = gate.0, "{message}");
            }
            What::ResetLate => {
                return tracing::warn!(pod, "not all connections were reset in time: the rest is released");
            }
            What::Remark(Remark::NotGated(words)) => {
                let why = self.cannot(uid).unwrap_or(NoGate::InvalidAnnotation);
                if why == NoGate::InvalidAnnotation {
                    tracing::warn!(pod, reason = %why, bad = words, "not gated");
                } else {
                    tracing::info!(pod, reason = %why, "not gated");
                }
                return event(self, Happening::NotGated(why), &format!("The pod is not gated: {words}"));
            }
            What::Remark(Remark::UnknownAnnotations(keys)) => {
                return tracing::warn!(pod, keys = keys.join(", "), "unknown annotations");
            }
        };
        self.journal.happened(gate, pod, Time(clock::wall(at)), told);
    }
}

impl Daemon {
    /// Why a pod cannot have the gate that it asks for.
    fn cannot(&self, uid: Option<PodUid>) -> Option<NoGate> {
        self.pods.get(&uid?)?.cannot.map(|(why, _)| why)
    }

    /// Why a gate is in this state; of a pod that has none, why it has none.
    pub(super) fn why(&self, uid: Option<PodUid>, state: GateState, reason: Reason) -> &'static str {
        let cannot = (state == GateState::NotEnrolled).then(|| self.cannot(uid)).flatten();
        cannot.map_or(reason.word(), NoGate::word)
    }
}

fn changed(state: GateState, reason: &str, mode: Option<Mode>) -> event::What {
    let mode = mode.map(|mode| mode.word().to_owned());
    event::What::Changed { state: state.word().to_owned(), reason: reason.to_owned(), mode }
}

fn opened(summary: &Summary) -> event::What {
    event::What::Opened {
        reason: summary.reason.word().to_owned(),
        held: summary.held,
        waiting: u64::try_from(summary.waiting).unwrap_or(u64::MAX),
        longest_seconds: summary.longest.as_secs_f64(),
    }
}

fn ended(record: &EndedRecord, outcome: Outcome) -> event::What {
    event::What::Ended {
        socket: record.header.socket.0,
        outcome: outcome.word().to_owned(),
        attempts: record.attempts,
        held_seconds: Duration::from_nanos(record.header.at.since(record.first_drop)).as_secs_f64(),
    }
}

/// What the Event on the pod says.
fn note(summary: &Summary, found: Option<(ReadyUrl, String)>) -> String {
    let Summary { reason, held, longest, waiting } = summary;
    let seconds = longest.as_secs_f64();
    if *reason != Reason::Timeout {
        return format!("Held {held} connections, the longest for {seconds:.1} s; gate opened: {reason}");
    }
    let found = found.map_or_else(
        || "nothing listened on its capture ports".to_owned(),
        |(url, found)| format!("last answer of {url}: {found}"),
    );
    format!(
        "The proxy was not ready after {seconds:.1} s ({found}); held connections: {held}, still waiting: {waiting}"
    )
}
