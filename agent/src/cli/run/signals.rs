//! Signals to conngate, read from a descriptor: dispositions stay as the caller left them, for CMD inherits those.
//!
//! Knows nothing of CMD. A signal that the caller ignores (nohup) is ignored here too.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd, RawFd},
};

use nix::{
    libc::{SI_KERNEL, signalfd_siginfo},
    sys::{
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
    },
};
use tokio::io::unix::AsyncFd;

use super::command::FORWARDED;

/// One signal.
pub(super) struct Received {
    pub(super) signal: Signal,
    /// The terminal sent it to the whole foreground process group, CMD included.
    pub(super) from_terminal: bool,
}

/// Blocked signals.
pub(super) struct Signals {
    original: SigSet,
    blocked: SigSet,
}

impl Signals {
    /// Blocks them in this and all later threads; call it before there are others.
    pub(super) fn block() -> io::Result<Self> {
        let blocked = SigSet::from_iter(FORWARDED);
        let mut original = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut original))?;
        Ok(Self { original, blocked })
    }

    /// Registers with the current event loop.
    pub(super) fn listen(self) -> io::Result<Listening> {
        let fd = SignalFd::with_flags(&self.blocked, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        // SAFETY: the descriptor is owned by the value, and stays the same as long as it lives.
        let fd = unsafe { AsyncFd::register(Descriptor(fd)) }?;
        Ok(Listening { original: self.original, fd })
    }
}

struct Descriptor(SignalFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl std::os::fd::AsFd for Descriptor {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Signals, awaited.
pub(super) struct Listening {
    original: SigSet,
    fd: AsyncFd<Descriptor>,
}

impl Listening {
    /// The caller's mask, which CMD gets back.
    pub(super) fn original(&self) -> SigSet {
        self.original
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> io::Result<Received> {
        loop {
            let mut ready = self.fd.readable_mut().await?;
            match ready.get_inner_mut().0.read_signal()? {
                Some(info) => {
                    if let Some(received) = received(&info) {
                        return Ok(received);
                    }
                }
                None => ready.clear_ready(),
            }
        }
    }
}

fn received(info: &signalfd_siginfo) -> Option<Received> {
    let signal = Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()?;
    Some(Received { signal, from_terminal: info.ssi_code == SI_KERNEL })
}
