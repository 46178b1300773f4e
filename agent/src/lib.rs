//! conngate: holds an application's outbound connections in the kernel until its Envoy sidecar is ready.
//!
//! The tree, from the outside in: `cli` (verbs), `app` (the only composition root), conngate-core (what is decided, pure), `kernel`
//! (eBPF and raw sockets), `ready` (probes), `netns` and `cgroup`. ARCHITECTURE.md follows one connection through it.

pub use conngate_core::{gate, spec, uid};
pub use conngate_view::{self as view, printable};

pub mod app;
pub mod capabilities;
pub mod cgroup;
pub mod cli;
pub mod exit;
pub mod hand;
pub mod inject;
pub mod kernel;
pub mod log_tail;
pub mod looks;
pub mod metrics;
pub mod netns;
pub mod node;
pub mod pods;
pub mod ready;
pub mod report;
pub mod serve;
pub mod shortage;
#[cfg(test)]
mod testing;
pub mod values;
