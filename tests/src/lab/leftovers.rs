//! What a test could leave behind on the machine: namespaces, cgroups, eBPF programs, mounts, processes.
//!
//! Knows nothing of who made them. Cgroups are looked for below this process's own, processes by the laboratory's mark:
//! those are its doing. Names of namespaces, programs and mounts have no owner, so somebody else's that appear while a
//! test runs and stay longer than the patience here would be taken for its.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context, Result, bail};

use super::{cgroup, process, wait::wait_until};

/// The kernel frees programs and namespaces a moment after their last user.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is there: one line for each thing, beginning with its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftovers(BTreeSet<String>);

impl Leftovers {
    /// What is there now.
    pub fn now() -> Result<Self> {
        let mut found = BTreeSet::new();
        if let Ok(names) = fs::read_dir("/run/netns") {
            found.extend(names.flatten().map(|name| format!("namespace {}", name.file_name().display())));
        }
        found.extend(cgroup::below(&cgroup::own()?).iter().map(|path| format!("cgroup {}", path.display())));
        for program in aya::programs::loaded_programs() {
            // One that is unloaded between its listing and its asking is not left behind.
            let Ok(program) = program else { continue };
            found.insert(format!("program {} {}", program.id(), program.name_as_str().unwrap_or("?")));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
        found.extend(mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(|at| format!("mount {at}")));
        found.extend(process::marked().into_iter().map(|process| format!("process {process}")));
        Ok(Self(found))
    }

    /// What is there in `self` that was not there in `before`.
    #[must_use]
    pub fn beyond(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }

    /// Fails if something is there now, after some patience, that was not there in `self`; says what.
    pub fn assert_unchanged(&self) -> Result<()> {
        let mut left = Vec::new();
        let clean = wait_until(PATIENCE, "nothing is left behind", || {
            left = Self::now().ok()?.beyond(self);
            left.is_empty().then_some(())
        });
        if clean.is_err() {
            bail!("left behind:\n  {}", left.join("\n  "));
        }
        Ok(())
    }
}
