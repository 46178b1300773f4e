//! The node's cgroup in every hierarchy of the machine, version 1 and 2 alike.
//!
//! Knows nothing of controllers: the kubelet sets them. Only the directory of that one name is ever touched.

use std::{fs, io, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::lab::{
    cgroup::{below, hierarchies},
    wait_until,
};

/// How long the kernel may take to let go of killed processes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The directories `name` at the top of each mounted hierarchy.
pub(super) fn directories(name: &str) -> Result<Vec<PathBuf>> {
    Ok(hierarchies()?.into_iter().map(|mount| mount.join(name)).collect())
}

/// Makes the cgroup `name`: the kubelet expects its root to be there.
pub(super) fn make(name: &str) -> Result<()> {
    for directory in directories(name)? {
        fs::create_dir_all(&directory).with_context(|| format!("cannot make the cgroup {}", directory.display()))?;
    }
    Ok(())
}

/// Ends what runs in the cgroup `name` and removes it with all below it. Not an error where there is none.
pub(super) fn remove(name: &str) -> Result<()> {
    for directory in directories(name)? {
        wait_until(PATIENCE, &format!("the cgroup {} is removed", directory.display()), || {
            remove_tree(&directory).ok()
        })?;
    }
    Ok(())
}

fn remove_tree(directory: &PathBuf) -> io::Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    for directory in below(directory).iter().chain([directory]) {
        for pid in fs::read_to_string(directory.join("cgroup.procs"))?.lines().filter_map(|pid| pid.parse().ok()) {
            // It may have ended by itself. Zero is a process of another pid namespace.
            let _ = if pid > 0 { kill(Pid::from_raw(pid), Signal::SIGKILL) } else { Ok(()) };
        }
        fs::remove_dir(directory)?;
    }
    Ok(())
}
