//! One node: pods, containers, gates and connections, as one state machine.
//!
//! How to drive it: hand over what happened ([`Node::handle`]), carry out what it wants ([`Node::poll`]) until there is nothing
//! more, sleep until the next input or [`Node::next_deadline`], tick.
//!
//! Invariants:
//! - A gate opens on what was seen: a ready answer out of its pod's network namespace, or a listener where its held connections
//!   go. A listen(), a status, another namespace only make it ask.
//! - A gate's life is its cgroup and its network namespace: in another one it is closed, and asked.
//! - Undecided is not declined: what is held stays held until it is known whose it is, for [`GRACE`].
//! - What the maps should hold is known here: a write that failed is made again with every heartbeat until it succeeds.
//! - Whatever a hand does not answer costs its own pod only. Of a container, a namespace, a proxy one question is open at most.
//! - What one pod does changes nothing of what is wanted for another, but for its share of bounded rooms.

mod asking;
mod classify;
mod dns;
mod early;
mod effects;
mod input;
mod membership;
mod output;
mod takeover;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use conngate_common::{
    gate::{GateEntry, GateState},
    id::{CgroupId, MonoTime},
    record::ParkedRecord,
};

use self::{asking::Probes, early::Early, effects::Resetting};
pub use self::{
    input::{Found, Hooks, Input, Why},
    output::{Fact, Output, What},
};
use crate::{
    backoff::after,
    connections::ParkedPackets,
    containers::Unclassified,
    dns::Queries,
    gate::{Gate, Table},
    pods::PodTable,
    untold::Untold,
    workload::Workload,
};

/// How often the kernel is told that the agent is alive.
pub const HEARTBEAT: Duration = Duration::from_millis(250);

/// The longest that an unclassified connection is held by an agent that is alive, but late.
pub const GRACE: Duration = Duration::from_secs(10);

/// How often what nobody tells of is looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// The node.
#[derive(Debug)]
pub struct Node {
    now: MonoTime,
    hooks: Hooks,
    pods: PodTable,
    gates: Table,
    workloads: HashMap<CgroupId, Workload>,
    connections: ParkedPackets,
    queries: Queries,
    unclassified: Unclassified,
    untold: Untold,
    /// Pods that nobody has told of for too long.
    overdue: usize,
    probes: Probes,
    /// Gates whose connections are being reset.
    resetting: HashMap<CgroupId, Resetting>,
    /// The gates that are closed in the kernel, those that an earlier agent left included.
    closed: BTreeSet<CgroupId>,
    /// Closed gates with connections that were held.
    holding: BTreeSet<CgroupId>,
    /// What the kernel was told last of how many are closed.
    told_closed: u32,
    unwritten_gates: BTreeSet<CgroupId>,
    unwritten_containers: BTreeSet<CgroupId>,
    /// Gates that an earlier agent left, until their pods are known.
    inherited: BTreeMap<CgroupId, GateEntry>,
    /// Containers that an earlier agent left, until they are told apart anew.
    inherited_containers: BTreeSet<CgroupId>,
    early: Early,
    walked: bool,
    synced: bool,
    reconciled: bool,
    started: MonoTime,
    beat_at: MonoTime,
    sweep_at: MonoTime,
    outputs: VecDeque<Output>,
}

