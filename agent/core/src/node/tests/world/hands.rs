//! The hands, the sources and what happens in pods: each output is carried out, sooner or later, or fails.

use std::collections::BTreeSet;

use super::{super::kit::*, Faults, Name, Proxy, STRIDE, Telling, World};

/// How long the first process of a container is the runtime's.
const RUNTIME: Duration = Duration::from_millis(50);

impl World {
    /// Whose an output is; `None`: the node's.
    pub(super) fn whose(&self, output: &Output) -> Option<usize> {
        let id = match output {
            Output::Beat { .. } => return None,
            Output::AskFor(uid) => return self.places.iter().position(|place| place.uid() == *uid),
            Output::WriteGate(id, _)
            | Output::WriteContainer(id, _)
            | Output::Probe { gate: id, .. }
            | Output::Look { gate: id, .. }
            | Output::Identify { gate: id, .. }
            | Output::FindNetns(id)
            | Output::FindPod(id)
            | Output::Prepare(id, _)
            | Output::Replay(id, _)
            | Output::Deliver { gate: id, .. }
            | Output::Pass(id, _)
            | Output::Truncate { gate: id, .. }
            | Output::Reset(id, _)
            | Output::Release(id) => *id,
            Output::Fact(fact) => fact.gate,
        };
        Some((id.0 / STRIDE) as usize)
    }

    pub(super) fn carry_out(&mut self, output: Output) {
        let Some(place) = self.whose(&output) else {
            self.kernel.heartbeat = self.now;
            return;
        };
        match output {
            Output::WriteGate(gate, entry) => {
                if self.places[place].fails() {
                    self.failed.insert(gate, self.now);
                    return self.inbox.push_back(Input::GateUnwritten(gate));
                }
                self.failed.remove(&gate);
                match entry {
                    Some(entry) => drop(self.kernel.gates.insert(gate, entry)),
                    None => drop(self.kernel.gates.remove(&gate)),
                }
            }
            Output::WriteContainer(container, class) => {
                if self.places[place].fails() {
                    self.failed.insert(container, self.now);
                    return self.inbox.push_back(Input::ContainerUnwritten(container));
                }
                self.failed.remove(&container);
                match class {
                    Some(class) => drop(self.kernel.containers.insert(container, class)),
                    None => drop(self.kernel.containers.remove(&container)),
                }
            }
            Output::Probe { gate, netns, deadline, .. } => self.probe(place, gate, netns, deadline),
            Output::Look { gate, at, port, why } => self.look(place, gate, at, port, why),
            Output::Identify { gate, container } => {
                let delay = self.places[place].delay();
                self.by_hand(delay, move |world| world.identify(place, gate, container));
            }
            Output::FindNetns(gate) => {
                let delay = self.places[place].delay();
                self.by_hand(delay, move |world| {
                    let sandbox = world.sandbox_of(place, gate);
                    world.answer(place, Input::Sandbox { gate, sandbox });
                });
            }
            Output::FindPod(_) => {
                let found = self.places[place].walk();
                self.inbox.extend(found);
            }
            Output::AskFor(_) => {
                let delay = self.places[place].delay();
                self.by_hand(delay, move |world| {
                    let told = world.places[place].told.clone().filter(|_| !world.places[place].refuses());
                    world.inbox.extend(told.map(Input::Pod));
                });
            }
            Output::Replay(_, records) => {
                let delay = self.places[place].delay();
                self.by_hand(delay, move |world| {
                    for record in records {
                        if !world.places[place].refuses() {
                            world.arrive(record.header.socket);
                        }
                    }
                });
            }
            Output::Deliver { gate, queries, look } => self.deliver(place, gate, queries, look),
            Output::Pass(_, queries) => {
                let delay = self.places[place].delay();
                self.by_hand(delay, move |world| {
                    queries.iter().for_each(|query| world.arrive(query.record.header.socket));
                });
            }
            Output::Truncate { queries, .. } => {
                let delay = self.places[place].delay();
                self.by_hand(delay, move |world| {
                    for query in queries {
                        world.truncated(place, query.record.header.socket);
                    }
                });
            }
            Output::Reset(gate, records) => {
                let delay = self.places[place].delay();
                self.by_hand(delay, move |world| {
                    for record in records {
                        if !world.places[place].refuses() {
                            world.end(record.header.socket, Outcome::Abandoned);
                        }
                    }
                    world.answer(place, Input::WasReset(gate));
                });
            }
            Output::Prepare(..) | Output::Release(_) | Output::Fact(_) | Output::Beat { .. } => {}
        }
    }

