//! Held DNS queries: copies of them, and when each is sent again, answered as truncated, or of no use to anybody.
//!
//! Knows nothing of packets or sockets. A gate's own part, whether it is open, is told; who wants a query's socket to be let go
//! of, and when, is [`crate::gate`]'s.
//!
//! - **A query of an open gate is sent** when somebody is bound where it went, and tried until then: a proxy that says ready may have
//!   its DNS server only later (Kuma).
//! - **A query of a closed gate is answered as truncated** (TC=1), where TCP to the same port is captured too: its resolver asks
//!   again over TCP, whose connect() is held for as long as the gate is. After [`TRUNCATE_AFTER`], or when the resolver itself
//!   asks a second time. Only glibc's is answered so ([`ParkedRecord::over_tcp`]). The others would lose by it: c-ares gives TCP 5 s,
//!   and UDP 75; Go 5 s a try, as UDP; musl before 1.2.4 and Netty take a truncated answer for the whole one.
//!
//! Invariants: what one socket, one gate and all of them may have here is bounded; a copy is kept for its resolver's patience.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use conngate_common::{
    id::{CgroupId, MonoTime, SocketCookie},
    record::{Outcome, ParkedRecord, RecordHeader},
};

use crate::backoff::{IDLE_PROBE, PROBE, after};

/// How old a held query is when it is answered as truncated: half of the 5 s that glibc waits before it asks again. It has
/// 10 s in all, so a busy node's delays cost no lookup; and a proxy that starts within two seconds never sees TCP.
pub const TRUNCATE_AFTER: Duration = Duration::from_millis(2500);

/// The age at which no resolver waits for an answer any longer, or has asked again (glibc and Netty: 5 s).
const PATIENCE: Duration = Duration::from_secs(6);

/// How long an open gate waits for somebody to be bound where its queries go: as long as the most patient resolver (glibc). A
/// proxy that has no DNS server by then has none.
const LATE: Duration = Duration::from_secs(10);

/// How much later a hand is asked again that has refused.
const REFUSED: Duration = Duration::from_secs(1);

/// The most queries of all sockets together, some 10 MB (25 MB of the longest), of one gate, and of one socket: both families
/// with all search domains to three nameservers.
const ROOM: usize = 16_384;
const SHARE: usize = 2_048;
const MOST: usize = 48;

const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;

/// A copy of a held datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// What the kernel tells of it.
    pub record: ParkedRecord,
    /// The packet from its network header on, as after NAT.
    pub packet: Box<[u8]>,
}

impl Datagram {
    const fn socket(&self) -> SocketCookie {
        self.record.header.socket
    }

    const fn gate(&self) -> CgroupId {
        self.record.header.gate
    }

    /// Whether it asks the same of the same server: its resolver has asked a second time.
    fn repeats(&self, other: &Self) -> bool {
        (self.record.dst_ip, self.record.dst_port) == (other.record.dst_ip, other.record.dst_port)
            && self.payload() == other.payload()
    }

    /// What the datagram carries, as far as it was copied: a DNS message.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        let first = *self.packet.first()?;
        let ip = if first >> 4 == 4 { usize::from(first & 0x0f) * 4 } else { IPV6_HEADER };
        self.packet.get(ip + UDP_HEADER..)
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send these; where `look` says so, only if somebody is bound where they went, or, when there are none, on the gate's datagram
    /// port. To be answered with [`Queries::sent`].
    Send {
        /// Whose.
        gate: CgroupId,
        /// Which.
        queries: Vec<Arc<Datagram>>,
        /// Whether to look first.
        look: bool,
    },
    /// Answer these as truncated.
    Truncate {
        /// Whose.
        gate: CgroupId,
        /// Which.
        queries: Vec<Arc<Datagram>>,
    },
    /// No query of a socket is held any longer; the kernel does not tell of that.
    Ended {
        /// Whose, and which: that of its first query.
        header: RecordHeader,
        /// When that was dropped.
        first_drop: MonoTime,
        /// How.
        outcome: Outcome,
    },
    /// Somebody is bound where the gate's queries go, or nobody is waited for: none of them is to be held any more.
    Settled {
        /// Whose.
        gate: CgroupId,
    },
}

#[derive(Debug)]
struct Query {
    datagram: Arc<Datagram>,
    /// When the resolver asked first, and last.
    first: MonoTime,
    last: MonoTime,
    /// When it is to be sent; `None`: not, or it is being sent.
    due: Option<MonoTime>,
}

