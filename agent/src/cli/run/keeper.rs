//! The keeper: a small process that outlives a killed conngate, and removes the scope when CMD's last process is gone.
//!
//! It holds the descriptors by which the programs hang on the scope, so that held connections stay held, and complete by
//! the kernel's own retry, when conngate is killed. It knows nothing of gates and never speaks.
//!
//! It is forked before the first thread is started, and ends on its own: when it is killed as well, the programs go with
//! the last descriptor, connections go on as if conngate were not there, and the next `conngate run` sweeps the scope.

use std::{
    fs::{self, OpenOptions},
    io::{PipeWriter, Read as _, pipe},
    os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::Context as _;
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, sigprocmask},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid},
};

use crate::{errors::error_chain, proc::scope::Scope};

/// The keeper, as seen from conngate.
pub(super) struct Keeper {
    pid: Pid,
    /// Closed by the kernel when conngate ends, however it ends.
    alive: PipeWriter,
}

impl Keeper {
    /// Forks the keeper of `scope`. Call it while the process has one thread.
    pub(super) fn start(scope: &Scope) -> anyhow::Result<Self> {
        let (mut conngate, alive) = pipe().context("no pipe to the keeper")?;
        // SAFETY: the process has one thread, so the child may do whatever the parent may.
        match unsafe { fork() }.context("cannot fork the keeper")? {
            ForkResult::Parent { child } => Ok(Self { pid: child, alive }),
            ForkResult::Child => {
                drop(alive);
                leave_the_caller_alone();
                // Its end is the message; what an error would mean is the same.
                let _ = conngate.read(&mut [0]);
                let _ = scope.wait_until_empty().and_then(|()| scope.remove());
                // Not process::exit: nothing of conngate's is flushed or torn down twice.
                // SAFETY: ends this process at once.
                unsafe { nix::libc::_exit(0) }
            }
        }
    }

    /// conngate ends: when CMD left nothing running, the scope is gone before this returns.
    pub(super) fn dismiss(self, scope: &Scope) {
        drop(self.alive);
        match scope.is_populated() {
            Ok(true) => {}
            Ok(false) | Err(_) => {
                if let Err(error) = scope.remove() {
                    tracing::debug!(error = error_chain(&error), "left to the keeper");
                }
                let _ = waitpid(self.pid, None);
            }
        }
    }
}

/// Another session, no terminal, no signals, no descriptor that conngate did not open itself: a caller that waits for the
/// end of a pipe does not wait for the keeper.
fn leave_the_caller_alone() {
    let _ = setsid();
    let _ = prctl::set_name(c"conngate-keeper");
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
        let _ = dup2_stderr(&null);
    }
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<RawFd> = descriptors
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for number in numbers {
        // SAFETY: only descriptors without close-on-exec are taken: Rust opens none such, they are the caller's.
        let inherited = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        let flags = fcntl(inherited.as_fd(), FcntlArg::F_GETFD).map(FdFlag::from_bits_truncate);
        if flags.is_ok_and(|flags| !flags.contains(FdFlag::FD_CLOEXEC)) {
            // SAFETY: as above; nobody in this process uses it.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}
