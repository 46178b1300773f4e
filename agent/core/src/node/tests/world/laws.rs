//! The laws: what must never be, whatever happens.

use conngate_common::{id::SocketCookie as Cookie, verdict::Verdict};

use super::{super::kit::*, Name, STRIDE, World, kernel::Socket};
use crate::{
    backoff::after,
    node::{GRACE, HEARTBEAT},
};

/// How long a gate waits for the reset of its connections.
const RESET: Duration = Duration::from_secs(1);

/// What is known of one gate.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// What the node wants, and since when the gate is closed.
    want: Option<(GateState, Reason)>,
    closed: MonoTime,
    /// When it was closed over connections that were under way.
    reclosed: Option<MonoTime>,
    /// When its proxy said that it is ready, or a look found a listener, and where, last.
    ready: Option<(Netns, MonoTime)>,
    listened: Option<(Netns, MonoTime)>,
    /// An earlier agent left it open.
    inherited: bool,
    /// It was told that the gate is gone.
    gone: bool,
    /// It timed out, or may have before this agent came: then what waited passes.
    timed_out: bool,
    /// An operator opened it.
    operated: bool,
    /// A source told that its pod ends.
    ends: bool,
}

/// What the node was told of a pod.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Appeared(CgroupId),
    Vanished(CgroupId),
    /// Whether it asks for a gate; `None`: nobody can say.
    Pod(Option<bool>),
    Gone,
}

impl Seen {
    pub(super) fn inherited(now: MonoTime, entry: &GateEntry) -> Self {
        let want = (GateState::try_from(entry.state).unwrap(), Reason::try_from(entry.reason).unwrap());
        let inherited = want.0 == GateState::Open;
        Self { want: Some(want), closed: now, inherited, timed_out: true, operated: true, ..Self::default() }
    }

    fn is_open(&self) -> bool {
        self.want.is_some_and(|(state, _)| state != GateState::Holding)
    }
}

/// What is seen.
impl World {
    pub(super) fn saw_ready(&mut self, gate: CgroupId, netns: Netns) {
        self.seen.entry(gate).or_default().ready = Some((netns, self.now));
    }

    pub(super) fn saw_listener(&mut self, gate: CgroupId, netns: Netns) {
        self.seen.entry(gate).or_default().listened = Some((netns, self.now));
    }

    /// A question is answered.
    pub(super) fn note_input(&mut self, input: &Input) {
        match input {
            Input::Identified { container, .. } => drop(self.open.remove(&format!("container {container:?}"))),
            Input::Sandbox { gate, .. } => drop(self.open.remove(&format!("namespace {gate:?}"))),
            Input::Probed { gate, .. } | Input::Looked { gate, why: Why::Probe, .. } => {
                self.open.remove(&format!("proxy {gate:?}"));
            }
            Input::Looked { gate, why: Why::Silence, .. } => drop(self.open.remove(&format!("silence {gate:?}"))),
            Input::Delivered { gate, .. } => drop(self.open.remove(&format!("queries {gate:?}"))),
            Input::WasReset(gate) => drop(self.resets.remove(gate)),
            Input::PodAppeared { uid, gate } => self.told.push((*uid, Told::Appeared(*gate))),
            Input::PodVanished { uid, gate } => self.told.push((*uid, Told::Vanished(*gate))),
            Input::Pod(pod) => {
                let gated = match pod.ask {
                    Ask::Gate(_) => Some(!pod.ending),
                    Ask::None(_) => Some(false),
                    Ask::Undecided(_) => None,
                };
                self.told.push((pod.uid, Told::Pod(gated)));
                if pod.ending {
                    self.ends(pod.uid);
                }
            }
            Input::PodGone(uid) => {
                self.told.push((*uid, Told::Gone));
                self.ends(*uid);
            }
            Input::Open(gate) => self.seen.entry(*gate).or_default().operated = true,
            Input::Tick
            | Input::Hooks(_)
            | Input::Earlier(_)
            | Input::Attached
            | Input::Inherited { .. }
            | Input::Containers { .. }
            | Input::Walked
            | Input::Synced
            | Input::Parked(_)
            | Input::Datagram(_)
            | Input::Ended(_)
            | Input::Listening(_)
            | Input::Looked { why: Why::First, .. }
            | Input::GateUnwritten(_)
            | Input::ContainerUnwritten(_) => {}
        }
    }

