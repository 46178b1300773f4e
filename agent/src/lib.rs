//! conngate: holds an application's outbound connections in the kernel until its Envoy sidecar is ready.
//!
//! The tree, from the outside in: `cli` (verbs), `daemon` (the node agent), `driver` (the loop), the hands that do what may take long
//! (`net`, `proc::follow`, `pods::source`, `serve`), `bpf`, and conngate-core (what is decided, pure).
//! ARCHITECTURE.md follows one connection through it.

pub use conngate_core::{gate, spec, uid, url};
pub use conngate_view::{self as view, printable};

pub mod bpf;
pub mod capabilities;
pub mod cli;
pub mod clock;
pub mod daemon;
pub mod driver;
pub mod errors;
pub mod exit;
pub mod hand;
pub mod log_tail;
pub mod metrics;
pub mod net;
pub mod pods;
pub mod proc;
pub mod report;
pub mod serve;
pub mod shortage;
#[cfg(test)]
mod testing;
pub mod values;
