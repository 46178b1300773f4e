//! conngate: holds an application's outbound connections in the kernel until its Envoy sidecar is ready.
//!
//! The tree, from the outside in: `cli` (verbs), `app` (the only composition root), `gate` (the core, pure), `kernel`
//! (eBPF and raw sockets), `ready` (probes), `netns` and `cgroup`. ARCHITECTURE.md follows one connection through it.

pub mod app;
pub mod capabilities;
pub mod cgroup;
pub mod cli;
pub mod exit;
pub mod gate;
pub mod hand;
pub mod inject;
pub mod kernel;
pub mod looks;
pub mod metrics;
pub mod netns;
pub mod node;
pub mod pods;
pub mod printable;
pub mod ready;
pub mod report;
pub mod serve;
pub mod shortage;
pub mod spec;
#[cfg(test)]
mod testing;
pub mod uid;
pub mod values;
pub mod view;
