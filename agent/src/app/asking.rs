//! Asking proxies whether they are ready: when the core says so, within the node's budget, from inside the pod's namespace;
//! and what the kernel tells of listeners.
//!
//! Knows nothing of when to ask again, or of what a gate makes of an answer.

use std::{future::poll_fn, pin::pin, time::Duration};

use conngate_common::{id::CgroupId, reason::Reason, record::ListeningRecord};
use tokio::time::Instant;

use super::{
    App, Notice,
    enrolled::{Enrolled, Life},
};
use crate::{
    gate::{Answer, Event, Want},
    inject::Looked,
    kernel::{clock, replay::syn},
    looks::Sandbox,
    netns::Netns,
    ready::{
        probe::{self, ProbeError},
        url::ReadyUrl,
    },
};

/// How long one probe may keep its thread at work (it takes some 0.2 ms), and how many times as long as it takes beyond that a
/// pod waits for its answer: its netfilter rules run in our system calls.
const BUSY: Duration = Duration::from_millis(5);
const SHARE: u32 = 20;

/// A gate's probe, what was found, and what that means.
pub(super) struct Asked {
    gate: CgroupId,
    answer: Answer,
    /// In words; `None`: only listeners were looked for.
    found: Option<String>,
    /// It took too long.
    is_late: bool,
}

impl App {
    pub(super) fn probe(&mut self, gate: CgroupId, want: Want) {
        let Some(enrolled) = self.enrolled.by_gate(gate) else { return };
        let url = enrolled.spec.as_ref().and_then(|spec| spec.ready_url.clone());
        let asked = match (want, url) {
            (Want::Ready, Some(url)) => match enrolled.netns() {
                Some(netns) => return self.ask_later(gate, netns, url),
                None => {
                    Asked { gate, answer: Answer::Unanswered, found: Some("no process yet".to_owned()), is_late: false }
                }
            },
            (Want::Ready | Want::Listener, _) if self.look(gate, false) => return,
            (Want::Ready | Want::Listener, _) => {
                Asked { gate, answer: Answer::Unanswered, found: None, is_late: false }
            }
        };
        // The receiver is this App's own.
        let _ = self.ask.send(asked);
    }

    /// Asks within the node's budget, and answers by the channel.
    fn ask_later(&mut self, gate: CgroupId, netns: Netns, url: ReadyUrl) {
        let (worker, answers, recorded) = (self.worker.clone(), self.ask.clone(), self.recorded.clone());
        let turn = self.budget.take(Instant::now());
        let deadline = self.enrolled.by_gate(gate).map_or(probe::DEADLINE, |enrolled| enrolled.patience);
        self.probes.spawn(async move {
            tokio::time::sleep(turn).await;
            let asked = Instant::now();
            let (found, busy) = metered(probe::probe(&worker, &netns, &url, deadline)).await;
            recorded.probed(&found, asked.elapsed());
            tracing::debug!(%url, ?found, "probed");
            tokio::time::sleep(busy.saturating_sub(BUSY) * SHARE).await;
            // The agent is gone: nobody wants to know.
            let is_late = matches!(found, probe::Answer::Failed(ProbeError::Deadline(_)));
            let _ = answers.send(Asked { gate, answer: meaning(&found), found: Some(found.to_string()), is_late });
        });
    }

    /// Looks for listeners where connections wait; where none does, on the proxy's first port. False: nobody will.
    fn look(&mut self, gate: CgroupId, is_silent: bool) -> bool {
        let waited_for = self.waiting(gate).into_iter().filter_map(|record| syn::captured_at(record).ok()).collect();
        let Some(enrolled) = self.enrolled.by_gate(gate) else { return false };
        let Some([port, ..]) = enrolled.spec.as_ref().map(|spec| spec.capture_ports.0) else { return false };
        let target = enrolled.target(gate);
        self.injector.look(target, waited_for, port, is_silent)
    }

