//! A cluster from its node's beginning to its end.
//!
//! Knows nothing of what is started inside. A node exists as long as its keeper holds the lock of its place; whoever
//! gets that lock may remove what a dead one has left.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::{Pid, setsid},
};

use super::{
    inside::{Inside, node_program},
    node::keeper::{self, READY},
    place::Place,
};
use crate::lab::{Namespace, process, wait_until};

/// How long the keeper may take to remove what a node leaves.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    place: Place,
    inside: Inside,
    /// Of a cluster that ends with this value.
    keeper: Option<Child>,
}

/// What there is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No node; perhaps remains of one.
    Down,
    /// A node on which not everything runs yet, or whose start was broken off.
    Unfinished,
    /// A cluster.
    Up {
        /// Whether it has a mesh.
        mesh: bool,
    },
}

impl Cluster {
    /// What there is at `place`.
    pub fn state(place: &Place) -> Result<State> {
        if lock(place)?.is_some() {
            return Ok(State::Down);
        }
        Ok(match fs::read_to_string(finished(place)) {
            Ok(mesh) => State::Up { mesh: mesh == "true" },
            Err(_) => State::Unfinished,
        })
    }

    /// The cluster that runs at `place`, started by another process. It goes on when the value is dropped.
    pub fn attach(place: &Place) -> Result<Self> {
        ensure!(
            matches!(Self::state(place)?, State::Up { .. }),
            "no cluster runs in {}: cargo xtask cluster up",
            place.directory().display()
        );
        Self::of(place, None)
    }

    /// Ends the cluster at `place`, whatever state it is in, and removes what is left of it.
    pub fn down(place: &Place) -> Result<()> {
        if !place.directory().exists() {
            return Ok(());
        }
        let _lock = wait_until(PATIENCE, "the node ends", || {
            let lock = lock(place).ok()?;
            if lock.is_none()
                && let Ok(init) = init(place)
            {
                // It may be gone already: its keeper is removing what it left.
                let _ = kill(init, Signal::SIGKILL);
            }
            lock
        })?;
        keeper::sweep(place)
    }

    /// Starts an empty node at `place`. `owned`: it ends with the value, or with this process.
    pub(super) fn empty(place: &Place, owned: bool) -> Result<Self> {
        let mut keep = Command::new(node_program()?);
        let log = File::create(place.log("keeper")).context("cannot make the keeper's log")?;
        keep.arg("keep").arg(place.directory()).stdout(Stdio::piped()).stderr(log);
        keep.args(owned.then_some("--owned")).stdin(if owned { Stdio::piped() } else { Stdio::null() });
        process::mark(&mut keep);
        let detach = || {
            setsid()?;
            Ok(())
        };
        // A session of its own: a terminal's ^C is for the owner, whose end the keeper then sees.
        // SAFETY: runs between fork and exec; one plain system call, and nothing allocates or locks.
        unsafe { keep.pre_exec(detach) };
        let mut keeper = keep.spawn().context("cannot start the node's keeper")?;
        let mut word = [0; READY.len()];
        let said = keeper.stdout.take().context("stdout is a pipe")?.read_exact(&mut word);
        if said.is_err() || word != READY.as_bytes() {
            keeper.wait()?;
            bail!("the node did not start: see {} and node.log beside it", place.log("keeper").display());
        }
        Self::of(place, owned.then_some(keeper))
    }

    /// Notes that everything runs.
    pub(super) fn finish(&self, mesh: bool) -> Result<()> {
        fs::write(finished(&self.place), mesh.to_string()).context("cannot note that the cluster is up")
    }

    pub(super) fn inside(&self) -> Inside {
        self.inside
    }

    /// A command that will run `program` inside the node, with its mounts and its network, as a process of its own pid
    /// namespace; kubectl's configuration is in its environment. It is killed when its child here is.
    pub fn exec_in_node(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        self.inside.command(program)
    }

    /// As [`Cluster::exec_in_node`], in the network namespace outside of the node: the pods' upstream.
    pub fn command_outside(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        self.inside.command_outside(program)
    }

    /// The node's network namespace.
    pub fn network(&self) -> Result<Namespace> {
        Namespace::open(format!("/proc/{}/ns/net", self.inside.0))
    }

    /// The init's process id on this machine: its /proc/PID/root is the node's file system.
    #[must_use]
    pub fn init(&self) -> Pid {
        self.inside.0
    }

    /// The file `path` of the node, such as `/var/lib/kubelet/pki/kubelet.crt`, as a path on this machine.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.inside.file(path)
    }

    /// The file with the output of a component.
    #[must_use]
    pub fn log(&self, component: &str) -> PathBuf {
        self.place.log(component)
    }

    /// Where the cluster is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    fn of(place: &Place, keeper: Option<Child>) -> Result<Self> {
        Ok(Self { place: place.clone(), inside: Inside(init(place)?), keeper })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(mut keeper) = self.keeper.take() else { return };
        drop(keeper.stdin.take());
        if !keeper.wait().is_ok_and(|status| status.success()) {
            eprintln!("the cluster left something behind: see {}", self.log("keeper").display());
        }
    }
}

/// The lock of `place`, where no keeper holds it.
fn lock(place: &Place) -> Result<Option<Flock<File>>> {
    let path = place.lock();
    fs::create_dir_all(place.directory())?;
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot make {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// The init's process id, as its keeper noted it.
fn init(place: &Place) -> Result<Pid> {
    let path = place.lock();
    let pid = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Pid::from_raw(pid.parse().with_context(|| format!("{} holds no process id", path.display()))?))
}

fn finished(place: &Place) -> PathBuf {
    place.state().join("finished")
}
