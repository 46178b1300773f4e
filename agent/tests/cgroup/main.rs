//! Pods' cgroups on the real kernel: cgroups laid out like a node's, in a cgroup that vanishes with the test.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod container;
mod fixture;
mod identity;
mod kubepods;
mod nested;
mod processes;
mod scope;
mod watch;
