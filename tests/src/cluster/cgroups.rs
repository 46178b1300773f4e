//! The node's cgroup in every hierarchy of the machine, version 1 and 2 alike.
//!
//! Knows nothing of controllers: the kubelet sets them. Only the directory of that one name is ever touched.

use std::{fs, io, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::lab::{cgroup::below, wait_until};

/// How long the kernel may take to let go of killed processes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The directories `name` at the top of each mounted hierarchy.
pub(super) fn directories(name: &str) -> Result<Vec<PathBuf>> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    Ok(hierarchies(&mountinfo).into_iter().map(|mount| mount.join(name)).collect())
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

/// Where the cgroup hierarchies are mounted whole; `mountinfo` is as in proc_pid_mountinfo(5).
fn hierarchies(mountinfo: &str) -> Vec<PathBuf> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (fields, filesystem) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        let is_cgroup = filesystem.starts_with("cgroup ") || filesystem.starts_with("cgroup2 ");
        (is_cgroup && root == "/").then(|| PathBuf::from(mount))
    });
    mounts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_hybrid_host_are_those_of_both_versions() {
        let mountinfo = "30 1 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            32 30 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:3 - cgroup cgroup rw,cpu\n\
            33 30 0:30 /a /elsewhere/part rw - cgroup cgroup rw,pids\n\
            41 30 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(hierarchies(mountinfo), ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"].map(PathBuf::from));
    }
}
