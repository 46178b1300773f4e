//! Connections of containers that nobody has classified: they are held, and wait until it is known whose they are.
//!
//! Knows nothing of how that is found out. The kernel holds them for the grace and no longer; after that they are let go of
//! here too. Bounded, and a pod has its share only: what finds no room is left to the kernel's own retry.
//!
//! Invariants:
//! - Of a container one question is open at most, however many of its connections wait; they wait on it.
//! - A question without an answer worth anything is asked again ever more rarely, from 5 ms to a second.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use conngate_common::{
    id::{CgroupId, MonoTime, SocketCookie},
    record::ParkedRecord,
};

use crate::backoff::{Backoff, after};

/// How many connections may wait, of all pods and of one.
const ROOM: usize = 8192;
const SHARE: usize = 1024;

/// When a container that could not be told apart is looked at again: its first process may be the runtime's for a moment.
const LOOK: Backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));

/// A container: its pod's gate, and its cgroup.
pub type Container = (CgroupId, CgroupId);

/// The connections that wait for their pod or container to be known.
#[derive(Debug, Default)]
pub struct Unclassified {
    /// For their pod, by its gate.
    for_pod: HashMap<CgroupId, Vec<ParkedRecord>>,
    for_container: BTreeMap<Container, Question>,
}

#[derive(Debug)]
struct Question {
    /// When to ask again; `None`: it is open.
    again: Option<MonoTime>,
    failures: u32,
    since: MonoTime,
    records: Vec<ParkedRecord>,
}

impl Unclassified {
    /// How many wait.
    pub fn count(&self) -> usize {
        self.for_pod.values().map(Vec::len).sum::<usize>()
            + self.for_container.values().map(|question| question.records.len()).sum::<usize>()
    }

    /// The sockets that wait for their pod, and those that wait for their container.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> [Vec<(CgroupId, SocketCookie)>; 2] {
        let whose = |record: &ParkedRecord| (record.header.gate, record.header.socket);
        let of_containers = self.for_container.values().flat_map(|question| &question.records);
        [self.for_pod.values().flatten().map(whose).collect(), of_containers.map(whose).collect()]
    }

    /// Waits until the pod is known.
    pub fn for_pod(&mut self, record: ParkedRecord) {
        if self.has_room(record.header.gate) {
            self.for_pod.entry(record.header.gate).or_default().push(record);
        }
    }

    /// Waits until the container is told apart; says whether that is to be asked now.
    pub fn for_container(&mut self, now: MonoTime, record: ParkedRecord) -> bool {
        let container = (record.header.gate, record.container);
        let has_room = self.has_room(container.0);
        let is_new = self.ask(now, container);
        if let Some(question) = self.for_container.get_mut(&container).filter(|_| has_room) {
            question.records.push(record);
        }
        is_new
    }

    /// A container is to be told apart, whether a connection waits for that or not; says whether that is to be asked now.
    pub fn ask(&mut self, now: MonoTime, container: Container) -> bool {
        let is_new = !self.for_container.contains_key(&container);
        if is_new {
            let question = Question { again: None, failures: 0, since: now, records: Vec::new() };
            self.for_container.insert(container, question);
        }
        is_new
    }

    /// Those who waited for this pod.
    pub fn pod_is_known(&mut self, gate: CgroupId) -> Vec<ParkedRecord> {
        self.for_pod.remove(&gate).unwrap_or_default()
    }

    /// Those who waited for this container, which is told apart, or gone.
    pub fn container_is_known(&mut self, container: Container) -> Vec<ParkedRecord> {
        self.for_container.remove(&container).map(|question| question.records).unwrap_or_default()
    }

    /// The container cannot be told apart yet; since when it has been asked for.
    pub fn not_yet(&mut self, now: MonoTime, container: Container) -> Option<MonoTime> {
        let question = self.for_container.get_mut(&container)?;
        question.again = Some(after(now, LOOK.delay(question.failures)));
        question.failures = question.failures.saturating_add(1);
        Some(question.since)
    }

    /// The containers to be asked for again.
    pub fn due(&mut self, now: MonoTime) -> Vec<Container> {
        let due = |question: &&mut Question| question.again.is_some_and(|at| at <= now);
        let due =
            self.for_container.iter_mut().map(|(id, question)| (*id, question)).filter(|(_, question)| due(question));
        due.map(|(id, question)| {
            question.again = None;
            id
        })
        .collect()
    }

    /// When [`Unclassified::due`] has something next.
    pub fn next_due(&self) -> Option<MonoTime> {
        self.for_container.values().filter_map(|question| question.again).min()
    }

    /// A connection waits no longer.
    pub fn ended(&mut self, gate: CgroupId, socket: SocketCookie) {
        let stays = |record: &ParkedRecord| record.header.socket != socket;
        if let Some(records) = self.for_pod.get_mut(&gate) {
            records.retain(stays);
        }
        for (_, question) in self.of(gate) {
            question.records.retain(stays);
        }
    }

    /// The pod is gone.
    pub fn gone(&mut self, gate: CgroupId) {
        self.for_pod.remove(&gate);
        self.for_container.retain(|container, _| container.0 != gate);
    }

    /// Lets go of those that the kernel has let go of: not of those that wait for a pod whose gate `is_closed` all the same.
    /// Answers the pods and how many of each it were that waited for their container.
    pub fn expire(
        &mut self,
        now: MonoTime,
        grace: Duration,
        is_closed: impl Fn(CgroupId) -> bool,
    ) -> BTreeMap<CgroupId, usize> {
        // Not from its first drop: one that an earlier agent held is announced again, and is held for longer.
        let waits = |record: &ParkedRecord| now < after(record.header.at, grace);
        self.for_pod.retain(|gate, records| {
            records.retain(|record| is_closed(*gate) || waits(record));
            !records.is_empty()
        });
        let mut expired = BTreeMap::new();
        self.for_container.retain(|container, question| {
            let before = question.records.len();
            question.records.retain(waits);
            let gone = before - question.records.len();
            if gone > 0 {
                *expired.entry(container.0).or_default() += gone;
            }
            !question.records.is_empty() || now < after(question.since, grace)
        });
        expired
    }

    fn has_room(&mut self, gate: CgroupId) -> bool {
        let of_pod = self.for_pod.get(&gate).map_or(0, Vec::len)
            + self.of(gate).map(|(_, question)| question.records.len()).sum::<usize>();
        of_pod < SHARE && self.count() < ROOM
    }

    fn of(&mut self, gate: CgroupId) -> impl Iterator<Item = (&Container, &mut Question)> {
        self.for_container.range_mut((gate, CgroupId(0))..=(gate, CgroupId(u64::MAX)))
    }
}

#[cfg(test)]
mod tests;