    /// What was told of pods and their cgroups, from the first on: the naive reference of what a pod asks for.
    fn asks_for_a_gate(&self, place: usize) -> Option<(CgroupId, Option<bool>)> {
        let uid = self.places[place].uid();
        let mine: Vec<_> = self.told.iter().filter(|told| told.0 == uid).map(|told| &told.1).collect();
        let appeared = mine.iter().rposition(|told| matches!(told, Told::Appeared(_)))?;
        let Told::Appeared(gate) = mine[appeared] else { unreachable!() };
        let is_source = |told: &&&Told| matches!(told, Told::Pod(_) | Told::Gone);
        // Of what was told before it appeared only the last counts.
        let before = mine[..appeared].iter().rfind(is_source).filter(|told| !matches!(told, Told::Gone));
        let all: Vec<_> = before.into_iter().chain(mine[appeared..].iter().filter(is_source)).collect();
        if mine[appeared..].iter().any(|told| matches!(told, Told::Vanished(gone) if gone == gate)) {
            return None;
        }
        let decides = |told: &&&&Told| !matches!(told, Told::Gone | Told::Pod(None));
        let last = all.iter().rposition(|told| decides(&told));
        let gone = all.iter().rposition(|told| matches!(told, Told::Gone));
        let gated = last.map(|last| matches!(all[last], Told::Pod(Some(true))) && gone.is_none_or(|gone| gone < last));
        Some((*gate, gated))
    }

    fn ends(&mut self, uid: PodUid) {
        let place = self.places.iter().find(|place| place.uid() == uid);
        if let Some(gate) = place.and_then(|place| place.cgroup) {
            self.seen.entry(gate).or_default().ends = true;
        }
    }

    fn asks(&mut self, question: String) {
        assert!(self.open.insert(question.clone()), "two questions at a time: {question}");
    }

    /// What must not be wanted.
    pub(super) fn note_output(&mut self, output: &Output) {
        match output {
            Output::WriteGate(gate, entry) => self.wants(*gate, entry.as_ref()),
            Output::Identify { container, .. } => self.asks(format!("container {container:?}")),
            Output::FindNetns(gate) => self.asks(format!("namespace {gate:?}")),
            Output::Probe { gate, .. } => {
                assert!(!self.seen[gate].is_open(), "the proxy of an open gate is asked");
                self.asks(format!("proxy {gate:?}"));
            }
            Output::Look { gate, at, why, .. } => {
                let connects = |cookie: &Cookie| self.kernel.sockets.get(cookie).filter(|socket| !socket.is_query);
                let to = |cookie: &Cookie| connects(cookie).map(|socket| socket.to);
                // A pod that has gone meanwhile has none.
                let waiting = self.node.gates().gate(*gate).map(crate::gate::Gate::waiting).unwrap_or_default();
                let missed = waiting.iter().filter_map(to).find(|to| !at.contains(to));
                assert!(missed.is_none() || *why != Why::Probe, "nobody looks at {missed:?}, where a connection waits");
                match why {
                    Why::Probe => self.asks(format!("proxy {gate:?}")),
                    Why::Silence => self.asks(format!("silence {gate:?}")),
                    Why::First => {}
                }
            }
            Output::Reset(gate, _) => drop(self.resets.insert(*gate, self.now)),
            Output::Replay(gate, records) => records.iter().for_each(|record| self.may_replay(*gate, record)),
            Output::Deliver { gate, queries, .. } => {
                self.asks(format!("queries {gate:?}"));
                queries.iter().for_each(|query| self.may_replay(*gate, &query.record));
            }
            Output::Pass(gate, queries) => queries.iter().for_each(|query| self.may_replay(*gate, &query.record)),
            Output::Truncate { gate, queries, .. } => {
                assert!(!self.seen[gate].is_open(), "answered as truncated through an open gate");
                let would_lose = |query: &Arc<Datagram>| query.record.over_tcp == 0;
                assert!(!queries.iter().any(would_lose), "answered as truncated to a resolver that would lose by it");
            }
            Output::Fact(fact) => {
                let seen = self.seen.entry(fact.gate).or_default();
                let is_late = matches!(fact.what, What::Ended { .. });
                assert!(!seen.gone || is_late, "told of a gate that is gone: {:?}", fact.what);
                seen.gone |= matches!(fact.what, What::Gone(_));
            }
            Output::Prepare(gate, _) => drop(self.prepared.insert(*gate)),
            Output::Release(gate) => drop(self.prepared.remove(gate)),
            Output::Beat { .. } | Output::WriteContainer(..) | Output::FindPod(_) | Output::AskFor(_) => {}
        }
    }