impl Query {
    /// When it is to be answered as truncated.
    fn truncate_at(&self) -> MonoTime {
        if self.last > self.first { self.last } else { after(self.first, TRUNCATE_AFTER) }
    }

    fn stale_at(&self) -> MonoTime {
        after(self.last, PATIENCE)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody has said yet whether it is to be held.
    Kept,
    /// Its gate is closed.
    Held { truncates: bool },
    /// Its gate is open.
    Released,
}

/// The queries of one socket.
#[derive(Debug)]
struct Socket {
    gate: CgroupId,
    /// Of its first query.
    header: RecordHeader,
    first_drop: MonoTime,
    phase: Phase,
    queries: Vec<Query>,
    /// Its place in [`Queries::due`].
    due: Option<MonoTime>,
}

impl Socket {
    const fn ended(&self, outcome: Outcome) -> Effect {
        Effect::Ended { header: self.header, first_drop: self.first_drop, outcome }
    }

    fn next(&self) -> Option<MonoTime> {
        let truncates = self.phase == Phase::Held { truncates: true };
        let times = |query: &Query| {
            [Some(query.stale_at()), query.due, truncates.then(|| query.truncate_at())].into_iter().flatten().min()
        };
        self.queries.iter().filter_map(times).min()
    }
}

/// An open gate of whose DNS nothing is known yet.
#[derive(Clone, Copy, Debug)]
struct Late {
    until: MonoTime,
    /// `None`: somebody is looking.
    due: Option<MonoTime>,
    failures: u32,
}

/// What [`Effect::Send`] asked for.
#[derive(Debug)]
struct Sending {
    queries: Vec<Arc<Datagram>>,
    look: bool,
}

/// How many queries of each gate there are.
#[derive(Debug, Default)]
struct Shares(HashMap<CgroupId, usize>);

impl Shares {
    fn of(&self, gate: CgroupId) -> usize {
        self.0.get(&gate).copied().unwrap_or_default()
    }

    fn has_room(&self, gate: CgroupId) -> bool {
        self.of(gate) < SHARE && self.0.values().sum::<usize>() < ROOM
    }

    fn take(&mut self, gate: CgroupId) {
        *self.0.entry(gate).or_default() += 1;
    }

    fn give_back(&mut self, gate: CgroupId, queries: usize) {
        if let Some(share) = self.0.get_mut(&gate) {
            *share -= queries;
            if *share == 0 {
                self.0.remove(&gate);
            }
        }
    }
}

/// All held queries.
#[derive(Debug, Default)]
pub struct Queries {
    sockets: HashMap<SocketCookie, Socket>,
    due: BTreeSet<(MonoTime, SocketCookie)>,
    late: BTreeMap<CgroupId, Late>,
    /// The gates whose queries are being sent.
    sending: HashMap<CgroupId, Sending>,
    shares: Shares,
    effects: VecDeque<Effect>,
}

impl Queries {
    /// Keeps a copy. What finds no room is left to its resolver, which asks again.
    pub fn keep(&mut self, now: MonoTime, datagram: Datagram) {
        let (id, gate) = (datagram.socket(), datagram.gate());
        let (header, first_drop, at) = (datagram.record.header, datagram.record.first_drop, datagram.record.header.at);
        let has_room = self.shares.has_room(gate);
        if !has_room && !self.sockets.contains_key(&id) {
            return;
        }
        let fresh = || Socket { gate, header, first_drop, phase: Phase::Kept, queries: Vec::new(), due: None };
        let socket = self.sockets.entry(id).or_insert_with(fresh);
        let due = (socket.phase == Phase::Released).then_some(now);
        let datagram = Arc::new(datagram);
        if let Some(same) = socket.queries.iter_mut().find(|query| datagram.repeats(&query.datagram)) {
            (same.datagram, same.last, same.due) = (datagram, at, due);
        } else if has_room && socket.queries.len() < MOST {
            self.shares.take(gate);
            socket.queries.push(Query { datagram, first: at, last: at, due });
        }
        self.schedule(id);
    }

