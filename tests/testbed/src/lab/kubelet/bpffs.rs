//! A BPF file system that is mounted nowhere: a file descriptor holds it, and a path through /proc leads into it.
//!
//! Knows nothing of what is pinned there. With the descriptor go the pins, and with them the programs, even when this
//! process is killed; no mount table ever shows it.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
};

use anyhow::{Context, Result};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

/// The file system.
#[derive(Debug)]
pub(super) struct Bpffs(OwnedFd);

impl Bpffs {
    /// Makes one, empty.
    pub(super) fn new() -> Result<Self> {
        let made = fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC).and_then(|context| {
            // As systemd mounts it; without a mode, everybody could write to it.
            fsconfig_set_string(&context, "mode", "0700")?;
            fsconfig_create(&context)?;
            fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        });
        made.map(Self).context("cannot make a BPF file system")
    }

    /// A path that every process with our rights can use while this one lives.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }
}
