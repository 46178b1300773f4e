//! Apart from other users of the machine: while a test runs, this process is in a cgroup of its own, and the test has a
//! mount namespace of its own.
//!
//! Knows nothing of what is done there. What lies below one's own cgroup and what is mounted is then the laboratory's doing,
//! whatever containers, agents or other laboratories come and go meanwhile.

use std::{
    fs,
    panic::resume_unwind,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::{
    cgroup::{self, Cgroup},
    wait::wait_until,
};

/// How long a process may take to end that nobody waits for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does `work` apart, and fails if a process is left in the cgroup.
pub(super) fn apart(work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    let own = Own::enter()?;
    // A thread of its own: its mount namespace changes for good. The threads and processes that it starts are in it too.
    let name = thread::current().name().unwrap_or("laboratory").to_owned();
    let done = thread::scope(|scope| {
        let inside = thread::Builder::new().name(name).spawn_scoped(scope, || {
            unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("cannot part the mounts")?;
            work()
        });
        inside.context("cannot start a thread")?.join().unwrap_or_else(|panic| resume_unwind(panic))
    });
    done.and_then(|()| own.assert_alone())
}

/// A cgroup that this process is in, until the drop; what else is in it then is killed.
struct Own {
    before: PathBuf,
    cgroup: Option<Cgroup>,
}

impl Own {
    fn enter() -> Result<Self> {
        let own = Self { before: cgroup::own()?, cgroup: Some(Cgroup::new()?) };
        own.cgroup.iter().try_for_each(|cgroup| join(cgroup.path()))?;
        Ok(own)
    }

    /// Fails if a process beside this one is left inside.
    fn assert_alone(&self) -> Result<()> {
        let this = std::process::id().cast_signed();
        let mut others = Vec::new();
        let alone = wait_until(PATIENCE, "nobody is left", || {
            others = self.cgroup.iter().flat_map(Cgroup::processes).filter(|pid| pid.as_raw() != this).collect();
            others.is_empty().then_some(())
        });
        if alone.is_err() {
            let name = |pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let others: Vec<_> = others.into_iter().map(|pid| format!("process {pid} {}", name(pid).trim())).collect();
            bail!("left behind:\n  {}", others.join("\n  "));
        }
        Ok(())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Err(error) = join(&self.before) {
            // Its removal would kill this process.
            std::mem::forget(self.cgroup.take());
            eprintln!("{error:#}");
        }
    }
}

/// Moves this process, with all its threads.
fn join(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("cannot join the cgroup {}", cgroup.display()))
}
