//! The way in: runs a command inside the node's namespaces, and ends as it ends.
//!
//! Knows nothing of the command. A process cannot change its own pid namespace, only its children's: hence a process
//! that enters, starts the command, passes signals on and waits.

use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio, exit},
};

use anyhow::{Context, Result};
use nix::{
    sched::{CloneFlags, setns},
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, setsid},
};

use super::mounts::OUTSIDE;

/// How to enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Wait for the command; it is killed when this process is.
    Wait,
    /// As [`Manner::Wait`], in the network namespace outside of the node.
    WaitOutside,
    /// Leave the command to the node, in a session of its own, and return at once.
    Leave,
}

/// Runs `command` (a program and its arguments) in the node whose init is `init`, in the directory this process is in
/// where the node has it too. Ends this process with the command's exit code, or 128 + the signal that ended it.
pub fn run(init: Pid, manner: Manner, command: &[OsString]) -> Result<Infallible> {
    let (program, arguments) = command.split_first().context("no command")?;
    let directory = env::current_dir();
    join(init).with_context(|| format!("cannot enter the node of process {init}"))?;
    if manner == Manner::WaitOutside {
        setns(File::open(OUTSIDE)?, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace outside")?;
    }
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory.ok().filter(|path| path.is_dir()).unwrap_or("/".into()));
    if manner == Manner::Leave {
        command.stdin(Stdio::null());
    }
    // From here on signals wait for the loop below: none is lost between the command's start and the first wait.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let prepare = move || {
        before.thread_set_mask()?;
        if manner == Manner::Leave {
            setsid()?;
        } else {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
        }
        Ok(())
    };
    // SAFETY: runs between fork and exec; three plain system calls, and nothing allocates or locks.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn().with_context(|| format!("cannot start {} inside the node", program.display()))?;
    if manner == Manner::Leave {
        exit(0);
    }
    exit(wait(&child)?)
}

/// Joins every namespace of `init` that a node has of its own.
fn join(init: Pid) -> Result<()> {
    // SAFETY: pidfd_open (Linux 5.3) takes two integers and no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, init.as_raw(), 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let namespaces = [
        CloneFlags::CLONE_NEWPID,
        CloneFlags::CLONE_NEWNS,
        CloneFlags::CLONE_NEWNET,
        CloneFlags::CLONE_NEWUTS,
        CloneFlags::CLONE_NEWIPC,
    ];
    Ok(setns(fd, namespaces.into_iter().collect())?)
}

/// Passes every signal on to `child` until it ends; its exit code.
fn wait(child: &Child) -> Result<i32> {
    let pid = Pid::from_raw(child.id().cast_signed());
    loop {
        let signal = SigSet::all().wait()?;
        if signal != Signal::SIGCHLD {
            // It may have ended this very moment.
            let _ = kill(pid, signal);
            continue;
        }
        let status = waitpid(pid, Some(WaitPidFlag::WNOHANG))?;
        if let WaitStatus::Exited(_, code) = status {
            return Ok(code);
        }
        if let WaitStatus::Signaled(_, signal, _) = status {
            return Ok(128 + signal as i32);
        }
    }
}
