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
    /// What it needs, in the order in which it is met.
    pub conditions: Vec<Condition>,
    /// What is missing although the agent is ready.
    pub degraded: Option<String>,
    /// What only the agent's loop knows; null: it has not begun, or does not answer.
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
    /// What was held so far, and what is held now.
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
    /// The version of what it shares with the kernel.
    pub abi: u32,
    /// The node's name in the Kubernetes API.
    pub node: Option<String>,
    /// Its process, in its own pid namespace.
    pub pid: u32,
    /// Since when.
    pub started: Time,
    /// How long ago it last told the kernel that it is alive; null: never.
    pub heartbeat_age_seconds: Option<f64>,
}

/// Something that the agent needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Condition {
    /// Its word in /readyz.
    pub name: String,
    /// What it waits for; null: it is met.
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
    /// The cgroup that it hangs on; null: it is not attached.
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

/// What the kernel has counted since its maps were made, and what is so now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Totals {
    /// Connections that were held.
    pub held: u64,
    /// Those that wait now.
    pub waiting: u64,
    /// Pods without a gate.
    pub not_enrolled: u64,
    /// Those of them that ask for one, and cannot have it.
    #[serde(default)]
    pub without_gate: u64,
    /// Pods of which nobody has told yet.
    pub unknown: u64,
    /// Records that found the ring buffer full.
    pub lost_records: u64,
    /// Helpers that failed in the kernel.
    pub helper_errors: u64,
}

/// One pod's gate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Gate {
    /// Namespace and name; of a pod that no source tells of its UID.
    pub pod: String,
    /// The UID after which its cgroup is named.
    pub uid: String,
    /// The cgroup's id, the gate's key in the kernel.
    pub cgroup: u64,
    /// `unknown`, `holding`, `open` or `not-enrolled`.
    pub state: String,
    /// Why.
    pub reason: String,
    /// `hold`, `retry` or `observe`; null: none is asked for.
    pub mode: Option<String>,
    /// Connections held since it was closed last.
    pub held: u64,
    /// Connections that wait now.
    pub waiting: u64,
    /// Since when it is in this state.
    pub since: Time,
}
