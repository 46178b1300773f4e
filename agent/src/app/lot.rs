//! The parking lot: copies of held SYNs, the namespaces they belong to, and the sockets that reach into those.
//!
//! Knows nothing of when to replay. A namespace is kept open while a SYN is parked in it; what cannot be replayed is
//! left to the kernel's own retry: what cannot be attributed, too, for a replay is to be sent as whom the SYN was.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::{Rc, Weak},
};

use conngate_common::{
    id::{CgroupId, MonoTime, NetnsCookie, SocketCookie},
    record::{ParkedRecord, UDP},
};

use super::{Home, error_chain};
use crate::{
    kernel::{
        destroy,
        replay::{datagram, raw::Replayer, syn},
        sock_diag::{SockDiag, SockDiagError},
    },
    metrics::Recorded,
    netns::{Netns, NetnsWorker, Owner},
};

/// Nanoseconds after which no resolver sends a query again (glibc: 5 s), and none waits for the answer of an old one.
const RESOLVERS_PATIENCE: u64 = 6_000_000_000;

struct Parked {
    record: Box<ParkedRecord>,
    /// Further datagrams of the same socket: a resolver asks for IPv4 and IPv6 at once.
    more: Vec<ParkedRecord>,
    place: Rc<Place>,
    replayer: Option<Rc<Replayer>>,
}

/// The most sockets of all pods together, some 50 MB: a pod that floods must not end the agent.
const ROOM: usize = 100_000;

/// The most further datagrams of one socket; it sends again what is left out.
const MORE: usize = 3;

/// The most owners of one namespace that have sockets: two descriptors each.
const OWNERS: usize = 8;

/// A namespace in which SYNs are parked.
struct Place {
    netns: Netns,
    /// `None`: no sockets are to be had.
    replayers: RefCell<HashMap<Owner, Option<Rc<Replayer>>>>,
}

impl Place {
    /// What sends as `owner` in here.
    fn replayer(&self, worker: &NetnsWorker, owner: Owner) -> Option<Rc<Replayer>> {
        let mut replayers = self.replayers.borrow_mut();
        if replayers.len() >= OWNERS && !replayers.contains_key(&owner) {
            return None;
        }
        let open = || {
            let opened = Replayer::open(worker, &self.netns, owner).inspect_err(|error| {
                tracing::warn!(error = error_chain(error), "no replay: the kernel's own retry remains");
            });
            opened.ok().map(Rc::new)
        };
        replayers.entry(owner).or_insert_with(open).clone()
    }
}

pub(super) struct Lot {
    worker: NetnsWorker,
    parked: HashMap<SocketCookie, Parked>,
    places: HashMap<NetnsCookie, Weak<Place>>,
    /// The group of a user's processes in a container, where no connect hook tells it.
    groups: HashMap<(CgroupId, u32), Option<u32>>,
    recorded: Recorded,
}

impl Lot {
    pub(super) fn new(worker: NetnsWorker, recorded: Recorded) -> Self {
        Self { worker, parked: HashMap::new(), places: HashMap::new(), groups: HashMap::new(), recorded }
    }

    /// Keeps the SYN; answers its namespace, which is `home` where the connecting process does not show another. Without
    /// any, nothing is kept: the kernel's own retry remains. `workload` is whose it is.
    pub(super) fn park(&mut self, record: ParkedRecord, home: Option<Netns>, workload: &Home) -> Option<Netns> {
        let place = self.place(&record, home)?;
        let netns = place.netns.clone();
        match self.parked.get_mut(&record.header.socket).filter(|_| is_datagram(&record)) {
            Some(parked) if parked.more.len() < MORE => parked.more.push(record),
            Some(_) => {}
            None => {
                let replayer = self.owner(&record, workload).and_then(|owner| place.replayer(&self.worker, owner));
                let parked = Parked { record: Box::new(record), more: Vec::new(), place, replayer };
                self.parked.insert(record.header.socket, parked);
            }
        }
        Some(netns)
    }

    /// Whether no other socket's packet finds room: then the kernel's own retry remains.
    pub(super) fn is_full(&self) -> bool {
        self.parked.len() >= ROOM
    }

    /// Whether a SYN of this socket is kept.
    pub(super) fn holds(&self, socket: SocketCookie) -> bool {
        self.parked.contains_key(&socket)
    }

    /// What the kernel told of this socket, while its SYN is kept.
    pub(super) fn record(&self, socket: SocketCookie) -> Option<&ParkedRecord> {
        self.parked.get(&socket).map(|parked| &*parked.record)
    }

    /// The sockets whose datagrams nobody waits for any longer at `now`, and whose gates they wait at.
    pub(super) fn stale_datagrams(&self, now: MonoTime) -> Vec<(CgroupId, SocketCookie)> {
        let records = self.parked.values().map(|parked| parked.more.last().unwrap_or(&parked.record));
        let stale = records.filter(|record| is_datagram(record) && now.since(record.header.at) > RESOLVERS_PATIENCE);
        stale.map(|record| (record.header.gate, record.header.socket)).collect()
    }

