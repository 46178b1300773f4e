//! How fast parked SYNs go out once their gate is open: a window of unanswered ones, each repeated for a while.
//!
//! Knows nothing of gates, or of how a SYN is sent.
//!
//! Invariants:
//! - At most `window` sockets are outstanding: sent, not ended, not given up.
//! - The others wait in their order, and every one of them is sent unless it ends first.
//! - A socket that ended or was given up is not sent again; without any answer all are given up in the end.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use conngate_common::id::{MonoTime, SocketCookie};

use crate::backoff::{REPLAY, after};

/// How many replayed SYNs may be unanswered at a time. A listener's accept queue holds `net.core.somaxconn` connections,
/// 4096 by default and often less by listen()'s own backlog; a SYN that finds it full is dropped and waits for a timer.
pub const WINDOW: usize = 2048;

/// How often an unanswered SYN is sent again, 1.6 s in all, before it is left to the kernel's own timer: by then the
/// kernel has tried about three times itself.
pub(super) const RESENDS: u32 = 8;

/// What sending a SYN may take, with the handshake that it does: nobody answers what has not gone out.
pub(super) const SENDING: Duration = Duration::from_micros(50);

/// The parked SYNs of one open gate.
#[derive(Debug)]
pub(super) struct Pacer {
    window: usize,
    places: BTreeMap<SocketCookie, Place>,
    /// Not sent yet, by their number in the queue.
    queue: BTreeMap<u64, SocketCookie>,
    /// Sent and not answered, by the time at which that calls for action; how often each was sent again.
    outstanding: BTreeMap<(MonoTime, SocketCookie), u32>,
    /// The next number in the queue.
    number: u64,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Queued { number: u64 },
    Sent { due: MonoTime },
}

/// What is to be done now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// To be sent.
    pub(super) replay: Vec<SocketCookie>,
    /// Left to the kernel.
    pub(super) given_up: Vec<SocketCookie>,
}

impl Pacer {
    pub(super) fn new(window: usize) -> Self {
        let (places, queue, outstanding) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { window: window.max(1), places, queue, outstanding, number: 0 }
    }

    /// Puts `socket` at the end of the queue, unless it is under way already.
    pub(super) fn push(&mut self, socket: SocketCookie) {
        if let Entry::Vacant(place) = self.places.entry(socket) {
            place.insert(Place::Queued { number: self.number });
            self.queue.insert(self.number, socket);
            self.number += 1;
        }
    }

    /// `socket` needs no help any more; says whether it was under way.
    pub(super) fn remove(&mut self, socket: SocketCookie) -> bool {
        match self.places.remove(&socket) {
            Some(Place::Queued { number }) => self.queue.remove(&number).is_some(),
            Some(Place::Sent { due }) => self.outstanding.remove(&(due, socket)).is_some(),
            None => false,
        }
    }

    /// Everything that can go at `now`: the repetitions that are due, then the queue as far as the window is free. Of a long
    /// queue half a window or nothing: a batch for each answer would cost more than what is in it.
    pub(super) fn pump(&mut self, now: MonoTime) -> Batch {
        let mut batch = Batch::default();
        let gone = after(now, SENDING * u32::try_from(self.places.len().min(self.window)).unwrap_or(u32::MAX));
        while let Some(first) = self.outstanding.first_entry()
            && first.key().0 <= now
        {
            let ((_, socket), resends) = first.remove_entry();
            if resends < RESENDS {
                batch.replay.push(socket);
                self.sent(gone, socket, resends + 1);
            } else {
                batch.given_up.push(socket);
                self.places.remove(&socket);
            }
        }
        let free = self.window.saturating_sub(self.outstanding.len());
        if free >= self.queue.len() || 2 * free >= self.window {
            while self.outstanding.len() < self.window
                && let Some((_, socket)) = self.queue.pop_first()
            {
                batch.replay.push(socket);
                self.sent(gone, socket, 0);
            }
        }
        batch
    }

    fn sent(&mut self, gone: MonoTime, socket: SocketCookie, resends: u32) {
        let due = after(gone, REPLAY.delay(resends));
        self.places.insert(socket, Place::Sent { due });
        self.outstanding.insert((due, socket), resends);
    }

    /// When to pump next, provided that nothing happens before.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.outstanding.first_key_value().map(|(&(due, _), _)| due)
    }

    /// The sockets under way.
    pub(super) fn sockets(&self) -> impl Iterator<Item = SocketCookie> {
        self.places.keys().copied()
    }
}

#[cfg(test)]
mod tests;
