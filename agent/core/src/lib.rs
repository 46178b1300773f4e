//! What conngate decides, as pure state machines: time and what happened go in, what is to be done comes out.
//!
//! No clock, no socket, no map, no task and no Kubernetes is known here: its Cargo.toml names no tokio, kube, aya or nix.

pub mod backoff;
pub mod budget;
pub mod connections;
pub mod containers;
pub mod dns;
pub mod gate;
pub mod node;
pub mod pod;
pub mod pods;
pub mod spec;
pub mod uid;
pub mod untold;
pub mod url;
pub mod workload;