    /// The socket's queries are held at its gate; answered as truncated where `truncates` says so and its resolver does not lose by it.
    /// False: none is kept, or no longer.
    #[must_use]
    pub fn hold(&mut self, socket: SocketCookie, truncates: bool) -> bool {
        let Some(held) = self.sockets.get_mut(&socket) else { return false };
        if held.phase == Phase::Kept {
            let over_tcp = held.queries.first().is_some_and(|query| query.datagram.record.over_tcp != 0);
            held.phase = Phase::Held { truncates: truncates && over_tcp };
            self.schedule(socket);
        }
        true
    }

    /// Gives the socket's queries away; those that a gate holds stay its own.
    pub fn take(&mut self, socket: SocketCookie) -> Vec<Arc<Datagram>> {
        if self.sockets.get(&socket).is_some_and(|held| held.phase != Phase::Kept) {
            return Vec::new();
        }
        self.remove(socket).into_iter().flat_map(|socket| socket.queries).map(|query| query.datagram).collect()
    }

    /// The socket's queries are let go of, unanswered.
    pub fn abandon(&mut self, socket: SocketCookie) {
        self.end(socket, Outcome::Abandoned);
    }

    /// The gate is open because its proxy is ready: queries pass once somebody is bound where they go.
    pub fn opened(&mut self, now: MonoTime, gate: CgroupId) {
        self.late.entry(gate).or_insert(Late { until: after(now, LATE), due: Some(now), failures: 0 });
    }

    /// Whether no query is kept, and nobody is looked for.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        let Self { sockets, due, late, sending, shares, effects } = self;
        let queries = sockets.is_empty() && due.is_empty() && shares.0.is_empty();
        queries && late.is_empty() && sending.is_empty() && effects.is_empty()
    }

    /// Whether queries of this socket are kept.
    #[cfg(test)]
    pub(crate) fn holds(&self, socket: SocketCookie) -> bool {
        self.sockets.contains_key(&socket)
    }

    /// Queries pass whether somebody is bound or not: the gate is open for another reason.
    pub fn passes(&mut self, gate: CgroupId) {
        self.late.remove(&gate);
    }

    /// The gate is closed. What it had let go, and was not sent yet, is left to its resolver.
    pub fn closed(&mut self, gate: CgroupId) {
        self.late.remove(&gate);
        let released = |socket: &Socket| socket.gate == gate && socket.phase == Phase::Released;
        let released = self.sockets.iter().filter(|(_, socket)| released(socket)).map(|(id, _)| *id);
        let released: BTreeSet<_> = released.collect();
        released.into_iter().for_each(|id| self.abandon(id));
    }

    /// How many gates are open and still wait for somebody to be bound where their queries go.
    #[must_use]
    pub fn late(&self) -> usize {
        self.late.len()
    }

    /// The gate is gone.
    pub fn forget(&mut self, gate: CgroupId) {
        self.late.remove(&gate);
        self.sending.remove(&gate);
        let of_gate = self.sockets.iter().filter(|(_, socket)| socket.gate == gate).map(|(id, _)| *id);
        for socket in of_gate.collect::<Vec<_>>() {
            self.remove(socket);
        }
    }

    /// The gate lets these sockets' queries go.
    pub fn release(&mut self, now: MonoTime, sockets: &[SocketCookie]) {
        for &id in sockets {
            let Some(socket) = self.sockets.get_mut(&id) else { continue };
            if matches!(socket.phase, Phase::Kept | Phase::Held { .. }) {
                socket.phase = Phase::Released;
                socket.queries.iter_mut().for_each(|query| query.due = Some(now));
                self.schedule(id);
            }
        }
    }

