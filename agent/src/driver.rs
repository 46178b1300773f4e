//! Drives the node's core: hands it what the kernel and the hands tell, and carries out what it wants.
//!
//! One turn takes a bounded number of records, and decides before it tells: facts wait until all else of the turn is done. What may take
//! long is a hand's: a thread that answers.
//!
//! Invariants:
//! - The core alone decides. Whatever fails here is told to it, or leaves the connection to the kernel's own retry and cap.
//! - The heartbeat is written by every turn that is due, whatever else there is to do.
//! - [`Driver::turn`] may be dropped at any await and called again: nothing is held in its frame.

use std::{
    collections::HashMap,
    io, mem,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use conngate_common::{
    ABI_VERSION,
    gate::{AgentEntry, CapturePorts, GateEntry, MAX_SHARED_PARENTS},
    id::CgroupId,
};
use conngate_core::{
    gate::Answer,
    node::{Fact, GRACE, Hooks, Input, Node, Output},
    pod::Pod,
    workload::Sandbox,
};
use tokio::{runtime::Handle, sync::mpsc};

use crate::{
    bpf::{
        load::Loaded,
        records::{KernelRecord, Records, Ring},
    },
    clock,
    errors::error_chain,
    metrics::Recorded,
    net::{
        inject::{Injector, Target},
        looks::{Looked, Looks},
        netns::{Netns, NetnsWorker, Owner},
        prober::Prober,
    },
    proc::pods::PodCgroup,
    uid::PodUid,
};

/// After how long without a heartbeat the kernel no longer believes that the agent is alive: an agent that gets next to no processor on a
/// busy node was seen to be 3 s late.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// The first SYN timeout of sockets that are likely to be held: the same half second that the kernel then keeps to.
const FIRST_SYN_TIMEOUT: Duration = Duration::from_millis(500);

/// What is the same for every gate of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Levels at which gated cgroups sit: kubepods' own plus 1, and plus 2 below a shared parent.
    pub pod_levels: [u32; 2],
    /// The cgroups at the first level that hold those of a QoS class.
    pub shared_parents: [CgroupId; MAX_SHARED_PARENTS],
    /// Probes per second of all gates together.
    pub probe_budget: NonZeroU32,
    /// Capture ports of workloads that are not classified, and of announced listeners.
    pub capture_ports: CapturePorts,
}

/// What the core wants to know that neither the kernel nor a hand can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Is there a pod with this cgroup?
    FindPod(CgroupId),
    /// What do the sources know of this pod?
    AskFor(PodUid),
}

/// The core, the kernel and the hands.
pub struct Driver {
    node: Node,
    bpf: Loaded,
    agent: AgentEntry,
    records: Records,
    batch: Vec<KernelRecord>,
    injector: Injector,
    injected: mpsc::UnboundedReceiver<Input>,
    looks: Looks,
    looked: mpsc::UnboundedReceiver<Looked>,
    prober: Prober,
    probed: mpsc::UnboundedReceiver<Input>,
    /// The pods' cgroups, as far as somebody has told of them.
    pods: HashMap<CgroupId, PodCgroup>,
    /// A command's cgroup, which is no pod's.
    command: Option<(CgroupId, PathBuf)>,
    /// The network namespaces that the core knows, kept open: so none of them becomes another.
    netns: HashMap<CgroupId, Netns>,
    facts: Vec<Fact>,
    requests: Vec<Request>,
    recorded: Recorded,
}

impl Driver {
    /// Takes over what was loaded, and what an earlier agent left in it; `ring` is its ring buffer, `probes` the event loop on which
    /// proxies are asked. Must be called inside of a tokio runtime.
    ///
    /// # Errors
    /// When the event loop, a thread or the kernel is not to be had.
    pub fn new(
        mut bpf: Loaded,
        ring: Ring,
        worker: NetnsWorker,
        settings: Settings,
        recorded: Recorded,
        probes: Handle,
    ) -> io::Result<Self> {
        let now = clock::now();
        let mut node = Node::new(now, settings.probe_budget);
        if let Some(earlier) = bpf.maps.agent() {
            node.handle(now, Input::Earlier(earlier));
        }
        node.handle(now, Input::Inherited { gates: bpf.maps.gates(), containers: bpf.maps.containers() });
        let agent = AgentEntry {
            grace_ns: nanos(node.grace()),
            closed_gates: node.closed_gates(),
            shared_parents: settings.shared_parents,
            ..agent_entry(&bpf, settings.pod_levels, settings.capture_ports)
        };
        bpf.maps.write_agent(agent).map_err(io::Error::other)?;
        let (looks, looked) = Looks::start(worker.clone())?;
        let (injector, injected) = Injector::start(worker.clone(), recorded.clone())?;
        let (prober, probed) = Prober::new(worker, recorded.clone(), probes);
        Ok(Self {
            node,
            bpf,
            agent,
            records: ring.listen()?,
            batch: Vec::new(),
            injector,
            injected,
            looks,
            looked,
            prober,
            probed,
            pods: HashMap::new(),
            command: None,
            netns: HashMap::new(),
            facts: Vec::new(),
            requests: Vec::new(),
            recorded,
        })
    }