    pub(super) fn unpark(&mut self, socket: SocketCookie) {
        self.parked.remove(&socket);
        if self.parked.is_empty() {
            self.places.clear();
            self.groups.clear();
        }
    }

    /// Sends the SYNs of `sockets` again.
    pub(super) fn replay(&self, sockets: &[SocketCookie], now: MonoTime) {
        let mut packets: Vec<(&Rc<Replayer>, Vec<_>)> = Vec::new();
        let mut failed = 0;
        let parked = sockets.iter().filter_map(|socket| self.parked.get(socket));
        let records = parked
            .flat_map(|parked| [&*parked.record].into_iter().chain(&parked.more).map(move |record| (parked, record)));
        for (parked, record) in records {
            let Some(replayer) = &parked.replayer else {
                failed += 1;
                continue;
            };
            let rebuilt = if is_datagram(record) { datagram::rebuild(record) } else { syn::rebuild(record, now) };
            match rebuilt {
                Ok(packet) => match packets.iter_mut().find(|(same, _)| Rc::ptr_eq(same, replayer)) {
                    Some((_, packets)) => packets.push(packet),
                    None => packets.push((replayer, vec![packet])),
                },
                Err(error) => {
                    failed += 1;
                    tracing::debug!(error = error_chain(&error), "SYN left to the kernel's own retry");
                }
            }
        }
        for (replayer, packets) in packets {
            let sent = match replayer.send(&packets) {
                Ok(sent) => sent,
                Err(error) => {
                    tracing::warn!(error = error_chain(&error), "SYNs left to the kernel's own retry");
                    0
                }
            };
            tracing::debug!(sent, of = packets.len(), "replayed");
            self.recorded.replayed(sent, packets.len() - sent);
        }
        self.recorded.replayed(0, failed);
    }

    /// Ends the connections of `sockets` with an error.
    pub(super) fn reset(&self, sockets: &[SocketCookie]) {
        let parked = sockets.iter().filter_map(|socket| self.parked.get(socket));
        for parked in parked.filter(|parked| !is_datagram(&parked.record)) {
            let ended = self
                .diag(&parked.place.netns)
                .map_err(destroy::DestroyError::from)
                .and_then(|diag| destroy::destroy(&diag, &parked.record));
            if let Err(error) = ended {
                tracing::warn!(error = error_chain(&error), "connection released, not reset");
            }
        }
    }

    /// A socket to ask and to end connections in `netns`.
    pub(super) fn diag(&self, netns: &Netns) -> Result<SockDiag, SockDiagError> {
        SockDiag::open(&self.worker, netns)
    }

    /// As whom the SYN is to be sent again. `None`: nobody knows, or the workload's rules may tell it from any copy of it.
    fn owner(&mut self, record: &ParkedRecord, workload: &Home) -> Option<Owner> {
        if record.mark != 0 || record.device != 0 {
            return None;
        }
        if record.connector.tgid != 0 {
            return Some(Owner { uid: record.connector.uid, gid: record.connector.gid });
        }
        let (container, uid) = (record.container, record.uid);
        let group = self.groups.entry((container, uid)).or_insert_with(|| workload.group(container, uid));
        group.map(|gid| Owner { uid, gid })
    }

    /// The place of the connecting process's namespace. The process may be gone, and its pid another's: what counts is
    /// that the namespace is the socket's.
    fn place(&mut self, record: &ParkedRecord, home: Option<Netns>) -> Option<Rc<Place>> {
        let unknown = NetnsCookie(0);
        let (cookie, tgid) = (record.connector.netns, record.connector.tgid);
        let at_home = home.as_ref().map_or(unknown, Netns::cookie);
        let wanted = if cookie == unknown { at_home } else { cookie };
        if let Some(place) = self.places.get(&wanted).and_then(Weak::upgrade) {
            return Some(place);
        }
        let netns = if home.is_some() && wanted == at_home {
            home
        } else {
            match Netns::of_process(&self.worker, tgid) {
                Ok(netns) if [wanted, unknown].contains(&netns.cookie()) => Some(netns),
                Ok(_) | Err(_) => {
                    tracing::debug!(tgid, netns = wanted.0, "namespace of a held connection not found");
                    home
                }
            }
        }?;
        let place = Rc::new(Place { netns, replayers: RefCell::default() });
        self.places.insert(wanted, Rc::downgrade(&place));
        Some(place)
    }
}

/// Whether it is a datagram, not a SYN.
pub(super) const fn is_datagram(record: &ParkedRecord) -> bool {
    record.header.protocol == UDP
}
