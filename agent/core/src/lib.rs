//! What conngate decides, as pure state machines: time and what happened go in, what is to be done comes out.
//!
//! No clock, no socket, no map, no task and no Kubernetes is known here: its Cargo.toml names no tokio, kube, aya or nix.

pub mod backoff;
pub mod connections;
pub mod containers;
pub mod dns;
pub mod gate;
pub mod spec;
pub mod uid;
pub mod undecided;
pub mod url;
