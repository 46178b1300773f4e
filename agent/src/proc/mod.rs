//! cgroups: where the cgroup2 hierarchy is, a cgroup of our own for one command, and those of a node's pods.
//!
//! Knows nothing of eBPF, of gates, or of the Kubernetes API: a pod is a directory with a UID, a container one with a name.

pub mod drivers;
pub mod follow;
pub mod hierarchy;
pub mod identity;
pub mod kubepods;
pub mod layout;
pub mod mountinfo;
pub mod pods;
pub mod processes;
pub mod scope;
pub mod watch;