    /// Laws 1 to 3: a gate opens for what was seen in its own namespace since it was closed, and is declined by a source only.
    fn wants(&mut self, gate: CgroupId, entry: Option<&GateEntry>) {
        let Some(entry) = entry else {
            self.resets.remove(&gate);
            let seen = self.seen.entry(gate).or_default();
            return seen.want = None;
        };
        let want @ (state, reason) =
            (GateState::try_from(entry.state).unwrap(), Reason::try_from(entry.reason).unwrap());
        let reset = self.resets.get(&gate).filter(|since| self.now < after(**since, RESET));
        let place = &self.places[(gate.0 / STRIDE) as usize];
        let stays = state == GateState::Holding || place.cgroup != Some(gate);
        assert!(reset.is_none() || stays, "overtakes the reset of its connections");
        let is_decided = place.is_decided;
        assert!(state != GateState::NotEnrolled || is_decided, "undecided is not declined");
        let netns = self.node.workload(gate).and_then(|workload| workload.netns());
        let now = self.now;
        let seen = self.seen.entry(gate).or_default();
        if state == GateState::Holding {
            if seen.is_open() {
                seen.reclosed = Some(now);
            }
            if seen.want.is_none() || seen.is_open() {
                (seen.closed, seen.inherited) = (now, false);
            }
        } else if seen.want != Some(want) {
            let closed = seen.closed;
            let here = |at: Option<(Netns, MonoTime)>| at.is_some_and(|(at, when)| Some(at) == netns && when >= closed);
            if !seen.is_open() {
                // What waited in vain passes as long as its gate has opened for nothing else.
                seen.timed_out = reason == Reason::Timeout;
            }
            match reason {
                Reason::Ready => assert!(here(seen.ready), "not seen ready: {seen:?}"),
                Reason::Listening => assert!(here(seen.listened), "not seen to listen: {seen:?}"),
                Reason::KubeletReady => {
                    assert!(here(seen.listened), "not seen to listen: {seen:?}");
                    let place = &self.places[(gate.0 / STRIDE) as usize];
                    let proxies = place.ever.iter().filter(|(_, name)| **name == Name::Proxy);
                    let ids: Vec<_> = proxies.map(|(id, _)| format!("containerd://id-{}", id.0)).collect();
                    let said = place.told.as_ref().and_then(|pod| pod.containers[1].id.clone());
                    assert!(said.is_some_and(|id| ids.contains(&id)), "a status of another life");
                }
                Reason::Operator => assert!(seen.operated),
                Reason::Timeout | Reason::Terminating | Reason::NotEnrolled => {}
                Reason::AgentStale
                | Reason::Exempt
                | Reason::NotReady
                | Reason::NoListener
                | Reason::Unclassified
                | Reason::Invalid => panic!("{reason} opens no gate"),
            }
        }
        seen.want = Some(want);
    }

