//! What the agent's loop reads when somebody scrapes: the kernel's counters, the maps, the gates of this moment.
//!
//! Knows nothing of names or formats.

use conngate_common::gate::{GateState, Mode};

use crate::{
    bpf::{attach::ProgramState, counters::Counted, maps::MapFill},
    pods::{
        no_gate::{AskedBy, NoGate},
        source::SourceName,
    },
};

/// The most containers of one pod with series of their own; the others share that of the empty name.
pub const MAX_CONTAINERS: usize = 32;

/// A moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What the kernel has counted; `None`: it cannot be read.
    pub counted: Option<Counted>,
    /// The maps that the agent writes.
    pub maps: Vec<MapFill>,
    /// The programs.
    pub programs: Vec<ProgramState>,
    /// Connections that wait.
    pub waiting: u64,
    /// Pods by the state of their gate, every state.
    pub gates: Vec<(GateState, u64)>,
    /// Pods that ask for a gate that they cannot have, by why and by who asks; every word.
    pub without_gate: Vec<((NoGate, AskedBy), u64)>,
    /// The sources that are asked, and whether they work.
    pub sources: Vec<(SourceName, bool)>,
    /// The pods with gates, the longest known first.
    pub pods: Vec<PodGate>,
    /// How many of them get series.
    pub series: PodSeries,
}

/// A pod with a gate.
#[derive(Clone, Debug)]
pub struct PodGate {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// What it asks for.
    pub mode: Mode,
    /// What its gate does.
    pub state: GateState,
    /// Its containers that had connections held: name, how many, how many of them wait.
    pub containers: Vec<(String, u64, u64)>,
}

/// Which pods get series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodSeries {
    /// None.
    Off,
    /// At most so many.
    Limit(usize),
}
