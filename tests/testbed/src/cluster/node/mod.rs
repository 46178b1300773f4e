//! The node as a tree of namespaces: who keeps it, its first process, and the way in.
//!
//! Knows nothing of Kubernetes: it is an empty machine with one network interface.
//!
//! Invariants:
//! - the init is pid 1 of the node's pid namespace, so the kernel ends everything inside with it;
//! - the init dies with its keeper (PDEATHSIG), the keeper ends the node when its owner is gone (end of stdin);
//! - all mounts are made in the node's mount namespace, which is private to it.

pub mod enter;
pub mod init;
pub mod keeper;
pub mod mounts;
pub mod network;
