//! The node agent: what runs on every node of a cluster.
//!
//! Invariants:
//! - Whatever is missing (rights, the kubepods root, a source) is named in /readyz and awaited; the agent does not end for it.
//! - What it leaves behind on SIGTERM works without it: programs, maps and gates stay pinned for the successor.

mod answers;
pub mod boot;
mod journal;
mod run;
mod start;
mod tell;

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf};

pub use self::start::run;
use crate::{
    pods::{defaults::Defaults, source},
    serve::metrics::PodSeries,
};

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
    /// Where /healthz, /readyz and /metrics are served.
    pub listen: SocketAddr,
    /// Where the command line asks.
    pub socket: PathBuf,
    /// Which pods get series of their own.
    pub series: PodSeries,
    /// The key of the taint that keeps pods off this node until the agent is ready.
    pub startup_taint: Option<String>,
    /// Bytes of the ring buffer; `None`: as the object has it.
    pub ring_buffer: Option<u32>,
    /// Probes per second.
    pub probe_budget: NonZeroU32,
    /// See [`crate::bpf::load::LogLevel`].
    pub bpf_log: u8,
    /// Another object than the built-in one.
    pub bpf_object: Option<PathBuf>,
}
