//! CMD: started inside the scope, with the caller's environment, stdio, signals, uid and working directory.
//!
//! Knows nothing of gates.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Command, ExitStatus},
    thread,
};

use nix::{
    sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
    unistd::Pid,
};
use tokio::sync::oneshot;

use super::signals::Received;
use crate::exit::Exit;

/// CMD, running.
pub(super) struct Gated {
    pid: Pid,
    /// How it ended.
    pub(super) status: oneshot::Receiver<ExitStatus>,
}

impl Gated {
    /// Starts `command` in the cgroup whose cgroup.procs is `door`, with the signal mask `mask`.
    pub(super) fn start(command: &[OsString], mut door: File, mask: SigSet) -> io::Result<Self> {
        let [program, arguments @ ..] = command else { return Err(io::ErrorKind::NotFound.into()) };
        let mut start = Command::new(program);
        start.args(arguments);
        // SAFETY: between fork and exec only write(2) and sigprocmask(2) are called, both async-signal-safe.
        unsafe {
            start.pre_exec(move || {
                door.write_all(b"0")?;
                Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?)
            });
        }
        let mut child = start.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let (tell, status) = oneshot::channel();
        // A thread of its own, so that no SIGCHLD handler is installed: dispositions stay as the caller left them.
        thread::Builder::new().name("wait".to_owned()).spawn(move || child.wait().map(|status| tell.send(status)))?;
        Ok(Self { pid, status })
    }

    /// Passes a signal on, unless CMD got it as well.
    pub(super) fn forward(&self, received: Received) {
        if !received.from_terminal
            && let Err(error) = kill(self.pid, received.signal)
        {
            tracing::debug!(signal = received.signal.as_str(), %error, "not passed on");
        }
    }
}

/// CMD's status as ours.
pub(super) fn exit(status: ExitStatus) -> Exit {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Exit::Command(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

/// Signals that are passed on to CMD; all others act on conngate as they would on any process.
pub(super) const FORWARDED: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2];