    /// The core.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// The loaded programs and maps.
    #[must_use]
    pub const fn bpf(&mut self) -> &mut Loaded {
        &mut self.bpf
    }

    /// What has happened to gates since the last call.
    pub fn facts(&mut self) -> Vec<Fact> {
        mem::take(&mut self.facts)
    }

    /// What the core has asked for since the last call.
    pub fn requests(&mut self) -> Vec<Request> {
        mem::take(&mut self.requests)
    }

    /// Where pods sit in the hierarchy: their levels, and the cgroups of the QoS classes. Told in one word: with the levels
    /// alone, the kernel would take a class for a pod that nobody knows.
    pub fn set_places(&mut self, levels: [u32; 2], parents: [CgroupId; MAX_SHARED_PARENTS]) {
        if (levels, parents) != (self.agent.pod_levels, self.agent.shared_parents) {
            (self.agent.pod_levels, self.agent.shared_parents) = (levels, parents);
            self.beat();
        }
    }

    /// The cgroups of the QoS classes, which come and go.
    pub fn set_shared_parents(&mut self, parents: [CgroupId; MAX_SHARED_PARENTS]) {
        self.set_places(self.agent.pod_levels, parents);
    }

    /// A pod's cgroup is there.
    pub fn pod_appeared(&mut self, pod: PodCgroup) {
        let (uid, gate) = (pod.uid, pod.id);
        self.pods.insert(gate, pod);
        self.tell(Input::PodAppeared { uid, gate });
    }

    /// A pod's cgroup is gone.
    pub fn pod_vanished(&mut self, uid: PodUid, gate: CgroupId) {
        self.tell(Input::PodVanished { uid, gate });
        self.pods.remove(&gate);
        self.netns.remove(&gate);
    }

    /// A command has this cgroup to itself, and is in this network namespace: to the core it is a pod.
    pub fn command_appeared(&mut self, gate: CgroupId, cgroup: &Path, netns: Netns, pod: Pod) {
        self.command = Some((gate, cgroup.to_owned()));
        self.tell(Input::PodAppeared { uid: pod.uid, gate });
        self.tell(Input::Pod(Arc::new(pod)));
        self.found_netns(gate, netns);
    }

    /// The network namespace of `gate` is this one.
    fn found_netns(&mut self, gate: CgroupId, netns: Netns) {
        let sandbox = netns.id().map_or(Sandbox::Unknown, Sandbox::Netns);
        self.handle_with(gate, Some(netns), Input::Sandbox { gate, sandbox });
        self.carry_out();
    }

    /// Something happened; what follows is done.
    pub fn tell(&mut self, input: Input) {
        self.node.handle(clock::now(), input);
        self.carry_out();
    }

    /// One turn: waits for the kernel, for a hand or for time, and does what follows.
    ///
    /// # Errors
    /// When the event loop fails.
    pub async fn turn(&mut self) -> io::Result<()> {
        let due = Duration::from_nanos(self.node.next_deadline().since(clock::now()));
        // In this order: whatever the programs have to tell, no answer of a hand waits for it.
        tokio::select! {
            biased;
            Some(input) = self.probed.recv() => self.node.handle(clock::now(), input),
            Some(input) = self.injected.recv() => self.node.handle(clock::now(), input),
            Some(looked) = self.looked.recv() => self.handle_with(looked.gate, looked.netns, looked.input),
            received = self.records.next(&mut self.batch) => received?,
            () = tokio::time::sleep(due) => {}
        }
        if let Some(logger) = &mut self.bpf.logger {
            logger.flush();
        }
        for record in mem::take(&mut self.batch) {
            self.node.handle(
                clock::now(),
                match record {
                    KernelRecord::Parked(record) => Input::Parked(Box::new(record)),
                    KernelRecord::Datagram(datagram) => Input::Datagram(datagram),
                    KernelRecord::Ended(record) => Input::Ended(record),
                    KernelRecord::Listening(record) => Input::Listening(record),
                },
            );
        }
        let listeners = if self.bpf.hears() { self.agent.capture_ports } else { CapturePorts::default() };
        let hooks = Hooks { listeners, ends: self.bpf.sees_ends() };
        self.node.handle(clock::now(), Input::Hooks(hooks));
        self.tell(Input::Tick);
        Ok(())
    }

