//! `status`: the node, the programs and every gate.

use serde::{Deserialize, Serialize};

use super::Time;

/// The agent and what it does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// [`super::VERSION`].
    pub version: u32,
    /// The agent itself.
    pub agent: Agent,
    /// Whether every condition is met.
    pub ready: bool,
    /// Its prerequisites, in the order in which they are met.
    pub conditions: Vec<Condition>,
    /// What is missing although the agent is ready.
    pub degraded: Option<String>,
    /// What only the agent's loop knows; null: the loop has not started, or does not answer.
    pub live: Option<Live>,
}

/// What the agent's loop knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Live {
    /// The eBPF programs.
    pub programs: Vec<Program>,
    /// Where pods come from.
    pub sources: Vec<Source>,
    /// How much was held so far, and is held now.
    pub totals: Totals,
    /// The gates of this node, closed ones first.
    pub gates: Vec<Gate>,
}

/// The agent's process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Agent {
    /// Its version.
    pub version: String,
    /// The version of the layout that it shares with its programs.
    pub abi: u32,
    /// The node's name in the Kubernetes API.
    pub node: Option<String>,
    /// Its process id, in its own pid namespace.
    pub pid: u32,
    /// Its start.
    pub started: Time,
    /// The age of its last heartbeat to the kernel; null: none yet.
    pub heartbeat_age_seconds: Option<f64>,
}

/// A prerequisite of the agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Condition {
    /// Its name in /readyz.
    pub name: String,
    /// What is missing; null: it is met.
    pub unmet: Option<String>,
}

/// An eBPF program.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Program {
    /// Its name.
    pub name: String,
    /// The hook, in bpf(2)'s words.
    pub hook: String,
    /// The cgroup that it is attached to; null: it is not attached.
    pub attached: Option<String>,
    /// Why it is not attached.
    pub why: Option<String>,
}

/// A source of pods.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Source {
    /// Its name.
    pub name: String,
    /// What is missing, and what to do; null: it works.
    pub down: Option<String>,
}

/// What the kernel has counted since its maps were created, and the current state.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Totals {
    /// Connections that were held.
    pub held: u64,
    /// Connections held now.
    pub waiting: u64,
    /// Pods without a gate.
    pub not_enrolled: u64,
    /// Those of them that ask for a gate but cannot have one.
    #[serde(default)]
    pub without_gate: u64,
    /// Pods that no source has reported yet.
    pub unknown: u64,
    /// Records lost because the ring buffer was full.
    pub lost_records: u64,
    /// Helper calls that failed in the kernel.
    pub helper_errors: u64,
}

/// One pod's gate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Gate {
    /// Namespace and name; the UID if no source reports the pod.
    pub pod: String,
    /// The UID in its cgroup's name.
    pub uid: String,
    /// The cgroup's id, the gate's key in the kernel.
    pub cgroup: u64,
    /// `unknown`, `holding`, `open` or `not-enrolled`.
    pub state: String,
    /// Why.
    pub reason: String,
    /// `hold`, `retry` or `observe`; null: the pod asks for none.
    pub mode: Option<String>,
    /// Connections held since it was last closed.
    pub held: u64,
    /// Connections held now.
    pub waiting: u64,
    /// Since when it is in this state.
    pub since: Time,
}
