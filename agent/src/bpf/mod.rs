//! The kernel side seen from user space, and the only place that names aya: load, attach, maps, records, replay.
//!
//! Knows nothing of pods, readiness or the command line: it moves values of `conngate_common` in and out of the kernel.
//!
//! Invariants:
//! - Nothing is attached before everything is loaded and the maps are written.
//! - What is attached goes with [`load::Loaded`], unless another process holds the same descriptors or it is pinned.

pub mod ancestry;
pub mod attach;
pub mod btf;
pub mod counters;
pub mod datagrams;
pub mod features;
pub mod link;
pub mod load;
pub mod maps;
pub mod object;
mod pinned;
pub mod pins;
pub mod query;
pub mod records;
pub mod syscall;
pub mod v1;
pub mod verifier;
mod writes;
