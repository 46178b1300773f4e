//! The connections that are held: what the kernel told of each, a copy of its SYN with it. Of a resolver's socket it is the first
//! query; all of them are in [`crate::dns`].
//!
//! Knows nothing of when to replay, or of how. Bounded, and a gate has its share only: what finds no room is left to the
//! kernel's own retry.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use conngate_common::{
    id::{CgroupId, SocketCookie},
    record::{ParkedRecord, UDP},
};

/// The most sockets of all pods together, some 30 MB, and of one of them: a pod that floods must not end the agent.
const ROOM: usize = 100_000;
const SHARE: usize = 20_000;

/// Copies of held packets.
#[derive(Debug, Default)]
pub struct ParkedPackets {
    parked: HashMap<SocketCookie, Box<ParkedRecord>>,
    /// How many sockets of each gate.
    shares: HashMap<CgroupId, usize>,
}

impl ParkedPackets {
    /// Keeps the packet; says whether it is the first of its gate.
    pub fn park(&mut self, record: ParkedRecord) -> bool {
        let socket = record.header.socket;
        if is_datagram(&record) && self.holds(socket) {
            return false;
        }
        self.unpark(socket);
        self.parked.insert(socket, Box::new(record));
        let share = self.shares.entry(record.header.gate).or_default();
        *share += 1;
        *share == 1
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
        self.parked.get(&socket).map(Box::as_ref)
    }

    /// Whether none is kept, of anybody.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.parked.is_empty() && self.shares.is_empty()
    }

    /// The packets of `sockets`.
    pub fn records(&self, sockets: &[SocketCookie]) -> Vec<ParkedRecord> {
        sockets.iter().filter_map(|socket| self.record(*socket)).copied().collect()
    }

    /// Lets go of a packet; answers its gate, where it was the last one kept there.
    pub fn unpark(&mut self, socket: SocketCookie) -> Option<CgroupId> {
        let gate = self.parked.remove(&socket)?.header.gate;
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
