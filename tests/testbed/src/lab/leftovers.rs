//! What a test could leave behind on the machine: cgroups, eBPF programs, mounts (a network namespace's name is one),
//! processes.
//!
//! Knows nothing of who made them. Cgroups are looked for below this process's own, mounts where this thread sees them,
//! processes by the laboratory's mark, and of programs those that nobody else has: what others do meanwhile is not seen, but for
//! the mounts of a session that has none of its own ([`super::session::run_openly`]).

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, bail};

use super::{cgroup, process, programs, wait::wait_until};

/// The kernel frees programs and namespaces a moment after their last user.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is there: one line for each thing, beginning with its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftovers(BTreeSet<String>);

impl Leftovers {
    /// What is there now.
    pub fn now() -> Result<Self> {
        let mut found = BTreeSet::new();
        found.extend(cgroup::below(&cgroup::own()?).iter().map(|path| format!("cgroup {}", path.display())));
        found.extend(programs::unclaimed()?.into_iter().map(|program| format!("program {program}")));
        let mounts = cgroup::mountinfo()?;
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
