//! The keeper: makes the node's namespaces, waits for the end of the node or of its owner, and removes what is left.
//!
//! Knows nothing of what happens inside. It is single-threaded: a process that has unshared its pid namespace can make
//! no thread. What it leaves when it is itself killed is removed by the next `up` or `down` ([`sweep`]).

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    fcntl::{Flock, FlockArg},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, unshare},
    sys::{prctl, signal::Signal},
};

use super::super::{cgroups, place::Place};
use crate::lab::wait_until;

/// How long a dying process may keep its files.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the init and then the keeper say, once, on stdout.
pub const READY: &str = "ready\n";

/// Runs a node at `place` until it ends; `owned`: or until stdin ends. Says [`READY`] when the node can be entered.
pub fn run(place: &Place, owned: bool) -> Result<()> {
    let mut lock = lock(place)?;
    cgroups::make(&place.cgroup())?;
    let mut init = start_init(place)?;
    write!(lock, "{}", init.id()).context("cannot write the lock file")?;
    let mut stdout = init.stdout.take().context("stdout is a pipe")?;
    let outcome = serve(&mut stdout, owned);
    // It may have ended by itself.
    let _ = init.kill();
    init.wait().context("cannot wait for the init")?;
    sweep(place)?;
    outcome
}

/// Removes what a node at `place` left: its cgroups and its state. The node is dead, or dying.
pub fn sweep(place: &Place) -> Result<()> {
    cgroups::remove(&place.cgroup())?;
    let state = place.state();
    // A process that is still dying may be writing.
    wait_until(PATIENCE, &format!("{} is removed", state.display()), || {
        let removed = fs::remove_dir_all(&state);
        (removed.is_ok() || !state.exists()).then_some(())
    })
}

fn lock(place: &Place) -> Result<Flock<File>> {
    let path = place.lock();
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot make {}", path.display()))?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    let lock = lock.map_err(|(_, errno)| errno).with_context(|| format!("{} is in use", path.display()))?;
    lock.set_len(0)?;
    Ok(lock)
}

fn start_init(place: &Place) -> Result<Child> {
    let log = File::create(place.log("node")).context("cannot make the node's log")?;
    unshare(CloneFlags::CLONE_NEWPID).context("cannot make a pid namespace")?;
    let mut init = Command::new(std::env::current_exe()?);
    init.arg("init").arg(place.directory()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let isolate = || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        let namespaces =
            [CloneFlags::CLONE_NEWNS, CloneFlags::CLONE_NEWNET, CloneFlags::CLONE_NEWUTS, CloneFlags::CLONE_NEWIPC];
        Ok(unshare(namespaces.into_iter().collect())?)
    };
    // SAFETY: runs between fork and exec; two plain system calls, and nothing allocates or locks.
    unsafe { init.pre_exec(isolate) };
    init.spawn().context("cannot start the init")
}

/// Passes the init's word on and waits: for the init's end, or the owner's.
fn serve(init: &mut ChildStdout, owned: bool) -> Result<()> {
    let mut word = String::new();
    let mut byte = [0];
    while !word.ends_with('\n') && init.read(&mut byte)? > 0 {
        word.push(byte[0].into());
    }
    ensure!(word == READY, "the node's init failed: see its log, node.log");
    io::stdout().write_all(READY.as_bytes())?;
    let stdin = io::stdin();
    let mut ends = vec![PollFd::new(init.as_fd(), PollFlags::POLLIN)];
    if owned {
        ends.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
    }
    // Neither pipe is ever written to again: whatever happens is its end.
    while let Err(errno) = poll(&mut ends, PollTimeout::NONE) {
        ensure!(errno == nix::errno::Errno::EINTR, "cannot wait for the node's end: {errno}");
    }
    Ok(())
}
