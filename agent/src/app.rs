//! The composition root: the core, the kernel and readiness, driven by one event loop.
//!
//! Knows nothing of the command line or of where workloads come from: somebody enrols gates and reads notices.
//!
//! Invariants:
//! - The core alone decides. Here its effects are carried out, in their order, and what happens is told to it.
//! - An effect that fails is logged and leaves the connection to the kernel's own retry and cap.
//! - [`App::next`] may be dropped at any await and called again: nothing is held in its frame.

mod asking;
mod effects;
mod enrolled;
mod notice;
mod queries;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    time::Duration,
};

use conngate_common::{
    ABI_VERSION,
    gate::{AgentEntry, CapturePorts, ContainerClass, GateState, MAX_SHARED_PARENTS},
    id::CgroupId,
    reason::Reason,
    record::{EndedRecord, Outcome, ParkedRecord},
};
use conngate_core::{
    connections::{ParkedPackets, is_datagram},
    dns::Queries,
};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval},
};

use self::{asking::Asked, effects::Resetting, enrolled::Enrolments};
pub use self::{
    enrolled::{Enrolled, Home},
    notice::{Node, Notice},
};
use crate::{
    gate::{Event, Gate, Table},
    inject::{Done, Injector},
    kernel::{
        clock,
        load::Loaded,
        records::{KernelRecord, Records, Ring},
    },
    metrics::Recorded,
    netns::NetnsWorker,
    ready::budget::Budget,
    spec::GateSpec,
};

/// How often the agent tells the kernel that it is alive, and after how long the kernel stops believing it: an agent that
/// gets next to no processor on a busy node was seen to be 3 s late.
const HEARTBEAT: Duration = Duration::from_millis(250);
const STALE_AFTER: Duration = Duration::from_secs(5);

/// The longest that an unclassified pod is held by an agent that is alive, but late.
pub const GRACE: Duration = Duration::from_secs(10);

/// The first SYN timeout of sockets that are likely to be held: the same half second that the kernel then keeps to.
const FIRST_SYN_TIMEOUT: Duration = Duration::from_millis(500);

/// The running agent.
pub struct App {
    loaded: Loaded,
    agent: AgentEntry,
    records: Records,
    batch: Vec<KernelRecord>,
    table: Table,
    enrolled: Enrolments,
    /// The gates that are closed in the kernel, those that an earlier agent left included.
    closed: HashSet<CgroupId>,
    /// There are workloads of which nobody knows whether they ask for a gate.
    undecided: bool,
    parked: ParkedPackets,
    queries: Queries,
    injector: Injector,
    done: mpsc::UnboundedReceiver<Done>,
    /// Gates whose connections are being reset.
    resetting: HashMap<CgroupId, Resetting>,
    worker: NetnsWorker,
    budget: Budget,
    /// Where proxies are asked: what a pod's rules cost, its own probes pay.
    probes: Handle,
    ask: mpsc::UnboundedSender<Asked>,
    answers: mpsc::UnboundedReceiver<Asked>,
    heartbeat: Interval,
    notices: VecDeque<Notice>,
    recorded: Recorded,
}

impl App {
    /// Takes over what was loaded; `ring` is its ring buffer, `probes` the event loop on which proxies are asked. Must be
    /// called inside of a tokio runtime.
    ///
    /// # Errors
    /// When the event loop or the kernel refuses.
    pub fn new(
        mut loaded: Loaded,
        ring: Ring,
        worker: NetnsWorker,
        node: Node,
        recorded: Recorded,
        probes: Handle,
    ) -> io::Result<Self> {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let (hz, syn_linear_timeouts) = (loaded.features.hz, loaded.features.syn_linear_timeouts);
        let closed = loaded.maps.gates().into_iter().filter(|(_, entry)| entry.state == GateState::Holding.code());
        let closed: HashSet<_> = closed.map(|(gate, _)| gate).collect();
        let agent = AgentEntry {
            heartbeat: clock::now(),
            stale_after_ns: nanos(STALE_AFTER),
            grace_ns: nanos(GRACE),
            abi: ABI_VERSION,
            epoch: loaded.maps.agent().map_or(0, |earlier| earlier.epoch).wrapping_add(1).max(1),
            closed_gates: count(&closed, false),
            hz,
            syn_rto_jiffies: u32::try_from(nanos(FIRST_SYN_TIMEOUT) * u64::from(hz) / 1_000_000_000).unwrap_or(0),
            syn_linear_timeouts,
            pod_levels: node.pod_levels,
            shared_parents: node.shared_parents,
            capture_ports: node.capture_ports,
        };
        loaded.maps.write_agent(agent).map_err(io::Error::other)?;
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (ask, answers) = mpsc::unbounded_channel();
        let (injector, done) = Injector::start(worker.clone(), recorded.clone())?;
        Ok(Self {
            loaded,
            agent,
            records: ring.listen()?,
            batch: Vec::new(),
            table: Table::new(),
            enrolled: Enrolments::default(),
            closed,
            undecided: false,
            parked: ParkedPackets::default(),
            queries: Queries::default(),
            injector,
            done,
            resetting: HashMap::new(),
            worker,
            budget: Budget::new(node.probe_budget),
            probes,
            ask,
            answers,
            heartbeat,
            notices: VecDeque::new(),
            recorded,
        })
    }

