//! cgroups: where the cgroup2 hierarchy is, and a cgroup of our own for one command.
//!
//! Knows nothing of eBPF or of gates.

pub mod hierarchy;
pub mod scope;
