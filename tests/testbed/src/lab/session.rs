//! One use of the laboratory: its permissions first, no other laboratory at the same time, nothing left behind afterwards.
//!
//! Knows nothing of what is tested. Other users of the machine are not kept away: they change no test's result.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use super::{apart::apart, cgroup, elsewhere::Elsewhere, leftovers::Leftovers, permissions};

/// Runs `test` in a cgroup and with mounts of its own, beside another node's pods, and fails if it leaves anything behind.
/// Without the permissions that it takes, says so on stderr and does nothing; where CI is set, that is a failure.
pub fn run(test: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    permitted(|| {
        apart(|| {
            let _elsewhere = Elsewhere::new()?;
            leaving_nothing(test)
        })
    })
}

/// As [`run`], on the machine as it is: for a whole node, which has cgroups and mounts of its own.
pub fn run_openly(test: impl FnOnce() -> Result<()>) -> Result<()> {
    permitted(|| leaving_nothing(test))
}

fn permitted(test: impl FnOnce() -> Result<()>) -> Result<()> {
    let missing = permissions::missing();
    if !missing.is_empty() {
        let test_name = std::thread::current().name().unwrap_or("laboratory").to_owned();
        let message = format!("{test_name} was not run, it lacks: {}", missing.join("; "));
        if std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false") {
            bail!("under CI nothing is skipped: {message}");
        }
        // Not eprintln: the test harness would keep it to itself.
        return writeln!(io::stderr(), "SKIPPED: {message}").context("cannot write to stderr");
    }
    let _alone = alone()?;
    cgroup::sweep()?;
    test()
}

fn leaving_nothing(test: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = Leftovers::now()?;
    test()?;
    before.assert_unchanged()
}

/// Waits until no other laboratory is open on this machine; this one is, until the value is dropped or the process ends.
pub fn alone() -> Result<Flock<File>> {
    let directory = Path::new("/run/lock");
    let directory = if directory.is_dir() { directory } else { Path::new("/run") };
    let path = directory.join("conngate-lab");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).context("cannot lock the laboratory")
}