    fn is_held(&self, gate: CgroupId, container: CgroupId) -> bool {
        let place = &self.places[(gate.0 / STRIDE) as usize];
        place.ever.get(&container).is_some_and(|name| *name == Name::App)
    }

    /// A packet is sent again when its gate is open, or when its container is not held.
    fn may_replay(&self, gate: CgroupId, record: &ParkedRecord) {
        let Some(seen) = self.seen.get(&gate) else { panic!("replayed before anything is known") };
        let passes = !self.is_held(gate, record.container) || seen.timed_out;
        let is_gone = !self.places[(gate.0 / STRIDE) as usize].containers.contains_key(&record.container);
        assert!(seen.is_open() || passes || is_gone, "replayed through a closed gate");
    }

    /// Law 7: through a gate in mode hold passes only what may.
    pub(super) fn passed(&self, cookie: Cookie, verdict: Verdict) {
        let Some(Socket { gate, container, .. }) = self.kernel.sockets.get(&cookie) else { return };
        let Some(entry) = self.kernel.gates.get(gate).filter(|entry| entry.state == GateState::Holding.code()) else {
            return;
        };
        let is_failed = self.failed.contains_key(gate) || self.failed.contains_key(container);
        if entry.mode != Mode::Hold.code() || is_failed || !self.is_alive {
            return;
        }
        let timed_out = self.seen.get(gate).is_some_and(|seen| seen.timed_out);
        let was_declined =
            self.places[(gate.0 / STRIDE) as usize].is_decided && !self.kernel.containers.contains_key(container);
        let may = match verdict.reason() {
            Reason::Timeout | Reason::AgentStale => true,
            Reason::Exempt => !self.is_held(*gate, *container) || timed_out,
            // Its container is not known, and the agent says nothing.
            Reason::Listening => was_declined && self.now.since(self.kernel.heartbeat) >= 5_000_000_000,
            Reason::Ready
            | Reason::Operator
            | Reason::Terminating
            | Reason::NotEnrolled
            | Reason::NotReady
            | Reason::NoListener
            | Reason::Unclassified
            | Reason::Invalid
            | Reason::KubeletReady => false,
        };
        assert!(may, "{cookie:?} passes a closed gate: {verdict:?}");
    }
}

/// What must be so after every turn.
impl World {
    pub(super) fn check(&self) {
        self.check_maps();
        self.check_queries();
        self.check_connections();
        for place in 0..self.places.len() {
            let Some((gate, gated)) = self.asks_for_a_gate(place) else { continue };
            assert_eq!(self.node.pods().is_gated(gate), gated, "whether {gate:?} has a gate");
            let is_closed = self.node.closed(gate).is_some();
            assert!(!is_closed || gated != Some(false), "closed though its pod asks for no gate");
        }
        for (gate, seen) in &self.seen {
            if let Some((Netns { .. }, _)) = seen.ready
                && seen.want == Some((GateState::Open, Reason::Ready))
                && !seen.inherited
                && !seen.ends
            {
                let netns = self.node.workload(*gate).and_then(|workload| workload.netns());
                assert_eq!(seen.ready.map(|(netns, _)| netns), netns, "open for another namespace");
            }
        }
    }

    /// Law 5: the maps hold what the node wants, a heartbeat after the last write that failed at the latest.
    fn check_maps(&self) {
        let pending = |key: CgroupId| {
            let failed = self.failed.get(&key).is_some_and(|at| self.now < after(*at, HEARTBEAT));
            failed || self.node.resetting.contains_key(&key)
        };
        let known = self.kernel.gates.keys().chain(self.node.workloads.keys());
        for gate in known.filter(|gate| !pending(**gate) && !self.node.inherited.contains_key(gate)) {
            let entry = self.node.workload(*gate).and_then(|workload| workload.entry());
            let written = self.kernel.gates.get(gate);
            // Of one that is not enrolled the kernel reads nothing else.
            let declined = |entry: &GateEntry| entry.state == GateState::NotEnrolled.code();
            let are_declined = written.is_some_and(declined) && entry.as_ref().is_some_and(declined);
            assert!(are_declined || written == entry.as_ref(), "the entry of {gate:?}: {written:?}, not {entry:?}");
        }
        for (container, class) in &self.kernel.containers {
            let known = self.node.pods().class_of_cgroup(*container);
            let is_inherited = self.node.inherited_containers.contains(container);
            assert!(
                known == Some(*class) || is_inherited || pending(*container),
                "the entry of {container:?}: {class}"
            );
            self.check_class(*container, *class, is_inherited || pending(*container));
        }
    }

