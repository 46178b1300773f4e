//! What every test of the node agent starts from: a made-up node, a pod with a mesh and an Envoy in its sidecar container;
//! and what the kernel holds, read through the agent's pins.
//!
//! Knows nothing of what is tested.

use std::{collections::BTreeMap, mem::offset_of, time::Duration};

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData, PerCpuArray};
use conngate_common::{
    ABI_VERSION,
    counter::{Counter, SLOTS, counter_slot, verdict_slot},
    gate::{CapturePorts, ContainerEntry, GateEntry, GateState},
    reason::Reason,
    verdict::Verdict,
};
use conngate_testbed::lab::{
    self, Agent, Answer, ControlPlane, Envoy, KubePod, Node, Pod, Qos, Upstream, client::Client, heartbeat::Heartbeat,
    kubelet::Container,
};

use crate::world::{self, CAPTURED_V4};

/// Far beyond what anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A node with a pod.
pub(crate) struct World<'lab> {
    pub(crate) node: &'lab Node,
    /// Its manifest is not told yet.
    pub(crate) pod: KubePod<'lab>,
    pub(crate) netns: &'lab Pod,
    pub(crate) control_plane: &'lab ControlPlane,
    pub(crate) envoy: Envoy<'lab>,
    /// Where Envoy runs.
    pub(crate) sidecar: &'lab Container<'lab>,
}

/// A world in which Envoy has no listeners until the control plane is released. The agent is for the test to start.
pub(crate) fn initializing(qos: Qos, test: impl FnOnce(&mut World<'_>) -> Result<()> + Send) -> Result<()> {
    lab::run(|| {
        let node = Node::new()?;
        on_node(&node, |node, netns| KubePod::new(node, netns, qos), test)
    })
}

/// As [`initializing`], on a node that is there.
pub(crate) fn on_node(
    node: &Node,
    pod: impl for<'lab> FnOnce(&'lab Node, &'lab Pod) -> Result<KubePod<'lab>>,
    test: impl FnOnce(&mut World<'_>) -> Result<()>,
) -> Result<()> {
    let upstream = Upstream::start()?;
    let (netns, control_plane) = world::pod(&upstream, Answer::Held)?;
    let pod = pod(node, &netns)?;
    let sidecar = pod.container("istio-proxy")?;
    let envoy = Envoy::start_in(&netns, &control_plane, Some(sidecar.cgroup()))?;
    test(&mut World { node, pod, netns: &netns, control_plane: &control_plane, envoy, sidecar: &sidecar })
}

/// The pod is told of, and its application holds a connection: while the container lives.
pub(crate) fn holding<'lab>(world: &World<'lab>) -> Result<(Agent, Container<'lab>, Client)> {
    world.pod.tell()?;
    let agent = Agent::start(world.node, &[])?;
    let app = world.pod.container("app")?;
    let client = app.connect(CAPTURED_V4, &[])?;
    agent.wait_for("connection held", 1)?;
    Ok((agent, app, client))
}

/// What the kernel holds for the agent of a node, whether one runs or not.
pub(crate) struct Kernel<'node>(pub(crate) &'node Node);

impl Kernel<'_> {
    /// State and reason of each gate, by its cgroup id.
    pub(crate) fn gates(&self) -> Result<BTreeMap<u64, (GateState, Reason)>> {
        let gates: HashMap<_, u64, [u8; size_of::<GateEntry>()]> = HashMap::try_from(self.map("GATES")?)?;
        let gates = gates.iter().map(|entry| {
            let (id, bytes) = entry?;
            let state = GateState::try_from(word(&bytes, offset_of!(GateEntry, state)));
            let reason = Reason::try_from(word(&bytes, offset_of!(GateEntry, reason)));
            Ok((id, (state.ok().context("a state")?, reason.ok().context("a reason")?)))
        });
        gates.collect()
    }

    /// State and reason of a pod's gate; none: it has no entry.
    pub(crate) fn gate(&self, pod: &KubePod<'_>) -> Result<Option<(GateState, Reason)>> {
        Ok(self.gates()?.get(&pod.cgroup().id()?).copied())
    }

    /// Where datagrams of a pod are held; none: its gate has no entry.
    pub(crate) fn datagram_ports(&self, pod: &KubePod<'_>) -> Result<Option<[u8; size_of::<CapturePorts>()]>> {
        let gates: HashMap<_, u64, [u8; size_of::<GateEntry>()]> = HashMap::try_from(self.map("GATES")?)?;
        let entry = gates.get(&pod.cgroup().id()?, 0).ok();
        Ok(entry.and_then(|bytes| bytes[offset_of!(GateEntry, datagram_ports)..].first_chunk().copied()))
    }

    /// The containers that were told apart.
    pub(crate) fn containers(&self) -> Result<Vec<u64>> {
        let containers: HashMap<_, u64, [u8; size_of::<ContainerEntry>()]> =
            HashMap::try_from(self.map("CONTAINERS")?)?;
        containers.keys().map(|key| Ok(key?)).collect()
    }

    /// How often something was counted.
    pub(crate) fn counted(&self, counter: Counter) -> Result<u64> {
        self.count(counter_slot(counter))
    }

    /// How many captured SYNs were judged so.
    pub(crate) fn judged(&self, verdict: Verdict) -> Result<u64> {
        self.count(verdict_slot(verdict))
    }

    /// Whether the kernel still believes that the agent is alive.
    pub(crate) fn is_agent_fresh(&self) -> Result<bool> {
        let heartbeat = Heartbeat::open(self.0)?;
        Ok(heartbeat.silent_ns()? < heartbeat.stale_after_ns()?)
    }

    /// How old the agent's heartbeat is.
    pub(crate) fn agent_silent_ns(&self) -> Result<u64> {
        Heartbeat::open(self.0)?.silent_ns()
    }

    fn count(&self, slot: u32) -> Result<u64> {
        let counters: PerCpuArray<_, u64> = PerCpuArray::try_from(self.map("COUNTERS")?)?;
        anyhow::ensure!(counters.len() as usize == SLOTS, "another object's counters");
        Ok(counters.get(&slot, 0)?.iter().sum())
    }

    /// Fills the map of gates with cgroups that there are not, until nothing more finds room, or removes them again.
    pub(crate) fn fill_gates(&self, full: bool) -> Result<()> {
        let mut gates: HashMap<_, u64, [u8; size_of::<GateEntry>()]> = HashMap::try_from(self.map("GATES")?)?;
        for gate in (0..u64::from(u32::MAX)).map(|number| u64::MAX - number) {
            let done = if full { gates.insert(gate, [0; size_of::<GateEntry>()], 0) } else { gates.remove(&gate) };
            if done.is_err() {
                break;
            }
        }
        Ok(())
    }

    fn map(&self, name: &str) -> Result<aya::maps::Map> {
        let path = self.0.bpffs().join(format!("conngate/v{ABI_VERSION}/maps/{name}"));
        let data = MapData::from_pin(&path).with_context(|| format!("no map is pinned at {}", path.display()))?;
        Ok(match name {
            "COUNTERS" => aya::maps::Map::PerCpuArray(data),
            _ => aya::maps::Map::HashMap(data),
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
