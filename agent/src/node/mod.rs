//! The node agent: one loop that joins pods, cgroups and gates.
//!
//! Knows nothing of Kubernetes' types or of eBPF: `pods`, `cgroup` and `app` speak for them. What a pod's cgroup and what a
//! source tells meet in the [`roster`]; connections that are held before anybody knows whose they are wait in `waiting`.
//!
//! Invariants:
//! - Whatever is missing (rights, the kubepods root, a source) is named in /readyz and awaited; the agent does not end for it.
//! - What it leaves behind on SIGTERM works without it: programs, maps and gates stay pinned for the successor.

mod agent;
mod classify;
mod inherit;
pub mod roster;
mod start;
mod tell;
mod waiting;

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf};

use crate::pods::{defaults::Defaults, source};

pub use self::start::run;

/// What the agent is told on its command line.
#[derive(Clone)]
pub struct Config {
    /// Where pods come from.
    pub sources: source::Config,
    /// What pods get that ask for nothing.
    pub defaults: Defaults,
    /// The kubepods root or a directory above it; `None`: found.
    pub cgroup_root: Option<PathBuf>,
    /// Where to pin.
    pub bpffs: PathBuf,
    /// Remove all on exit.
    pub detach_on_exit: bool,
    /// Where /healthz and /readyz are served.
    pub listen: SocketAddr,
    /// Probes per second.
    pub probe_budget: NonZeroU32,
    /// See [`crate::kernel::load::LogLevel`].
    pub bpf_log: u8,
    /// Another object than the built-in one.
    pub bpf_object: Option<PathBuf>,
}
