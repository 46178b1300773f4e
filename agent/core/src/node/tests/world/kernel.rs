//! The kernel: the maps, and sockets whose SYNs are judged by the real verdict, dropped and tried again.

use std::collections::BTreeMap;

use conngate_common::verdict::{Attempt, Verdict, judge, judge_datagram};

use super::{super::kit::*, Name, STRIDE, World};
use crate::node::GRACE;

/// What `AGENT` says of when the agent is stale, and the kernel's wait between two attempts.
const STALE_AFTER: u64 = 5_000_000_000;
const ATTEMPT: Duration = Duration::from_millis(500);

/// When a resolver sends again, and how often in all.
const RESOLVER: Duration = Duration::from_secs(5);
const QUERIES: u32 = 2;

#[derive(Default)]
pub(super) struct Kernel {
    pub(super) gates: BTreeMap<CgroupId, GateEntry>,
    pub(super) containers: BTreeMap<CgroupId, ContainerClass>,
    pub(super) heartbeat: MonoTime,
    pub(super) epoch: u32,
    /// Those that connect; a query is one that nobody has answered.
    pub(super) sockets: BTreeMap<SocketCookie, Socket>,
}

#[derive(Clone, Debug)]
pub(super) struct Socket {
    pub(super) gate: CgroupId,
    pub(super) container: CgroupId,
    netns: Netns,
    pub(super) to: SocketAddr,
    pub(super) is_query: bool,
    /// How often it has connected before: what was due for that is not for this.
    connects: u32,
    attempts: u32,
    first_drop: Option<MonoTime>,
    parked_epoch: u32,
    /// When a copy went to the agent, and whether it was of a container that the kernel does not know.
    pub(super) parked: Option<MonoTime>,
    pub(super) is_unclassified: bool,
    /// The last attempt was dropped.
    pub(super) is_held: bool,
}

impl Socket {
    /// It has not connected yet.
    fn anew(self) -> Self {
        let (parked, first_drop, is_held) = (None, None, false);
        Self { attempts: 0, first_drop, parked_epoch: 0, parked, is_unclassified: false, is_held, ..self }
    }
}

impl Kernel {
    pub(super) fn class(&self, gate: &GateEntry, container: CgroupId) -> ContainerClass {
        let class = self.containers.get(&container).copied();
        class.unwrap_or_else(|| ContainerClass::try_from(gate.default_class).unwrap())
    }

    /// Whether this socket's copy went to the agent that runs now.
    pub(super) fn is_announced(&self, socket: &Socket) -> bool {
        socket.parked_epoch == self.epoch
    }
}

impl World {
    /// A container of this name connects, or asks for a name.
    pub(in super::super) fn connect(&mut self, place: usize, name: Name, to: SocketAddr, is_query: bool) {
        let place = &mut self.places[place];
        let (Some(gate), Some(netns), Some(container)) = (place.cgroup, place.netns, place.running(name)) else {
            return;
        };
        let cookie = SocketCookie(place.id());
        let socket = Socket {
            gate,
            container,
            netns,
            to,
            is_query,
            connects: 0,
            attempts: 0,
            first_drop: None,
            parked_epoch: 0,
            parked: None,
            is_unclassified: false,
            is_held: false,
        };
        if is_query {
            self.asked.insert(cookie);
        }
        self.kernel.sockets.insert(cookie, socket);
        self.attempt(cookie);
    }

    /// An application gives up, and may connect the same socket again.
    pub(in super::super) fn abandon(&mut self, place: usize, nth: usize, again: bool) {
        let mine = |(cookie, _): &(&SocketCookie, &Socket)| cookie.0 / STRIDE == place as u64;
        let cookie = self.kernel.sockets.iter().filter(mine).nth(nth).map(|(cookie, _)| *cookie);
        if let Some(cookie) = cookie {
            let socket = self.kernel.sockets[&cookie].clone();
            self.end(cookie, Outcome::Abandoned);
            if again {
                self.kernel.sockets.insert(cookie, Socket { connects: socket.connects + 1, ..socket.anew() });
                self.attempt(cookie);
            }
        }
    }

    /// The sockets of containers that are no longer there end.
    pub(super) fn reap(&mut self, place: usize) {
        let there = &self.places[place].containers;
        let is_over = |(cookie, socket): &(&SocketCookie, &Socket)| {
            cookie.0 / STRIDE == place as u64 && !there.contains_key(&socket.container)
        };
        let over: Vec<_> = self.kernel.sockets.iter().filter(is_over).map(|(cookie, _)| *cookie).collect();
        over.into_iter().for_each(|cookie| self.end(cookie, Outcome::Abandoned));
    }

