//! Asking proxies whether they are ready: when the core says so, within the node's budget, from inside the pod's namespace;
//! and what the kernel tells of listeners.
//!
//! Knows nothing of when to ask again, or of what a gate makes of an answer.

use conngate_common::{id::CgroupId, record::ListeningRecord};
use tokio::time::Instant;

use super::{App, Notice, enrolled::Enrolled, error_chain};
use crate::{
    gate::{Answer, Event, Want},
    kernel::{clock, replay::syn},
    netns::Netns,
    ready::{
        listener,
        probe::{self, ProbeError},
        url::ReadyUrl,
    },
};

/// A gate's probe, what was found, and what that means.
pub(super) struct Asked {
    gate: CgroupId,
    answer: Answer,
    /// In words; `None`: only listeners were looked for.
    found: Option<String>,
}

impl App {
    pub(super) fn probe(&mut self, gate: CgroupId, want: Want) {
        let Some(enrolled) = self.enrolled.by_gate(gate) else { return };
        let url = enrolled.spec.as_ref().and_then(|spec| spec.ready_url.clone());
        let asked = match (want, url) {
            (Want::Ready, Some(url)) => match enrolled.netns() {
                Some(netns) => return self.ask_later(gate, netns, url),
                None => Asked { gate, answer: Answer::Unanswered, found: Some("no process yet".to_owned()) },
            },
            (Want::Ready | Want::Listener, _) => Asked { gate, answer: self.look(gate), found: None },
        };
        // The receiver is this App's own.
        let _ = self.ask.send(asked);
    }

    /// Asks within the node's budget, and answers by the channel.
    fn ask_later(&mut self, gate: CgroupId, netns: Netns, url: ReadyUrl) {
        let (worker, answers, recorded) = (self.worker.clone(), self.ask.clone(), self.recorded.clone());
        let turn = self.budget.take(Instant::now());
        tokio::spawn(async move {
            tokio::time::sleep(turn).await;
            let asked = Instant::now();
            let found = probe::probe(&worker, &netns, &url, probe::DEADLINE).await;
            recorded.probed(&found, asked.elapsed());
            tracing::debug!(%url, ?found, "probed");
            // The agent is gone: nobody wants to know.
            let _ = answers.send(Asked { gate, answer: meaning(&found), found: Some(found.to_string()) });
        });
    }

    /// Looks for listeners where connections wait; where none does, on the proxy's first port.
    fn look(&mut self, gate: CgroupId) -> Answer {
        let waited_for = self.waiting(gate).into_iter().filter_map(|record| syn::captured_at(record).ok()).collect();
        let Some(enrolled) = self.enrolled.by_gate(gate) else { return Answer::Unanswered };
        let (Some(netns), Some(spec)) = (enrolled.netns(), &enrolled.spec) else {
            return Answer::Unanswered;
        };
        let [port, ..] = spec.capture_ports.0;
        match self.lot.diag(&netns).and_then(|diag| listener::listening_everywhere(&diag, &waited_for, port)) {
            Ok(true) => Answer::Listening,
            Ok(false) => Answer::NotReady,
            Err(error) => {
                tracing::debug!(gate = gate.0, error = error_chain(&error), "cannot look for listeners");
                Answer::Unanswered
            }
        }
    }

    /// The workload's namespace was looked for: found, or not yet.
    pub fn found_netns(&mut self, gate: CgroupId, netns: Option<Netns>) {
        if self.enrolled.by_gate(gate).is_some_and(|enrolled| enrolled.found_netns(netns)) {
            // Whoever asked before had nobody to ask.
            self.tell(Event::Listening { gate });
        }
    }

    /// One of the workload's containers is in this namespace: its own, unless another is known.
    pub fn saw_netns(&mut self, gate: CgroupId, netns: Option<Netns>) {
        if netns.is_some() && self.enrolled.by_gate(gate).is_some_and(|enrolled| !enrolled.knows_netns()) {
            self.found_netns(gate, netns);
        }
    }

    pub(super) fn answered(&mut self, asked: Asked) {
        let Asked { gate, answer, found } = asked;
        if let (Some(found), Some(enrolled)) = (found, self.enrolled.by_gate(gate)) {
            enrolled.found = Some((clock::now(), found));
        }
        self.tell(Event::Probed { gate, answer });
    }

    pub(super) fn listening(&mut self, record: ListeningRecord) {
        let Ok(port) = u16::try_from(record.port) else { return };
        for gate in self.enrolled.captured(record.netns, port) {
            if record.listens != 0 {
                self.table.handle(clock::now(), Event::Listening { gate });
                if self.closed.contains(&gate) {
                    self.notices.push_back(Notice::Listening(gate));
                }
            } else if self.is_silent(gate) {
                self.table.handle(clock::now(), Event::Silent { gate });
            }
        }
    }

    /// Whether nobody listens any longer, where that matters: a proxy has several listeners, and some of them go.
    fn is_silent(&mut self, gate: CgroupId) -> bool {
        let regates = |enrolled: &Enrolled| enrolled.spec.as_ref().is_some_and(|spec| spec.policy.regate.is_some());
        self.enrolled.by_gate(gate).is_some_and(|enrolled| regates(enrolled)) && self.look(gate) == Answer::NotReady
    }
}

/// What an answer says of the proxy.
const fn meaning(found: &probe::Answer) -> Answer {
    match found {
        probe::Answer::Ready => Answer::Ready,
        probe::Answer::NotReady { .. } => Answer::NotReady,
        probe::Answer::Failed(ProbeError::Netns(_) | ProbeError::Refused | ProbeError::Connect(_)) => {
            Answer::Unanswered
        }
        // Somebody is there: slow on a busy node, or not to be believed.
        probe::Answer::Failed(ProbeError::Http(_) | ProbeError::Body(_) | ProbeError::Deadline(_)) => Answer::NotReady,
    }
}
