//! The connections that are held: copies of their SYNs, and of DNS queries.
//!
//! Knows nothing of when to replay, or of how. Bounded, and a gate has its share only: what finds no room is left to the
//! kernel's own retry.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use conngate_common::{
    id::{CgroupId, MonoTime, SocketCookie},
    record::{ParkedRecord, UDP},
};

/// Nanoseconds after which no resolver sends a query again (glibc: 5 s), and none waits for the answer of an old one.
const RESOLVERS_PATIENCE: u64 = 6_000_000_000;

/// The most sockets of all pods together, some 30 MB, and of one of them: a pod that floods must not end the agent.
const ROOM: usize = 100_000;
const SHARE: usize = 20_000;

/// The most further datagrams of one socket; it sends again what is left out.
const MORE: usize = 3;

#[derive(Debug)]
struct Parked {
    record: Box<ParkedRecord>,
    /// Further datagrams of the same socket: a resolver asks for IPv4 and IPv6 at once.
    more: Vec<ParkedRecord>,
}

impl Parked {
    fn records(&self) -> impl Iterator<Item = &ParkedRecord> {
        [&*self.record].into_iter().chain(&self.more)
    }
}

/// Copies of held packets.
#[derive(Debug, Default)]
pub struct ParkedPackets {
    parked: HashMap<SocketCookie, Parked>,
    /// How many sockets of each gate.
    shares: HashMap<CgroupId, usize>,
}

impl ParkedPackets {
    /// Keeps the packet; says whether it is the first of its gate.
    pub fn park(&mut self, record: ParkedRecord) -> bool {
        match self.parked.get_mut(&record.header.socket).filter(|_| is_datagram(&record)) {
            Some(parked) if parked.more.len() < MORE => parked.more.push(record),
            Some(_) => {}
            None => {
                self.unpark(record.header.socket);
                self.parked.insert(record.header.socket, Parked { record: Box::new(record), more: Vec::new() });
                let share = self.shares.entry(record.header.gate).or_default();
                *share += 1;
                return *share == 1;
            }
        }
        false
    }

    /// Whether no further socket of `gate` finds room: then the kernel's own retry remains.
    pub fn is_full(&self, gate: CgroupId) -> bool {
        self.parked.len() >= ROOM || self.shares.get(&gate).is_some_and(|share| *share >= SHARE)
    }

    /// Whether a packet of this socket is kept.
    pub fn holds(&self, socket: SocketCookie) -> bool {
        self.parked.contains_key(&socket)
    }

    /// What the kernel told of this socket, while its packet is kept.
    pub fn record(&self, socket: SocketCookie) -> Option<&ParkedRecord> {
        self.parked.get(&socket).map(|parked| &*parked.record)
    }

    /// Whether none is kept, of anybody.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.parked.is_empty() && self.shares.is_empty()
    }

    /// The packets of `sockets`.
    pub fn records(&self, sockets: &[SocketCookie]) -> Vec<ParkedRecord> {
        sockets.iter().filter_map(|socket| self.parked.get(socket)).flat_map(Parked::records).copied().collect()
    }

    /// The sockets whose datagrams nobody waits for any longer at `now`, and whose gates they wait at.
    pub fn stale_datagrams(&self, now: MonoTime) -> Vec<(CgroupId, SocketCookie)> {
        let last = self.parked.values().filter_map(|parked| parked.records().last());
        let stale = last.filter(|record| is_datagram(record) && now.since(record.header.at) > RESOLVERS_PATIENCE);
        stale.map(|record| (record.header.gate, record.header.socket)).collect()
    }

    /// Lets go of a packet; answers its gate, where it was the last one kept there.
    pub fn unpark(&mut self, socket: SocketCookie) -> Option<CgroupId> {
        let gate = self.parked.remove(&socket)?.record.header.gate;
        let share = self.shares.get_mut(&gate)?;
        *share -= 1;
        (*share == 0).then(|| {
            self.shares.remove(&gate);
            gate
        })
    }
}

/// Where the packet went, after NAT: what has to listen for the connection to be made. `None`: it is neither IPv4 nor IPv6.
#[must_use]
pub fn captured_at(record: &ParkedRecord) -> Option<SocketAddr> {
    let address: IpAddr = match record.syn[0] >> 4 {
        4 => <[u8; 4]>::try_from(&record.syn[16..20]).ok()?.into(),
        6 => <[u8; 16]>::try_from(&record.syn[24..40]).ok()?.into(),
        _ => return None,
    };
    Some(SocketAddr::new(address, record.capture_port))
}

/// Whether it is a datagram, not a SYN.
#[must_use]
pub const fn is_datagram(record: &ParkedRecord) -> bool {
    record.header.protocol == UDP
}