impl Node {
    /// A node of which nothing is known, at `now`, whose proxies are asked `probes` times a second at most.
    #[must_use]
    pub fn new(now: MonoTime, probes: NonZeroU32) -> Self {
        Self {
            now,
            hooks: Hooks::default(),
            pods: PodTable::default(),
            gates: Table::new(),
            workloads: HashMap::new(),
            connections: ParkedPackets::default(),
            queries: Queries::default(),
            unclassified: Unclassified::default(),
            untold: Untold::default(),
            overdue: 0,
            probes: Probes::new(probes),
            resetting: HashMap::new(),
            closed: BTreeSet::new(),
            holding: BTreeSet::new(),
            told_closed: 0,
            unwritten_gates: BTreeSet::new(),
            unwritten_containers: BTreeSet::new(),
            inherited: BTreeMap::new(),
            inherited_containers: BTreeSet::new(),
            early: Early::default(),
            walked: false,
            synced: false,
            reconciled: false,
            started: now,
            beat_at: now,
            sweep_at: after(now, SWEEP),
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened. Outputs and the next deadline may be others afterwards.
    pub fn handle(&mut self, now: MonoTime, input: Input) {
        self.now = now;
        match input {
            Input::Tick => self.tick(),
            Input::Hooks(hooks) => self.hooks = hooks,
            Input::Earlier(agent) => self.succeed(&agent),
            Input::Inherited { gates, containers } => self.inherit(gates, containers),
            Input::Attached => self.attached(),
            Input::PodAppeared { uid, gate } => {
                let changes = self.pods.appeared(uid, gate);
                self.change(changes);
                self.pod_appeared(gate);
                self.tell_early(gate);
            }
            Input::PodVanished { uid, gate } => {
                let changes = self.pods.vanished(uid, gate);
                self.change(changes);
            }
            Input::Containers { gate, there } => self.listed(gate, there),
            Input::Walked => {
                self.walked = true;
                self.reconcile();
            }
            Input::Pod(pod) => {
                let uid = pod.uid;
                let changes = self.pods.seen(pod);
                self.change(changes);
                if let Some(gate) = self.pods.gate(uid) {
                    self.tell_early(gate);
                }
            }
            Input::PodGone(uid) => {
                let changes = self.pods.gone(uid);
                self.change(changes);
            }
            Input::Synced => {
                self.synced = true;
                self.reconcile();
            }
            Input::Parked(record) => self.parked(*record),
            Input::Datagram(datagram) => self.datagram(datagram),
            Input::Ended(record) => self.ended(&record),
            Input::Listening(record) => self.listening(&record),
            Input::Identified { gate, container, found, sandbox } => self.identified(gate, container, found, sandbox),
            Input::Sandbox { gate, sandbox } => self.found_netns(gate, sandbox),
            Input::Probed { gate, answer, found, is_late } => self.probed(gate, answer, found, is_late),
            Input::Looked { gate, answer, why } => self.looked(gate, answer, why),
            Input::Delivered { gate, bound } => self.queries.sent(self.now, gate, bound),
            Input::WasReset(gate) => self.was_reset(gate),
            Input::GateUnwritten(gate) => drop(self.unwritten_gates.insert(gate)),
            Input::ContainerUnwritten(container) => drop(self.unwritten_containers.insert(container)),
            Input::Open(gate) => self.event(crate::gate::Event::Override { gate }),
        }
        self.count_closed();
    }

    /// The next thing to do or to tell; `None`: nothing, until the next input.
    pub fn poll(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.carry_out();
            self.count_closed();
        }
        self.outputs.pop_front()
    }

    /// When to tick, unless something happens before. Holds once all outputs were polled.
    #[must_use]
    pub fn next_deadline(&self) -> MonoTime {
        let [gates, queries] = [self.gates.next_deadline(), self.queries.next_deadline()];
        let others = [gates, queries, self.unclassified.next_due(), self.probes.next()];
        others.into_iter().flatten().fold(self.beat_at.min(self.sweep_at), MonoTime::min)
    }

    fn tick(&mut self) {
        if self.beat_at <= self.now {
            self.beat_at = after(self.now, HEARTBEAT);
            self.beat();
        }
        if self.sweep_at <= self.now {
            self.sweep_at = after(self.now, SWEEP);
            self.adopt();
            self.reconcile_containers();
            self.find_unseen();
            self.expire();
            self.overdue = self.untold.at(self.now, self.pods.untold());
        }
        self.probe_due();
        self.look_again();
        self.gates.tick(self.now);
    }

    fn tell(&mut self, gate: CgroupId, what: What) {
        let fact = Fact { at: self.now, gate, pod: self.name(gate), uid: self.pods.uid(gate), what };
        self.outputs.push_back(Output::Fact(fact));
    }
}

/// What is so now.
impl Node {
    /// The pods.
    #[must_use]
    pub const fn pods(&self) -> &PodTable {
        &self.pods
    }

    /// The gates.
    #[must_use]
    pub const fn gates(&self) -> &Table {
        &self.gates
    }

    /// The gate of this cgroup, while it is closed.
    #[must_use]
    pub fn closed(&self, gate: CgroupId) -> Option<&Gate> {
        self.gates.gate(gate).filter(|gate| gate.state() == GateState::Holding)
    }

    /// What a gate was enrolled with, and how its proxy answered last; `None`: nobody has told of it.
    #[must_use]
    pub fn workload(&self, gate: CgroupId) -> Option<&Workload> {
        self.workloads.get(&gate)
    }

    /// The held connections that wait at a gate, the oldest first, as far as a copy of their packet is kept.
    #[must_use]
    pub fn waiting(&self, gate: CgroupId) -> Vec<&ParkedRecord> {
        let sockets = self.gates.gate(gate).map(Gate::waiting).unwrap_or_default();
        let mut records: Vec<_> = sockets.into_iter().filter_map(|socket| self.connections.record(socket)).collect();
        records.sort_by_key(|record| record.first_drop);
        records
    }

    /// How many connections wait of which nobody can say yet whose they are.
    #[must_use]
    pub fn unclassified(&self) -> usize {
        self.unclassified.count()
    }

    /// How many gates are closed, or may yet be.
    #[must_use]
    pub const fn closed_gates(&self) -> u32 {
        self.told_closed
    }

    /// How many pods no source has told of for a minute.
    #[must_use]
    pub const fn overdue(&self) -> usize {
        self.overdue
    }

    /// Whether what an earlier agent left agrees with the pods of now.
    #[must_use]
    pub const fn is_reconciled(&self) -> bool {
        self.reconciled
    }

    /// How many entries of gates and of containers the kernel does not have as it should.
    #[must_use]
    pub fn unwritten(&self) -> [usize; 2] {
        [self.unwritten_gates.len(), self.unwritten_containers.len()]
    }

    /// How people call the pod of a gate.
    #[must_use]
    pub fn name(&self, gate: CgroupId) -> Arc<str> {
        match (self.pods.pod(gate), self.pods.uid(gate)) {
            (Some(pod), _) => pod.path().into(),
            (None, Some(uid)) => uid.to_string().into(),
            (None, None) => {
                let last = self.workloads.get(&gate).and_then(|workload| workload.name.clone());
                last.unwrap_or_else(|| format!("cgroup {}", gate.0).into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
