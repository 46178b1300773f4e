//! The journal: what happened to each gate lately, for `explain`, `events`, `report` and the pods' series.
//!
//! Knows no clock, no kernel and no pods: names, times and events are handed in. Bounded: so many events, decisions,
//! lives and connections are remembered, and what is older is forgotten.

use std::collections::{BTreeMap, HashMap, VecDeque};

use conngate_common::id::CgroupId;
use tokio::sync::broadcast;

use crate::view::{
    Time, VERSION,
    event::{Event, What},
    explain::{DECISIONS, Decision},
    report::{Life, Span},
};

/// Events that `events` shows at first, and that a slow reader may lag behind.
const EVENTS: usize = 512;

/// Lives of gates that are over.
const LIVES: usize = 64;

/// Connections of one life that are told one by one.
const SPANS: usize = 200;

/// The journal.
#[derive(Debug)]
pub(super) struct Journal {
    gates: HashMap<CgroupId, Entry>,
    over: VecDeque<Life>,
    recent: VecDeque<Event>,
    readers: broadcast::Sender<Event>,
}

#[derive(Debug, Default)]
struct Entry {
    pod: String,
    since: Option<Time>,
    decisions: VecDeque<Decision>,
    life: Option<Life>,
    /// Sockets of the life's connections, by their place there.
    spans: HashMap<u64, usize>,
    held: BTreeMap<String, u64>,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self {
            gates: HashMap::new(),
            over: VecDeque::new(),
            recent: VecDeque::new(),
            readers: broadcast::Sender::new(EVENTS),
        }
    }

    /// Something happened to a gate of this `pod`.
    pub(super) fn happened(&mut self, gate: CgroupId, pod: &str, time: Time, what: What) {
        // What comes late of a gate that has gone makes no new one.
        let is_there = matches!(what, What::Changed { .. }) || self.gates.contains_key(&gate);
        let entry = is_there.then(|| self.gates.entry(gate).or_default());
        if let Some(entry) = entry {
            pod.clone_into(&mut entry.pod);
            if let Some(over) = entry.happened(pod, time, &what) {
                keep(&mut self.over, over, LIVES);
            }
        }
        if what == What::Gone {
            self.gates.remove(&gate);
        }
        let event = Event { version: VERSION, time, pod: Some(pod.to_owned()), what };
        // Nobody reads: that is as it should be most of the time.
        let _ = self.readers.send(event.clone());
        keep(&mut self.recent, event, EVENTS);
    }

    /// The last events, and those that will come.
    pub(super) fn events(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        (self.recent.iter().cloned().collect(), self.readers.subscribe())
    }

    /// The last lives of gates, those that are not over included, the last one first.
    pub(super) fn lives(&self) -> Vec<Life> {
        let current = self.gates.values().filter_map(|entry| entry.life.as_ref());
        let mut lives: Vec<_> = self.over.iter().chain(current).cloned().collect();
        lives.sort_by_key(|life| std::cmp::Reverse(life.closed));
        lives.truncate(LIVES);
        lives
    }

    /// What was decided of a gate last, the oldest first.
    pub(super) fn decisions(&self, gate: CgroupId) -> Vec<Decision> {
        self.gates.get(&gate).map(|entry| entry.decisions.iter().cloned().collect()).unwrap_or_default()
    }

    /// Since when a gate is in its state.
    pub(super) fn since(&self, gate: CgroupId) -> Option<Time> {
        self.gates.get(&gate)?.since
    }

    /// How many connections of each container were held; the name is empty where it is not known.
    pub(super) fn held(&self, gate: CgroupId) -> BTreeMap<String, u64> {
        self.gates.get(&gate).map(|entry| entry.held.clone()).unwrap_or_default()
    }
}

impl Entry {
    /// Takes it in; a life that is over by that is answered.
    fn happened(&mut self, pod: &str, time: Time, what: &What) -> Option<Life> {
        if let Some((what, reason)) = decision(what) {
            let decision = Decision { at: time, what, reason };
            keep(&mut self.decisions, decision, DECISIONS);
        }
        match what {
            What::Changed { state, reason, mode } => {
                self.since = Some(time);
                if state == "holding" {
                    let over = self.life.replace(Life::new(pod, mode.as_deref().unwrap_or_default(), time));
                    self.spans.clear();
                    return over;
                }
                if let Some(life) = self.life.as_mut().filter(|life| life.opened.is_none()) {
                    (life.opened, life.reason) = (Some(time), Some(reason.clone()));
                }
            }
            What::Listening => {
                if let Some(life) = self.life.as_mut().filter(|life| life.opened.is_none()) {
                    life.listening.get_or_insert(time);
                }
            }
            What::Held(connection) => {
                *self.held.entry(connection.container.clone().unwrap_or_default()).or_default() += 1;
                if let Some(life) = &mut self.life {
                    life.held += 1;
                    if life.connections.len() < SPANS {
                        self.spans.insert(connection.socket, life.connections.len());
                        life.connections.push(Span { connection: connection.clone(), ended: None, outcome: None });
                    }
                }
            }
            What::Ended { socket, outcome, .. } => {
                let place = self.spans.remove(socket);
                let span = place.and_then(|place| self.life.as_mut()?.connections.get_mut(place));
                if let Some(span) = span {
                    (span.ended, span.outcome) = (Some(time), Some(outcome.clone()));
                }
            }
            What::Gone => {
                return self.life.take().map(|life| Life { gone: Some(time), ..life });
            }
            What::Container { .. }
            | What::StartedBeforeAgent { .. }
            | What::Opened { .. }
            | What::Terminating
            | What::Missed { .. } => {}
        }
        None
    }
}

/// What `explain` tells of it, and its reason; connections are told one by one elsewhere.
fn decision(what: &What) -> Option<(String, Option<String>)> {
    match what {
        What::Changed { state, reason, mode } => {
            let mode = mode.as_ref().map(|mode| format!(", mode {mode}")).unwrap_or_default();
            Some((format!("gate {state}{mode}"), Some(reason.clone())))
        }
        What::Container { container, class } => Some((format!("container {container:?} identified: {class}"), None)),
        What::StartedBeforeAgent { container } => {
            Some((format!("container {container:?} started before anything held connections here"), None))
        }
        What::Listening => Some(("a listener appeared on a capture port".to_owned(), None)),
        What::Opened { reason, held, waiting, longest_seconds } => {
            let what =
                format!("released: held {held}, still waiting {waiting}, the longest for {longest_seconds:.3} s");
            Some((what, Some(reason.clone())))
        }
        What::Terminating => Some(("the pod is being deleted".to_owned(), None)),
        What::Held(_) | What::Ended { .. } | What::Gone | What::Missed { .. } => None,
    }
}

fn keep<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(item);
}

#[cfg(test)]
mod tests;