    /// Closes a gate, or gives another spec to an existing one; `home` is where its workload's namespace is to be found.
    pub fn enrol(&mut self, gate: CgroupId, spec: GateSpec, home: Home) {
        let policy = spec.policy;
        self.enrolled.insert(gate, Some(spec), home);
        self.tell(Event::Enrolled { gate, policy });
    }

    /// Takes over a gate that is open already.
    pub fn resume(&mut self, gate: CgroupId, spec: GateSpec, home: Home, reason: Reason) {
        let policy = spec.policy;
        self.enrolled.insert(gate, Some(spec), home);
        self.tell(Event::Resumed { gate, policy, reason });
    }

    /// The workload asks for no gate, or no longer.
    pub fn decline(&mut self, gate: CgroupId, home: Home) {
        self.enrolled.insert(gate, None, home);
        self.tell(Event::Declined { gate });
    }

    /// The workload is being deleted; one that was never heard of asks for nothing any more.
    pub fn terminate(&mut self, gate: CgroupId, home: Home) {
        if self.enrolled.by_gate(gate).is_none() {
            return self.decline(gate, home);
        }
        self.tell(Event::Terminating { gate });
    }

    /// Where pods sit in the hierarchy: their levels, and the cgroups of the QoS classes. Told in one word: with the levels
    /// alone, the kernel would take a class for a pod that nobody knows.
    pub fn set_places(&mut self, levels: [u32; 2], parents: &[CgroupId]) {
        self.agent.pod_levels = levels;
        self.agent.shared_parents = shared_parents(parents);
        self.beat();
    }

    /// The cgroups of the QoS classes, which come and go.
    pub fn set_shared_parents(&mut self, parents: &[CgroupId]) {
        if shared_parents(parents) != self.agent.shared_parents {
            self.set_places(self.agent.pod_levels, parents);
        }
    }

    /// Whether there are workloads of which nobody knows whether they ask for a gate: then sockets are prepared for a hold
    /// as if a gate were closed.
    pub fn set_undecided(&mut self, undecided: bool) {
        if std::mem::replace(&mut self.undecided, undecided) != undecided {
            self.beat();
        }
    }

    /// The workload is gone.
    pub fn retire(&mut self, gate: CgroupId) {
        self.tell(Event::Retired { gate });
        self.forget(gate);
    }

    /// The kubelet says whether the proxy's container is ready.
    pub fn vouch(&mut self, gate: CgroupId, ready: bool) {
        self.tell(Event::Vouched { gate, ready });
    }

    /// Says what a container is.
    pub fn classify(&mut self, container: CgroupId, class: ContainerClass) {
        self.loaded.set_container(container, Some(class));
    }

    /// The cgroup of a container is gone.
    pub fn forget_container(&mut self, container: CgroupId) {
        self.loaded.set_container(container, None);
    }

    /// Hands on a connection of a workload and a container that are classified by now.
    pub fn admit(&mut self, record: ParkedRecord) {
        self.classified(&record);
        let (gate, socket) = (record.header.gate, record.header.socket);
        let Some(enrolled) = self.enrolled.by_gate(gate) else { return };
        if self.parked.is_full(gate) && !self.parked.holds(socket) {
            self.queries.take(socket);
            return tracing::debug!(gate = gate.0, "no room: left to the kernel's own retry");
        }
        let truncates = enrolled.spec.as_ref().is_some_and(|spec| spec.truncates(record.capture_port));
        self.queries.hold(socket, truncates);
        let is_gated = enrolled.spec.is_some();
        if self.parked.park(record) {
            self.injector.prepare(enrolled.target(gate), &record);
        }
        self.tell(Event::Parked { gate, socket, first_drop: record.first_drop });
        if is_gated {
            self.notices.push_back(Notice::Held(Box::new(record)));
        }
    }

