//! The laboratory: namespaces, a pod with a mesh's redirect, a real Envoy on a control plane that can wait, an upstream.
//!
//! Knows of conngate only how to start its binary (`gated`, `agent`).
//!
//! Invariants:
//! - everything lives in namespaces and cgroups of its own, and nothing outlives the process that made it;
//! - one laboratory at a time on a machine ([`run`]); whatever else is done there changes no test's result;
//! - threads that enter a namespace do nothing else and end there.

pub mod agent;
mod apart;
pub mod browser;
pub mod cgroup;
pub mod client;
pub mod control_plane;
mod elsewhere;
pub mod envoy;
pub mod gated;
pub mod heartbeat;
pub mod http;
pub mod kubelet;
pub mod leftovers;
pub mod namespace;
pub mod permissions;
pub mod pod;
pub mod process;
mod programs;
pub mod redirect;
pub mod resolver;
mod server;
pub mod session;
pub mod siege;
pub mod terminal;
pub mod tool;
pub mod upstream;
pub mod wait;

pub use self::{
    agent::Agent,
    browser::Browser,
    cgroup::Cgroup,
    control_plane::{Answer, ControlPlane},
    envoy::Envoy,
    gated::Gated,
    kubelet::{KubePod, Node, Qos},
    leftovers::Leftovers,
    namespace::Namespace,
    pod::Pod,
    redirect::Redirect,
    session::{alone, run, run_openly},
    terminal::Terminal,
    upstream::Upstream,
    wait::wait_until,
};
