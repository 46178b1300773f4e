//! The waiting room: connections that are held although nobody has said yet whose they are.
//!
//! Knows nothing of how that is found out. The kernel holds them for the grace and no longer; after that they are let go of
//! here too. Bounded: what finds no room is left to the kernel's own retry.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use conngate_common::{
    id::{CgroupId, MonoTime},
    record::ParkedRecord,
};

/// How many connections may wait.
const ROOM: usize = 8192;

/// A container whose first process is still the runtime's is asked for again after this long.
const AGAIN: Duration = Duration::from_millis(5);

/// The waiting room.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// For their pod, by its gate.
    for_pod: HashMap<CgroupId, Vec<ParkedRecord>>,
    /// For their container, by when to look again.
    for_container: VecDeque<(MonoTime, ParkedRecord)>,
    room: usize,
}

impl Waiting {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self { room: ROOM, ..Self::default() }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.for_pod.values().map(Vec::len).sum::<usize>() + self.for_container.len()
    }

    /// Waits until the pod is known.
    pub(super) fn for_pod(&mut self, record: ParkedRecord) {
        if self.take_place() {
            self.for_pod.entry(record.header.gate).or_default().push(record);
        }
    }

    /// Waits until the container may be told apart.
    pub(super) fn for_container(&mut self, now: MonoTime, record: ParkedRecord) {
        if self.take_place() {
            self.for_container.push_back((now.plus(nanos(AGAIN)), record));
        }
    }

    /// Those who waited for this pod.
    pub(super) fn pod_is_known(&mut self, gate: CgroupId) -> Vec<ParkedRecord> {
        let records = self.for_pod.remove(&gate).unwrap_or_default();
        self.room += records.len();
        records
    }

    /// The next one whose container is to be looked at again.
    pub(super) fn due(&mut self, now: MonoTime) -> Option<ParkedRecord> {
        let (_, record) = self.for_container.pop_front_if(|(at, _)| *at <= now)?;
        self.room += 1;
        Some(record)
    }

    /// When [`Waiting::due`] has something next.
    pub(super) fn next_due(&self) -> Option<MonoTime> {
        self.for_container.front().map(|(at, _)| *at)
    }

    /// Lets go of those that the kernel has let go of.
    pub(super) fn expire(&mut self, now: MonoTime, grace: Duration) {
        // Not from its first drop: one that an earlier agent held is announced again, and is held for longer.
        let waits = |record: &ParkedRecord| now.since(record.header.at) < nanos(grace);
        self.for_pod.retain(|_, records| {
            records.retain(waits);
            !records.is_empty()
        });
        self.for_container.retain(|(_, record)| waits(record));
        self.room = ROOM.saturating_sub(self.len());
    }

    fn take_place(&mut self) -> bool {
        let free = self.room > 0;
        self.room = self.room.saturating_sub(1);
        free
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