    /// Lets a connection go that is not to be held: an exempt container's.
    pub fn pass(&mut self, record: ParkedRecord) {
        self.classified(&record);
        let gate = record.header.gate;
        let Some(enrolled) = self.enrolled.by_gate(gate) else { return };
        let target = enrolled.target(gate);
        if is_datagram(&record) {
            self.injector.pass(target, self.queries.take(record.header.socket));
        } else {
            self.injector.replay(target, vec![record]);
        }
    }

    fn classified(&self, record: &ParkedRecord) {
        if record.reason == Reason::Unclassified.code() {
            self.recorded.classified(Duration::from_nanos(clock::now().since(record.header.at)));
        }
    }

    /// Opens a gate by the operator's word.
    pub fn open(&mut self, gate: CgroupId) {
        self.tell(Event::Override { gate });
    }

    /// All gates, as the core has them.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// What a gate was enrolled with and how its proxy answered last; `None`: nobody has told of it.
    #[must_use]
    pub fn enrolled(&self, gate: CgroupId) -> Option<&Enrolled> {
        self.enrolled.get(gate)
    }

    /// The held connections that wait at a gate, the oldest first, as far as a copy of their SYN is kept.
    #[must_use]
    pub fn waiting(&self, gate: CgroupId) -> Vec<&ParkedRecord> {
        let sockets = self.table.gate(gate).map(Gate::waiting).unwrap_or_default();
        let mut records: Vec<_> = sockets.into_iter().filter_map(|socket| self.parked.record(socket)).collect();
        records.sort_by_key(|record| record.first_drop);
        records
    }

    /// The loaded programs and maps.
    #[must_use]
    pub fn loaded(&mut self) -> &mut Loaded {
        &mut self.loaded
    }

