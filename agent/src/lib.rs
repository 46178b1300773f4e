//! conngate: holds an application's outbound connections in the kernel until its Envoy sidecar is ready.
//!
//! The tree, from the outside in: `cli` (verbs), `daemon` (the node agent), `driver` (the loop), the hands that do what may take long
//! (`inject`, `looks`, `ready`, `cgroup::follow`, `pods::source`, `serve`), `kernel` (eBPF), and conngate-core (what is decided, pure).
//! ARCHITECTURE.md follows one connection through it.

pub use conngate_core::{gate, spec, uid, url};

pub mod capabilities;
pub mod cgroup;
pub mod cli;
pub mod daemon;
pub mod driver;
pub mod errors;
pub mod exit;
pub mod hand;
pub mod inject;
pub mod kernel;
pub mod looks;
pub mod metrics;
pub mod netns;
pub mod pods;
pub mod printable;
pub mod ready;
pub mod report;
pub mod serve;
pub mod shortage;
#[cfg(test)]
mod testing;
pub mod values;
pub mod view;