    pub(super) fn looked(&mut self, looked: Looked) {
        let Looked { gate, answer, is_silent } = looked;
        if !is_silent {
            return self.tell(Event::Probed { gate, answer });
        }
        let again = self.enrolled.by_gate(gate).is_some_and(|enrolled| enrolled.silence.answered());
        if again {
            self.ask_for_silence(gate);
        } else if answer == Answer::NotReady {
            self.tell(Event::Silent { gate });
        }
    }

    /// The workload's namespace is to be looked for again: it may be another one now.
    pub fn look_for_netns(&mut self, gate: CgroupId) {
        if let Some(enrolled) = self.enrolled.by_gate(gate) {
            enrolled.look_for_netns();
        }
    }

    /// The workload's namespace was looked for.
    pub fn found_netns(&mut self, gate: CgroupId, netns: Sandbox) {
        let Some(enrolled) = self.enrolled.by_gate(gate) else { return };
        match enrolled.found_netns(netns) {
            Life::Same => {}
            // Whoever asked before had nobody to ask.
            Life::First => self.tell(Event::Listening { gate }),
            Life::Another => {
                tracing::info!(gate = gate.0, "the pod begins anew, in another network namespace");
                self.injector.forget(gate);
                self.tell(Event::Renewed { gate });
            }
        }
    }

    /// One of the workload's containers starts.
    pub fn restarted(&mut self, gate: CgroupId) {
        self.tell(Event::Restarted { gate });
    }

    /// Whether the gate is open because its proxy was not ready in time.
    #[must_use]
    pub fn timed_out(&self, gate: CgroupId) -> bool {
        self.table.gate(gate).is_some_and(|gate| gate.reason() == Reason::Timeout)
    }

    /// One of the workload's containers is in this namespace: its own, unless another is known.
    pub fn saw_netns(&mut self, gate: CgroupId, netns: Sandbox) {
        if self.enrolled.by_gate(gate).is_some_and(|enrolled| !enrolled.knows_netns()) {
            self.found_netns(gate, netns);
        }
    }

    pub(super) fn answered(&mut self, asked: Asked) {
        let Asked { gate, answer, found, is_late } = asked;
        if let (Some(found), Some(enrolled)) = (found, self.enrolled.by_gate(gate)) {
            enrolled.patience = if is_late { probe::DEADLINE_MAX.min(enrolled.patience * 2) } else { probe::DEADLINE };
            enrolled.found = Some((clock::now(), found));
        }
        self.tell(Event::Probed { gate, answer });
    }

    pub(super) fn listening(&mut self, record: ListeningRecord) {
        let Ok(port) = u16::try_from(record.port) else { return };
        for gate in self.enrolled.captured(record.netns, port) {
            if record.listens != 0 {
                self.table.handle(clock::now(), Event::Listening { gate });
                // Told once, however often, until whoever is told has heard it.
                let is_told = |notice: &Notice| matches!(notice, Notice::Listening(told) if *told == gate);
                if self.closed.contains(&gate) && !self.notices.iter().any(is_told) {
                    self.notices.push_back(Notice::Listening(gate));
                }
            } else {
                self.ask_for_silence(gate);
            }
        }
    }

    /// Looks whether nobody listens any longer, where that matters: a proxy has several listeners, and some of them go. One
    /// look is under way at a time, however often they do.
    fn ask_for_silence(&mut self, gate: CgroupId) {
        let regates = |enrolled: &mut Enrolled| enrolled.spec.as_ref().is_some_and(|spec| spec.policy.regate.is_some());
        let Some(enrolled) = self.enrolled.by_gate(gate) else { return };
        if regates(enrolled)
            && enrolled.silence.ask()
            && !self.look(gate, true)
            && let Some(enrolled) = self.enrolled.by_gate(gate)
        {
            enrolled.silence.answered();
        }
    }
}

/// Does `work`, and says how long that kept the thread at work.
async fn metered<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let (mut work, mut busy) = (pin!(work), Duration::ZERO);
    poll_fn(|context| {
        let started = Instant::now();
        let done = work.as_mut().poll(context);
        busy += started.elapsed();
        done.map(|done| (done, busy))
    })
    .await
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