    /// What [`Effect::Send`] asked for was tried: `bound` says whether somebody was there, and so whether they were sent.
    pub fn sent(&mut self, now: MonoTime, gate: CgroupId, bound: bool) {
        let Some(Sending { queries: sending, look }) = self.sending.remove(&gate) else { return };
        // A query that comes meanwhile makes somebody look at once, and the kernel lets pass what finds somebody bound.
        let backoff = if sending.is_empty() { IDLE_PROBE } else { PROBE };
        let again = match self.late.get_mut(&gate).filter(|_| look) {
            Some(late) if !bound && late.until > now => {
                late.due = Some(after(now, backoff.delay(late.failures)));
                late.failures += 1;
                late.due
            }
            // As without a gate.
            Some(_) => {
                self.late.remove(&gate);
                self.effects.push_back(Effect::Settled { gate });
                None
            }
            None => None,
        };
        for datagram in sending {
            let id = datagram.socket();
            let Some(socket) = self.sockets.get_mut(&id) else { continue };
            let is_it = |query: &mut Query| Arc::ptr_eq(&query.datagram, &datagram);
            if !bound {
                let query = socket.queries.iter_mut().find(|query| Arc::ptr_eq(&query.datagram, &datagram));
                query.into_iter().for_each(|query| query.due = again.or_else(|| Some(after(now, REFUSED))));
            } else if socket.queries.extract_if(.., is_it).next().is_some() {
                self.shares.give_back(gate, 1);
            }
            if socket.queries.is_empty() {
                self.end(id, Outcome::Established);
            } else {
                self.schedule(id);
            }
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: MonoTime) {
        let mut to_send: BTreeMap<CgroupId, Vec<Arc<Datagram>>> = BTreeMap::new();
        let mut to_truncate: BTreeMap<CgroupId, Vec<Arc<Datagram>>> = BTreeMap::new();
        let mut ended = Vec::new();
        let due = self.due.range(..=(now, SocketCookie(u64::MAX))).map(|(_, socket)| *socket).collect::<Vec<_>>();
        for id in due {
            let Some(socket) = self.sockets.get_mut(&id) else { continue };
            let (gate, before) = (socket.gate, socket.queries.len());
            let truncates = socket.phase == Phase::Held { truncates: true };
            socket.queries.retain(|query| query.stale_at() > now);
            let mut truncated = false;
            if truncates {
                let answered = |query: &mut Query| query.truncate_at() <= now;
                let answered = socket.queries.extract_if(.., answered).map(|query| query.datagram).collect::<Vec<_>>();
                truncated = !answered.is_empty();
                to_truncate.entry(gate).or_default().extend(answered);
            }
            if !self.sending.contains_key(&gate) {
                for query in socket.queries.iter_mut().filter(|query| query.due.is_some_and(|due| due <= now)) {
                    query.due = None;
                    to_send.entry(gate).or_default().push(query.datagram.clone());
                }
            } else {
                // One job of a gate at a time: its answer comes, or the hand has refused it.
                let busy = socket.queries.iter_mut().filter(|query| query.due.is_some_and(|due| due <= now));
                busy.for_each(|query| query.due = Some(after(now, PROBE.delay(0))));
            }
            self.shares.give_back(gate, before - socket.queries.len());
            if socket.queries.is_empty() {
                ended.push((id, if truncated { Outcome::Truncated } else { Outcome::Abandoned }));
            } else {
                self.schedule(id);
            }
        }
        for (gate, queries) in to_truncate.into_iter().filter(|(_, queries)| !queries.is_empty()) {
            self.effects.push_back(Effect::Truncate { gate, queries });
        }
        for (id, outcome) in ended {
            self.end(id, outcome);
        }
        for (gate, late) in &mut self.late {
            if !self.sending.contains_key(gate) && late.due.is_some_and(|due| due <= now) {
                late.due = None;
                to_send.entry(*gate).or_default();
            }
        }
        for (gate, queries) in to_send {
            let look = self.late.contains_key(&gate);
            self.sending.insert(gate, Sending { queries: queries.clone(), look });
            self.effects.push_back(Effect::Send { gate, queries, look });
        }
    }

    /// What is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to tick next, provided that nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonoTime> {
        let late = self.late.iter().filter(|(gate, _)| !self.sending.contains_key(gate));
        let late = late.filter_map(|(_, late)| late.due);
        self.due.first().map(|(at, _)| *at).into_iter().chain(late).min()
    }

    fn end(&mut self, id: SocketCookie, outcome: Outcome) {
        let Some(socket) = self.remove(id) else { return };
        match socket.phase {
            Phase::Held { .. } | Phase::Released => {
                self.effects.push_back(socket.ended(outcome));
            }
            // Nobody was told of it.
            Phase::Kept => {}
        }
    }

    fn remove(&mut self, id: SocketCookie) -> Option<Socket> {
        let socket = self.sockets.remove(&id)?;
        if let Some(due) = socket.due {
            self.due.remove(&(due, id));
        }
        self.shares.give_back(socket.gate, socket.queries.len());
        Some(socket)
    }

    fn schedule(&mut self, id: SocketCookie) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if let Some(due) = socket.due.take() {
            self.due.remove(&(due, id));
        }
        socket.due = socket.next();
        self.due.extend(socket.due.map(|due| (due, id)));
    }
}

#[cfg(test)]
mod tests;
