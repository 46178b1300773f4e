//! `explain`: one pod's gate, what it holds and what it waits for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Time, event::Connection, status::Gate};

/// A pod's gate, explained.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Explanation {
    /// [`super::VERSION`].
    pub version: u32,
    /// The gate.
    pub gate: Gate,
    /// Why the pod has no gate, if it has none.
    pub not_gated: Option<String>,
    /// What the pod asks for.
    pub policy: Option<Policy>,
    /// What a closed gate waits for.
    pub waits_for: Option<WaitsFor>,
    /// The containers that connected while the gate was closed.
    pub containers: Vec<Container>,
    /// The connections held now, oldest first.
    pub connections: Vec<Held>,
    /// DNS queries of the pod that the agent answered as truncated, so that their lookups continue over TCP.
    #[serde(default)]
    pub dns_truncated: u64,
    /// What last happened to the gate, oldest first; at most [`DECISIONS`].
    pub decisions: Vec<Decision>,
}

/// How many decisions are told.
pub const DECISIONS: usize = 10;

/// What a pod asks of its gate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Policy {
    /// `hold`, `retry` or `observe`.
    pub mode: String,
    /// The longest hold.
    pub timeout_seconds: f64,
    /// `release` or `reset`.
    pub on_timeout: String,
    /// The proxy that it waits for, as in conngate.io/proxy; null: not a mesh's.
    pub proxy: Option<String>,
    /// Whether Kubernetes starts that proxy before the application (a native sidecar).
    #[serde(default)]
    pub native_sidecar: bool,
    /// The ready URL; null: a listener is enough.
    pub ready_url: Option<String>,
    /// The ports that the mesh redirects connections to.
    pub capture_ports: Vec<u16>,
    /// Whether the agent answers long-waiting DNS queries as truncated, where it can.
    #[serde(default)]
    pub dns_truncate: bool,
    /// The longest hold when the proxy stops listening later; null: never held again.
    pub regate_seconds: Option<f64>,
    /// Where each value comes from that the pod, its namespace or a default says, by its annotation's name without
    /// `conngate.io/`: `the pod`, `namespace NAME`, or one of the node's defaults.
    #[serde(default)]
    pub origins: BTreeMap<String, String>,
}

/// What a closed gate waits for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WaitsFor {
    /// In words.
    pub what: String,
    /// The last answer, in words.
    pub answer: Option<String>,
    /// When it came.
    pub asked: Option<Time>,
    /// When the gate opens at the latest; null: nothing is held yet.
    pub until: Option<Time>,
}

/// A container.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Container {
    /// Its name; empty: the sandbox, or unknown.
    pub name: String,
    /// `gated` or `exempt`.
    pub class: String,
}

/// A connection held now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Held {
    /// Whose, and where to.
    #[serde(flatten)]
    pub connection: Connection,
    /// For how long.
    pub held_seconds: f64,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Decision {
    /// When.
    pub at: Time,
    /// What.
    pub what: String,
    /// The reason, if there is one.
    pub reason: Option<String>,
}