    /// The socket's packet leaves, for the first time or again.
    fn attempt(&mut self, cookie: SocketCookie) {
        let Some(socket) = self.kernel.sockets.get(&cookie) else { return };
        let (now, gate) = (self.now, self.kernel.gates.get(&socket.gate).copied());
        let silent = now.since(self.kernel.heartbeat);
        let captured = match &gate {
            Some(gate) if socket.is_query => gate.datagram_ports.contains(socket.to.port()),
            Some(gate) => gate.capture_ports.contains(socket.to.port()),
            None => !socket.is_query,
        };
        // Each closing of the gate begins a hold of its own.
        let is_of_this_hold = |at: &MonoTime| !socket.is_query || gate.is_none_or(|gate| *at >= gate.closed_at);
        let attempt = Attempt {
            gate: gate.as_ref(),
            container: gate.map_or(ContainerClass::Unknown, |gate| self.kernel.class(&gate, socket.container)),
            now,
            first_drop: socket.first_drop.filter(is_of_this_hold),
            listener: self.listens(socket.netns, socket.to),
            agent_fresh: silent < STALE_AFTER,
            agent_silent_ns: silent,
            grace_ns: u64::try_from(GRACE.as_nanos()).unwrap(),
        };
        let judge = if socket.is_query { judge_datagram } else { judge };
        let verdict = captured.then(|| judge(&attempt));
        if let Some(Verdict::Hold(reason)) = verdict {
            let first_drop = attempt.first_drop.unwrap_or(now);
            return self.hold(cookie, reason, first_drop);
        }
        if let Some(verdict) = verdict
            && attempt.listener
        {
            self.passed(cookie, verdict);
        }
        self.arrive(cookie);
    }

    fn hold(&mut self, cookie: SocketCookie, reason: Reason, first_drop: MonoTime) {
        let (now, epoch) = (self.now, self.kernel.epoch);
        let socket = self.kernel.sockets.get_mut(&cookie).unwrap();
        socket.first_drop = Some(first_drop);
        socket.is_held = true;
        socket.attempts += 1;
        let place = (cookie.0 / STRIDE) as usize;
        let is_lost = self.places[place].loses();
        if (socket.parked_epoch != epoch || socket.is_query) && !is_lost {
            (socket.parked_epoch, socket.parked) = (epoch, Some(now));
            socket.is_unclassified = reason == Reason::Unclassified;
            let mut record = ParkedRecord {
                first_drop,
                reason: reason.code(),
                ..parked_at(socket.gate, socket.container, cookie.0, now, socket.to)
            };
            record.connector.netns = socket.netns.cookie;
            record.over_tcp = u32::from(cookie.0.is_multiple_of(2));
            let query = || datagram(record, cookie.0.to_be_bytes()[7]);
            let input = if socket.is_query { Input::Datagram(query()) } else { Input::Parked(Box::new(record)) };
            self.inbox.push_back(input);
        }
        let Socket { is_query, attempts, connects, .. } = self.kernel.sockets[&cookie];
        let wait = if is_query { RESOLVER } else { ATTEMPT };
        self.later(wait, move |world| match world.kernel.sockets.get(&cookie) {
            Some(socket) if socket.connects != connects => {}
            _ if is_query && attempts >= QUERIES => world.end(cookie, Outcome::Abandoned),
            _ => world.attempt(cookie),
        });
    }

    /// A packet of the socket arrives where it goes to.
    pub(super) fn arrive(&mut self, cookie: SocketCookie) {
        if let Some(socket) = self.kernel.sockets.get(&cookie) {
            let listens = self.listens(socket.netns, socket.to);
            self.end(cookie, if listens { Outcome::Established } else { Outcome::Refused });
        }
    }

    /// A query is answered as truncated: its resolver goes on over TCP.
    pub(super) fn truncated(&mut self, place: usize, cookie: SocketCookie) {
        if let Some(Socket { to, .. }) = self.kernel.sockets.remove(&cookie) {
            self.connect(place, Name::App, to, false);
        }
    }

    /// The socket connects no longer.
    pub(super) fn end(&mut self, cookie: SocketCookie, outcome: Outcome) {
        let Some(socket) = self.kernel.sockets.remove(&cookie) else { return };
        let place = (cookie.0 / STRIDE) as usize;
        let Some(first_drop) = socket.first_drop else { return };
        if socket.is_query {
            // The kernel does not tell.
        } else if self.places[place].loses() {
            self.unended.insert(cookie);
        } else if let Input::Ended(record) = ended(cookie.0, self.now, first_drop, outcome) {
            let header = RecordHeader { gate: socket.gate, ..record.header };
            self.inbox.push_back(Input::Ended(EndedRecord { header, ..record }));
        }
    }

    /// Somebody listens in a pod, or no longer; the kernel tells.
    pub(in super::super) fn listen(&mut self, place: usize, at: SocketAddr, listens: bool) {
        let place = &mut self.places[place];
        let Some(netns) = place.netns else { return };
        let before = place.listeners.len();
        place.listeners.retain(|other| *other != at);
        if listens {
            place.listeners.push(at);
        }
        if (listens || place.listeners.len() != before) && !place.loses() {
            self.inbox.push_back(listening(netns.cookie.0, at.port(), listens));
        }
    }

    pub(super) fn listens(&self, netns: Netns, at: SocketAddr) -> bool {
        self.places.iter().any(|place| place.netns == Some(netns) && place.listeners.contains(&at))
    }
}