    /// The answer is on its way for a moment.
    fn answer(&mut self, place: usize, input: Input) {
        let delay = self.places[place].delay();
        self.by_hand(delay, move |world| world.inbox.push_back(input));
    }

    fn probe(&mut self, place: usize, gate: CgroupId, netns: Netns, deadline: Duration) {
        let delay = self.places[place].delay().min(deadline);
        self.by_hand(delay, move |world| {
            let is_there = world.places[place].netns == Some(netns);
            let proxy = if is_there { world.places[place].proxy } else { Proxy::Absent };
            let (answer, is_late) = match proxy {
                Proxy::Absent => (Answer::Unanswered, false),
                Proxy::NotReady => (Answer::NotReady, false),
                Proxy::Mute => (Answer::NotReady, true),
                Proxy::Ready => (Answer::Ready, false),
            };
            if proxy == Proxy::Ready {
                world.saw_ready(gate, netns);
            }
            let input = Input::Probed { gate, answer, found: format!("{proxy:?}"), is_late };
            if is_late {
                world.by_hand(deadline, move |world| world.inbox.push_back(input));
            } else {
                world.answer(place, input);
            }
        });
    }

    fn look(&mut self, place: usize, gate: CgroupId, at: BTreeSet<SocketAddr>, port: u16, why: Why) {
        let (delay, netns) = (self.places[place].delay(), self.node.workload(gate).unwrap().netns().unwrap());
        self.by_hand(delay, move |world| {
            let on_port = |at: &SocketAddr| at.port() == port;
            let mut there = world.places[place].listeners.iter().filter(|_| world.places[place].netns == Some(netns));
            let listens =
                if at.is_empty() { there.any(on_port) } else { at.iter().all(|at| world.listens(netns, *at)) };
            let answer = match (listens, world.places[place].refuses()) {
                (_, true) => Answer::Unanswered,
                (true, false) => Answer::Listening,
                (false, false) => Answer::NotReady,
            };
            if answer == Answer::Listening {
                world.saw_listener(gate, netns);
            }
            world.answer(place, Input::Looked { gate, answer, why });
        });
    }

    fn deliver(&mut self, place: usize, gate: CgroupId, queries: Vec<Arc<Datagram>>, look: Option<u16>) {
        let delay = self.places[place].delay();
        self.by_hand(delay, move |world| {
            let to = |query: &Arc<Datagram>| crate::connections::captured_at(&query.record).unwrap();
            let netns = world.places[place].netns;
            let is_bound = |at: SocketAddr| netns.is_some_and(|netns| world.listens(netns, at));
            let somewhere = |port| world.places[place].listeners.iter().any(|at| at.port() == port);
            let bound = match look {
                Some(port) if queries.is_empty() => somewhere(port),
                Some(_) => queries.iter().all(|query| is_bound(to(query))),
                None => true,
            };
            let bound = bound && !world.places[place].refuses();
            if bound {
                queries.iter().for_each(|query| world.arrive(query.record.header.socket));
            }
            world.answer(place, Input::Delivered { gate, bound });
        });
    }

