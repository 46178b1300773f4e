//! `report`: the last gates with their connections in time.

use serde::{Deserialize, Serialize};

use super::{Time, event::Connection};

/// The last gates of this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Report {
    /// [`super::VERSION`].
    pub version: u32,
    /// The agent's version.
    pub agent: String,
    /// The node's name in the Kubernetes API.
    pub node: Option<String>,
    /// When the report was made.
    pub made: Time,
    /// The gates' lives, latest first.
    pub lives: Vec<Life>,
}

/// One life of a gate: from its closing to its opening, or to the pod's end.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Life {
    /// Namespace and name.
    pub pod: String,
    /// `hold`, `retry` or `observe`.
    pub mode: String,
    /// When the gate was closed.
    pub closed: Time,
    /// When a listener appeared on a capture port.
    pub listening: Option<Time>,
    /// When the gate was opened; null: it is closed, or the pod ended first.
    pub opened: Option<Time>,
    /// Why it was opened.
    pub reason: Option<String>,
    /// When the pod ended.
    pub gone: Option<Time>,
    /// How many connections it held.
    pub held: u64,
    /// The first of them, oldest first; those above a limit are only counted.
    pub connections: Vec<Span>,
}

impl Life {
    /// That of a gate that was closed just now and holds nothing.
    #[must_use]
    pub fn new(pod: &str, mode: &str, closed: Time) -> Self {
        Self {
            pod: pod.to_owned(),
            mode: mode.to_owned(),
            closed,
            listening: None,
            opened: None,
            reason: None,
            gone: None,
            held: 0,
            connections: Vec::new(),
        }
    }
}

/// One held connection's timeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Span {
    /// Whose, where to, and since when.
    #[serde(flatten)]
    pub connection: Connection,
    /// When the hold ended; null: it is still held.
    pub ended: Option<Time>,
    /// `established`, `abandoned`, `expired` or `refused`; null: it is still held.
    pub outcome: Option<String>,
}
