//! Processes that the laboratory starts: marked, with an identity, and never left behind.
//!
//! Knows nothing of what they run.

use std::{
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::LazyLock,
};

use anyhow::{Context, Result};
use nix::{
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::Signal,
    },
    unistd::{Gid, Pid, Uid, setgid, setgroups, setuid},
};

use crate::clock::mono_ns;

/// In the environment of everything the laboratory starts: the process that started it.
pub const MARK: &str = "CONNGATE_LAB";

/// This process: its id, which in another pid namespace may be another's too, and a time.
fn maker() -> &'static str {
    static MAKER: LazyLock<String> = LazyLock::new(|| format!("{}-{}", std::process::id(), mono_ns()));
    &MAKER
}

/// Marks `command` as this laboratory's.
pub fn mark(command: &mut Command) {
    command.env(MARK, maker());
}

/// Lets `command` run as user and group `id`, without root's groups. Whatever needs root (a namespace, a cgroup) is
/// joined by hooks added before this one.
pub fn run_as(command: &mut Command, id: u32) {
    let drop_privileges = move || {
        setgroups(&[Gid::from_raw(id)])?;
        setgid(Gid::from_raw(id))?;
        setuid(Uid::from_raw(id))?;
        Ok::<(), io::Error>(())
    };
    // SAFETY: runs between fork and exec; the three calls are plain system calls, and nothing allocates or locks.
    unsafe { command.pre_exec(drop_privileges) };
}

/// Lets `command` begin with `soft` descriptors, which it may raise to the hard limit.
pub(super) fn limit_descriptors(command: &mut Command, soft: u64) {
    let limit = move || {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)?)
    };
    // SAFETY: runs between fork and exec; the two calls are plain system calls, and nothing allocates or locks.
    unsafe { command.pre_exec(limit) };
}

/// Lets the kernel kill `command` when the thread that starts it ends, however it ends. The last hook to add: a change of
/// identity forgets it.
fn die_with_parent(command: &mut Command) {
    // SAFETY: runs between fork and exec; prctl is a plain system call, and nothing allocates or locks.
    unsafe { command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)) };
}

/// A process that is killed and waited for when it is dropped, and killed by the kernel when this process dies.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts `command`. The thread that calls must live as long as the process is wanted.
    pub fn start(mut command: Command) -> Result<Self> {
        mark(&mut command);
        die_with_parent(&mut command);
        let child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self(child))
    }

    /// The process: its pid, its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }

    /// Sends SIGKILL and waits for the end. An ended process is no error.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.0.kill()?;
        self.0.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only for a process that has been waited for.
        let _ = self.kill();
    }
}

/// The living processes that carry this laboratory's mark: "pid name".
#[must_use]
pub fn marked() -> Vec<String> {
    let marked = all().into_iter().filter(|process| is_marked(process));
    marked
        .filter_map(|process| {
            let name = fs::read_to_string(process.join("comm")).ok()?;
            Some(format!("{} {}", process.file_name()?.display(), name.trim()))
        })
        .collect()
}

/// The directories in /proc of the living processes that are neither marked nor this one.
pub(super) fn others() -> Vec<PathBuf> {
    let this = Path::new("/proc").join(std::process::id().to_string());
    all().into_iter().filter(|process| *process != this && !is_marked(process)).collect()
}

fn all() -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_number = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().parse::<u32>().is_ok();
    entries.filter(is_number).map(|entry| entry.path()).collect()
}

fn is_marked(process: &Path) -> bool {
    let mark = format!("{MARK}={}", maker());
    let environment = fs::read(process.join("environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
}