    /// A container of a gated pod is held as its name says; but those that waited in vain pass until their gate opens for
    /// something else.
    fn check_class(&self, container: CgroupId, class: ContainerClass, is_excused: bool) {
        let Some(gate) = self.places[(container.0 / STRIDE) as usize].cgroup else { return };
        if is_excused || self.node.pods().is_gated(gate) != Some(true) {
            return;
        }
        let may_pass = !self.is_held(gate, container) || self.seen.get(&gate).is_some_and(|seen| seen.timed_out);
        assert!(class == ContainerClass::Gated || may_pass, "{container:?} is not held, and should be");
        assert!(
            class != ContainerClass::Gated || self.is_held(gate, container),
            "{container:?} is held, and should not be"
        );
    }

    /// Queries are held at closed gates, and at those that wait for their DNS; what waits there has a copy.
    fn check_queries(&self) {
        let node = &self.node;
        let late = node.workloads.values().filter(|workload| workload.awaits_dns);
        assert_eq!(late.count(), node.queries.late(), "gates that wait for their DNS");
        for (gate, workload) in &node.workloads {
            let holds = workload.entry().is_some_and(|entry| entry.datagram_ports != CapturePorts::default());
            let is_open = node.gates().gate(*gate).is_some_and(|gate| gate.state() == GateState::Open);
            assert!(
                !holds || !is_open || workload.awaits_dns || node.resetting.contains_key(gate),
                "{gate:?} holds DNS"
            );
        }
        for (id, gate) in node.gates().gates() {
            for cookie in gate.waiting().iter().filter(|cookie| self.asked.contains(cookie)) {
                assert!(node.queries.holds(*cookie), "{cookie:?} waits at {id:?}, and nobody asks any longer");
            }
        }
        for (cookie, socket) in self.kernel.sockets.iter().filter(|(_, socket)| socket.is_query && socket.is_held) {
            let is_it =
                |input: &Input| matches!(input, Input::Datagram(query) if query.record.header.socket == *cookie);
            let parked = socket.parked.filter(|_| self.kernel.is_announced(socket));
            let is_old = parked.is_none_or(|parked| after(parked, Duration::from_secs(6)) <= self.now);
            let seen = self.seen.get(&socket.gate).cloned().unwrap_or_default();
            let left = seen.is_open()
                || seen.reclosed >= parked
                || seen.want.is_none()
                || node.resetting.contains_key(&socket.gate)
                || self.node.pods().class(socket.gate, socket.container) == Some(ContainerClass::Exempt);
            let is_kept = node.queries.holds(*cookie) || self.inbox.iter().any(is_it);
            let is_truncated = cookie.0.is_multiple_of(2);
            assert!(is_kept || is_old || left || is_truncated, "{cookie:?} is forgotten: {socket:?}");
        }
    }