    /// Works until there is something to tell.
    ///
    /// # Errors
    /// When the event loop fails.
    pub async fn next(&mut self) -> io::Result<Notice> {
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return Ok(notice);
            }
            let wake = [self.table.next_deadline(), self.queries.next_deadline()].into_iter().flatten().min();
            let wake = wake.map(|at| Duration::from_nanos(at.since(clock::now())));
            // In this order: whatever the programs have to tell, it silences neither the heartbeat nor a probe's answer.
            tokio::select! {
                biased;
                _ = self.heartbeat.tick() => {
                    self.beat();
                    self.forget_late_resets();
                    self.loaded.write_again();
                }
                Some(asked) = self.answers.recv() => self.answered(asked),
                Some(done) = self.done.recv() => match done {
                    Done::Looked(looked) => self.looked(looked),
                    Done::Delivered(delivered) => self.delivered(&delivered),
                    Done::Reset(gate) => self.was_reset(gate),
                },
                received = self.records.next(&mut self.batch) => received?,
                () = tokio::time::sleep(wake.unwrap_or_default()), if wake.is_some() => {}
            }
            self.take_records();
            self.table.tick(clock::now());
            self.queries.tick(clock::now());
            self.carry_out();
        }
    }

    fn take_records(&mut self) {
        if let Some(logger) = &mut self.loaded.logger {
            logger.flush();
        }
        for record in std::mem::take(&mut self.batch) {
            match record {
                KernelRecord::Parked(record) => self.parked(record),
                KernelRecord::Datagram(datagram) => {
                    let record = datagram.record;
                    self.queries.keep(clock::now(), datagram);
                    self.parked(record);
                }
                KernelRecord::Ended(record) => self.ended(record),
                KernelRecord::Listening(record) => self.listening(record),
            }
        }
    }

    fn parked(&mut self, record: ParkedRecord) {
        let socket = record.header.socket;
        if self.parked.holds(socket) {
            // The same socket connects again: its first copy goes before the second comes.
            self.carry_out();
        }
        // An inherited gate's connections may be announced before anybody has told of its workload.
        if record.reason == Reason::Unclassified.code() || self.enrolled.by_gate(record.header.gate).is_none() {
            self.notices.push_back(Notice::Unclassified(Box::new(record)));
        } else {
            self.admit(record);
        }
    }

    fn ended(&mut self, record: EndedRecord) {
        let Ok(outcome) = Outcome::try_from(record.outcome) else { return };
        let (gate, socket) = (record.header.gate, record.header.socket);
        let opened = self.enrolled.by_gate(gate).and_then(|enrolled| enrolled.opened);
        if let Some(opened) = opened.filter(|at| outcome == Outcome::Established && record.first_drop < *at) {
            self.recorded.connected(Duration::from_nanos(record.header.at.since(opened)));
        }
        self.table.handle(clock::now(), Event::Ended { gate, socket, outcome });
        self.notices.push_back(Notice::Ended(record, outcome));
    }

    fn tell(&mut self, event: Event) {
        self.table.handle(clock::now(), event);
        self.carry_out();
    }

    fn write(&mut self, gate: CgroupId, state: GateState, reason: Reason) {
        let before = self.loaded.maps.gate(gate).ok();
        let is_late =
            awaits_dns(state, reason) && before.is_some_and(|before| before.datagram_ports != CapturePorts::default());
        self.write_entry(gate, state, reason, is_late);
        if is_late {
            self.queries.opened(clock::now(), gate);
        } else {
            self.queries.closed(gate);
        }
        self.beat();
    }

    /// Writes a gate that holds datagrams only if it is closed or `is_late`: open, before its DNS is known to be there.
    fn write_entry(&mut self, gate: CgroupId, state: GateState, reason: Reason, is_late: bool) {
        let Some(enrolled) = self.enrolled.by_gate(gate) else { return };
        let is_closed = state == GateState::Holding;
        if is_closed && enrolled.state.is_none_or(|(state, _)| state != GateState::Holding) {
            // As an earlier agent has closed it, or now.
            let before = self.loaded.maps.gate(gate).ok().filter(|before| before.state == state.code());
            enrolled.closed_at = before.map_or_else(clock::now, |before| before.closed_at);
        }
        let mut entry = enrolled.entry(state, reason);
        if entry.datagram_ports != CapturePorts::default() {
            let holds = (is_closed || is_late) && self.loaded.hold_datagrams(gate, enrolled.home.cgroup());
            if !holds {
                entry.datagram_ports = CapturePorts::default();
            }
        }
        if enrolled.state.replace((state, reason)) != Some((state, reason)) {
            self.notices.push_back(Notice::Changed(gate, state, reason));
        }
        enrolled.opened = (state == GateState::Open).then(|| enrolled.opened.unwrap_or_else(clock::now));
        self.loaded.set_gate(gate, Some(entry));
        if is_closed {
            self.closed.insert(gate);
        } else {
            self.closed.remove(&gate);
        }
        if !is_closed && !is_late {
            self.loaded.release_datagrams(gate);
        }
    }

    fn forget(&mut self, gate: CgroupId) {
        self.enrolled.remove(gate);
        self.injector.forget(gate);
        self.queries.forget(gate);
        self.loaded.release_datagrams(gate);
        self.loaded.set_gate(gate, None);
        self.closed.remove(&gate);
        self.beat();
    }

    fn beat(&mut self) {
        let late = u32::try_from(self.queries.late()).unwrap_or(u32::MAX);
        self.agent.closed_gates = count(&self.closed, self.undecided).saturating_add(late);
        self.agent.heartbeat = clock::now();
        match self.loaded.maps.write_agent(self.agent) {
            Ok(()) => self.recorded.beat(self.agent.heartbeat),
            Err(error) => {
                tracing::error!(error = error_chain(&error), "the kernel does not hear that the agent is alive");
            }
        }
    }
}

/// Whether a gate in this state waits for its DNS: opened because the proxy is ready, not because nobody waits any longer.
const fn awaits_dns(state: GateState, reason: Reason) -> bool {
    matches!((state, reason), (GateState::Open, Reason::Ready | Reason::Listening | Reason::KubeletReady))
}

/// The cgroups of the QoS classes as the kernel reads them; those that find no room are taken for pods that nobody knows.
#[must_use]
pub fn shared_parents(parents: &[CgroupId]) -> [CgroupId; MAX_SHARED_PARENTS] {
    std::array::from_fn(|slot| parents.get(slot).copied().unwrap_or_default())
}

/// How many gates are closed, or may yet be.
fn count(closed: &HashSet<CgroupId>, undecided: bool) -> u32 {
    u32::try_from(closed.len()).unwrap_or(u32::MAX).saturating_add(u32::from(undecided))
}

/// An error with the chain of its causes, in one line.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