    fn identify(&mut self, place: usize, gate: CgroupId, container: CgroupId) {
        let now = self.now;
        let is_refused = self.places[place].refuses();
        let untold = |id: bool, not_yet| Found::Untold {
            id: id.then(|| format!("id-{}", container.0)),
            not_yet,
            why: "its mounts name none".to_owned(),
        };
        let found = match self.places[place].containers.get(&container) {
            None => Found::Gone,
            Some(_) if is_refused => untold(false, false),
            Some(running) if Duration::from_nanos(now.since(running.since)) < RUNTIME => untold(true, true),
            Some(running) if running.name == Name::Pause => Found::Sandbox,
            Some(running) => Found::Named(running.name.word().to_owned()),
        };
        let sandbox = if found == Found::Gone { Sandbox::Unknown } else { self.sandbox_of(place, gate) };
        self.answer(place, Input::Identified { gate, container, found, sandbox });
    }

    fn sandbox_of(&mut self, place: usize, gate: CgroupId) -> Sandbox {
        let place = &mut self.places[place];
        if place.cgroup != Some(gate) || place.refuses() {
            return Sandbox::Unknown;
        }
        place.netns.map_or(Sandbox::Nobody, Sandbox::Netns)
    }
}

/// What happens in a pod.
impl World {
    /// Something of a pod begins or ends: so do its sockets and listeners.
    fn becomes(&mut self, place: usize, what: impl FnOnce(&mut super::Place, MonoTime)) {
        let (netns, before) = (self.places[place].netns, self.places[place].listeners.clone());
        what(&mut self.places[place], self.now);
        self.reap(place);
        let after = &self.places[place].listeners;
        let gone: Vec<_> = before.into_iter().filter(|at| !after.contains(at)).collect();
        for at in gone {
            if let Some(netns) = netns
                && !self.places[place].loses()
            {
                self.inbox.push_back(listening(netns.cookie.0, at.port(), false));
            }
        }
    }

    pub(in super::super) fn appear(&mut self, place: usize) {
        self.becomes(place, |place, _| place.appear());
    }

    pub(in super::super) fn vanish(&mut self, place: usize) {
        self.becomes(place, |place, _| place.vanish());
    }

    pub(in super::super) fn sandbox(&mut self, place: usize) {
        self.becomes(place, super::Place::sandbox);
    }

    /// A cgroup without a sandbox gets one, and a pod without its proxy that.
    pub(in super::super) fn revive(&mut self, place: usize) {
        if self.places[place].netns.is_none() {
            self.sandbox(place);
        }
        if self.places[place].running(Name::Proxy).is_none() {
            self.begin(place, Name::Proxy);
        }
    }

    pub(in super::super) fn begin(&mut self, place: usize, name: Name) {
        self.becomes(place, |place, now| place.start(name, now));
    }

    pub(in super::super) fn finish(&mut self, place: usize, name: Name) {
        self.becomes(place, |place, _| place.end(name));
    }

    /// The proxy answers otherwise, where it runs.
    pub(in super::super) fn proxy(&mut self, place: usize, proxy: Proxy) {
        if self.places[place].running(Name::Proxy).is_some() {
            self.places[place].proxy = proxy;
        }
    }

    pub(in super::super) fn faults(&mut self, place: usize, faults: Faults) {
        self.places[place].faults = faults;
    }

    /// A source tells.
    pub(in super::super) fn source(&mut self, place: usize, telling: &Telling) {
        let pod = self.places[place].object(telling);
        self.places[place].is_decided |= !matches!(pod.ask, Ask::Undecided(_));
        self.places[place].told = Some(pod.clone());
        if self.is_alive {
            self.inbox.push_back(Input::Pod(pod));
        }
    }

    /// Whether sources tell that the pod asks for a gate.
    pub(in super::super) fn asks_for_gate(&self, place: usize) -> bool {
        self.places[place].told.as_ref().is_some_and(|pod| matches!(pod.ask, Ask::Gate(_)) && !pod.ending)
    }

    /// A source tells that the pod is no longer there.
    pub(in super::super) fn source_gone(&mut self, place: usize) {
        self.places[place].told = None;
        if self.is_alive {
            self.inbox.push_back(Input::PodGone(self.places[place].uid()));
        }
    }

    pub(in super::super) fn operator(&mut self, place: usize) {
        if let Some(gate) = self.places[place].cgroup.filter(|_| self.is_alive) {
            self.inbox.push_back(Input::Open(gate));
        }
    }
}
