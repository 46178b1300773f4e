//! `events`: what happens to gates and to the connections that they hold, one object each.

use serde::{Deserialize, Serialize};

use super::Time;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Event {
    /// [`super::VERSION`].
    pub version: u32,
    /// When.
    pub time: Time,
    /// The pod, as namespace and name; null: no pod's.
    pub pod: Option<String>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// The gate's state changed, or its reason.
    Changed {
        /// `holding`, `open` or `not-enrolled`.
        state: String,
        /// Why.
        reason: String,
        /// `hold`, `retry` or `observe`; null: the pod asks for no gate.
        mode: Option<String>,
    },
    /// A container was identified.
    Container {
        /// Its name; empty: the sandbox, or unknown.
        container: String,
        /// `gated` or `exempt`.
        class: String,
    },
    /// A container had started before anybody held connections on the node.
    StartedBeforeAgent {
        /// Its name.
        container: String,
    },
    /// A connection is held.
    Held(Connection),
    /// A held connection ended.
    Ended {
        /// The socket's cookie.
        socket: u64,
        /// `established`, `abandoned`, `expired` or `refused`.
        outcome: String,
        /// How many SYNs were dropped.
        attempts: u32,
        /// From the first drop on.
        held_seconds: f64,
    },
    /// A listener appeared on a capture port.
    Listening,
    /// The gate was opened.
    Opened {
        /// Why.
        reason: String,
        /// How many connections it held.
        held: u64,
        /// How many of them were still held.
        waiting: u64,
        /// From the first drop of all to the opening.
        longest_seconds: f64,
    },
    /// The pod is being deleted: conngate no longer holds anything of it.
    Terminating,
    /// The pod's cgroup is gone.
    Gone,
    /// The reader was too slow.
    Missed {
        /// How many events it has missed.
        events: u64,
    },
}

/// A held connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Connection {
    /// The socket's cookie.
    pub socket: u64,
    /// Why it is held.
    pub reason: String,
    /// The application's own destination, before NAT.
    pub destination: String,
    /// The port that the mesh redirects it to.
    pub capture_port: u16,
    /// The container's name; null: unknown, or no container.
    pub container: Option<String>,
    /// The connecting process; null: unknown.
    pub process: Option<Process>,
    /// The first drop.
    pub since: Time,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Process {
    /// Its id in the node's pid namespace.
    pub pid: u32,
    /// Its user in the node's user namespace.
    pub uid: u32,
    /// Its name in the kernel; its bytes need not be UTF-8.
    pub name: String,
}
