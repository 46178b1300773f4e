//! Pid 1 of the node: mounts, host name, network; then nothing but to be there, and to let the kernel reap.
//!
//! Knows nothing of what will run beside it. The components are its children by adoption only.

use std::{
    fs,
    io::{self, Write},
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{SigHandler, Signal, signal},
    unistd::pause,
};

use super::{super::place::Place, keeper::READY, mounts, network::Outside};

/// The node's name.
pub const NODE: &str = "conngate-node";

/// Sets the node up, says [`READY`] and never returns.
pub fn run(place: &Place) -> Result<()> {
    mounts::make(place)?;
    fs::write("/proc/sys/kernel/hostname", NODE).context("cannot set the host name")?;
    let outside = Outside::start()?;
    mounts::name_namespace(outside.namespace())?;
    // SAFETY: no handler runs; to ignore SIGCHLD is how the kernel is asked to reap.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.context("cannot ignore SIGCHLD")?;
    io::stdout().write_all(READY.as_bytes())?;
    loop {
        pause();
    }
}