    /// Law 4: whoever is held waits in the node, or is left to the kernel's own retry for a reason.
    fn check_connections(&self) {
        let unclassified = self.node.unclassified.waiting();
        for (gate, _) in &unclassified[0] {
            assert!(self.node.pods().is_gated(*gate).is_none(), "waits for a pod that is decided");
        }
        let unclassified = unclassified.concat();
        self.check_ended(&unclassified);
        for (cookie, socket) in &self.kernel.sockets {
            if !socket.is_held || socket.is_query || !self.kernel.is_announced(socket) {
                continue;
            }
            let (gate, parked) = (socket.gate, socket.parked.unwrap());
            let of_gate = self.node.gates().gate(gate);
            let waits = of_gate.is_some_and(|gate| gate.waiting().contains(cookie));
            let is_unread = self
                .inbox
                .iter()
                .any(|input| matches!(input, Input::Parked(record) if record.header.socket == *cookie));
            let seen = self.seen.get(&gate).cloned().unwrap_or_default();
            let left = (socket.is_unclassified && after(parked, GRACE) <= self.now)
                || seen.reclosed.is_some_and(|at| parked <= at)
                || seen.is_open()
                || self.node.resetting.contains_key(&gate)
                || self.node.pods().class(gate, socket.container) == Some(ContainerClass::Exempt);
            assert!(
                waits || is_unread || left || unclassified.contains(&(gate, *cookie)),
                "{cookie:?} is forgotten: {socket:?}"
            );
        }
    }

    /// Who has ended waits no longer, as far as the node was told, and who waits has a copy.
    fn check_ended(&self, unclassified: &[(CgroupId, Cookie)]) {
        let is_unread = |cookie: Cookie| {
            self.inbox.iter().any(|input| matches!(input, Input::Ended(ended) if ended.header.socket == cookie))
        };
        let is_over = |cookie: Cookie| {
            let is_untold = self.unended.contains(&cookie) || self.asked.contains(&cookie);
            !self.kernel.sockets.contains_key(&cookie) && !is_untold && !is_unread(cookie)
        };
        for (gate, cookie) in unclassified {
            assert!(!is_over(*cookie), "{cookie:?} has ended, and waits at {gate:?} for who it is");
        }
        for (id, gate) in self.node.gates().gates().filter(|(id, _)| !self.node.resetting.contains_key(id)) {
            for cookie in gate.waiting() {
                assert!(!is_over(cookie), "{cookie:?} has ended, and waits at {id:?}");
                assert!(self.node.connections.holds(cookie), "nothing to send again of {cookie:?} at {id:?}");
            }
        }
    }

    /// In the end everything that connects is made, and every gate is open.
    pub(in super::super) fn check_released(&self) {
        let waits: Vec<_> = self.kernel.sockets.iter().filter(|(_, socket)| !socket.is_query).collect();
        assert!(waits.is_empty(), "not made although all is well: {waits:?}");
        // Whose end the kernel could not tell may have been reset, and is kept in mind.
        let told = |gate: &&CgroupId| !self.unended.iter().any(|cookie| cookie.0 / STRIDE == gate.0 / STRIDE);
        let idle: Vec<_> = self.prepared.iter().filter(told).collect();
        assert!(idle.is_empty(), "nothing waits, and all is ready to send it again: {idle:?}");
        for place in &self.places {
            let state = place.cgroup.and_then(|gate| self.node.gates().gate(gate)).map(|gate| gate.state());
            assert_ne!(state, Some(GateState::Holding), "closed although its proxy is ready");
            let netns = place.cgroup.and_then(|gate| self.node.workload(gate)).and_then(|workload| workload.netns());
            assert!(netns.is_none() || netns == place.netns, "another namespace than the pod's");
        }
    }

    /// After all pods have gone nothing is left.
    pub(in super::super) fn check_empty(&self) {
        let node = &self.node;
        assert_eq!(node.gates().gates().count(), 0, "gates");
        assert!(node.workloads.is_empty() && node.closed.is_empty() && node.holding.is_empty(), "workloads");
        assert!(node.queries.is_empty(), "queries");
        assert!(node.connections.is_empty() && node.resetting.is_empty() && node.probes.is_empty(), "connections");
        assert_eq!((node.unclassified(), node.unclassified.next_due()), (0, None), "unclassified");
        assert!(node.inherited.is_empty() && node.inherited_containers.is_empty(), "inherited");
        assert_eq!((node.unwritten(), node.pods().there().count()), ([0, 0], 0), "pods");
        assert_eq!((self.kernel.gates.len(), self.kernel.containers.len()), (0, 0), "maps");
    }
}
