//! Another node's pods on the same machine: beside whatever a test makes there is a root of pods that is none of its affair.
//!
//! Knows nothing of the test. A machine has other users: what is looked for in the whole hierarchy of cgroups is found twice
//! here, in every test, and not only where somebody else happens to be at work. And an agent that waits for any root of pods
//! takes this one, not a test's.

use std::process::Command;

use anyhow::Result;

use super::{cgroup::Cgroup, kubelet::KUBEPODS, process::Running};

/// The container in which a process lives, below the root.
const CONTAINER: &str = "burstable/pod5b0e14a3-9d2c-4b6f-8e17-0123456789ab/\
    00000000000000000000000000000000000000000000000000000000e15e4e5e";

/// The pods; gone when dropped.
pub(super) struct Elsewhere {
    _process: Running,
    _container: Cgroup,
    _cgroup: Cgroup,
}

impl Elsewhere {
    pub(super) fn new() -> Result<Self> {
        let cgroup = Cgroup::new()?;
        let container = cgroup.child(format!("{KUBEPODS}/{CONTAINER}"))?;
        let mut process = Command::new("sleep");
        process.arg("infinity");
        container.join(&mut process)?;
        Ok(Self { _process: Running::start(process)?, _container: container, _cgroup: cgroup })
    }
}