    /// Hands over what was seen, and keeps the namespace open as long as the core knows it.
    fn handle_with(&mut self, gate: CgroupId, netns: Option<Netns>, input: Input) {
        self.node.handle(clock::now(), input);
        let known = self.node.workload(gate).and_then(conngate_core::workload::Workload::netns);
        if let Some(netns) = netns.filter(|netns| known.is_some() && netns.id() == known) {
            self.netns.insert(gate, netns);
        } else if known.is_none() {
            self.netns.remove(&gate);
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.node.poll() {
            self.does(output);
        }
    }

    fn does(&mut self, output: Output) {
        match output {
            Output::Beat { closed_gates } => {
                self.agent.closed_gates = closed_gates;
                self.beat();
            }
            Output::WriteGate(gate, entry) => {
                if !self.write_gate(gate, entry) {
                    self.node.handle(clock::now(), Input::GateUnwritten(gate));
                }
            }
            Output::WriteContainer(container, class) => {
                if !self.bpf.set_container(container, class) {
                    self.node.handle(clock::now(), Input::ContainerUnwritten(container));
                }
            }
            Output::Probe { gate, netns: _, url, deadline } => match self.netns.get(&gate) {
                Some(netns) => self.prober.ask(gate, netns.clone(), url, deadline),
                None => {
                    let found = "its network namespace is gone".to_owned();
                    let unanswered = Input::Probed { gate, answer: Answer::Unanswered, found, is_late: false };
                    self.node.handle(clock::now(), unanswered);
                }
            },
            Output::Look { gate, at, port, why } => self.injector.look(self.target(gate), at, port, why),
            Output::Identify { gate, container } => self.looks.container(gate, self.pods.get(&gate), container),
            Output::FindNetns(gate) => {
                self.looks.netns(gate, self.pods.get(&gate), self.netns.get(&gate).cloned());
            }
            Output::FindPod(gate) => self.requests.push(Request::FindPod(gate)),
            Output::AskFor(uid) => self.requests.push(Request::AskFor(uid)),
            Output::Prepare(gate, record) => self.injector.prepare(self.target(gate), &record),
            Output::Replay(gate, records) => self.injector.replay(self.target(gate), records),
            Output::Deliver { gate, queries, look } => self.injector.deliver(self.target(gate), queries, look),
            Output::Pass(gate, queries) => self.injector.pass(self.target(gate), queries),
            Output::Truncate { gate, queries, uid } => {
                self.injector.truncate(self.target(gate), queries, Owner { uid, gid: uid });
            }
            Output::Reset(gate, records) => self.injector.reset(self.target(gate), records),
            Output::Release(gate) => self.injector.forget(gate),
            Output::Fact(fact) => self.facts.push(fact),
        }
    }

    fn target(&self, gate: CgroupId) -> Target {
        Target { gate, home: self.netns.get(&gate).cloned(), pod: self.pods.get(&gate).cloned() }
    }

    /// Datagrams are held only where their resolvers' sockets are prepared for it. False: the kernel has another entry.
    fn write_gate(&mut self, gate: CgroupId, mut entry: Option<GateEntry>) -> bool {
        let wanted = entry.as_mut().filter(|entry| entry.datagram_ports != CapturePorts::default());
        let holds = wanted.is_some_and(|entry| {
            let command = self.command.as_ref().filter(|(id, _)| *id == gate).map(|(_, cgroup)| cgroup);
            let cgroup = self.pods.get(&gate).map(|pod| &pod.path).or(command);
            let holds = cgroup.is_some_and(|cgroup| self.bpf.hold_datagrams(gate, cgroup));
            if !holds {
                entry.datagram_ports = CapturePorts::default();
            }
            holds
        });
        let written = self.bpf.set_gate(gate, entry);
        if !holds {
            self.bpf.release_datagrams(gate);
        }
        written
    }

    fn beat(&mut self) {
        self.agent.heartbeat = clock::now();
        self.agent.grace_ns = nanos(self.node.grace());
        match self.bpf.maps.write_agent(self.agent) {
            Ok(()) => self.recorded.beat(self.agent.heartbeat),
            Err(error) => {
                tracing::error!(error = error_chain(&error), "cannot write the heartbeat");
            }
        }
    }
}

/// What an agent says of itself that knows of no pod yet, and follows whoever was there before.
#[must_use]
pub fn agent_entry(bpf: &Loaded, pod_levels: [u32; 2], capture_ports: CapturePorts) -> AgentEntry {
    let (hz, syn_linear_timeouts) = (bpf.features.hz, bpf.features.syn_linear_timeouts);
    AgentEntry {
        heartbeat: clock::now(),
        stale_after_ns: nanos(STALE_AFTER),
        grace_ns: nanos(GRACE),
        shared_parents: [CgroupId::default(); MAX_SHARED_PARENTS],
        abi: ABI_VERSION,
        epoch: bpf.maps.agent().map_or(0, |earlier| earlier.epoch).wrapping_add(1).max(1),
        closed_gates: 0,
        hz,
        syn_rto_jiffies: u32::try_from(nanos(FIRST_SYN_TIMEOUT) * u64::from(hz) / 1_000_000_000).unwrap_or(0),
        syn_linear_timeouts,
        pod_levels,
        capture_ports,
    }
}

/// As the kernel counts.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The cgroups of the QoS classes as the kernel reads them; those that find no room are taken for pods that nobody knows.
#[must_use]
pub fn shared_parents(parents: &[CgroupId]) -> [CgroupId; MAX_SHARED_PARENTS] {
    std::array::from_fn(|slot| parents.get(slot).copied().unwrap_or_default())
}
