//! Who waits for Envoy, and how.
//!
//! Knows nothing of when Envoy is ready.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use conngate_testbed::{
    clock::mono_ns,
    lab::{Gated, Pod, envoy::ADMIN_PORT},
    report::{CONNECTED, Connection},
};
use nix::sched::{CloneFlags, setns};
use serde::Serialize;

/// After this long without a word of conngate the programs look for listeners alone: a margin on the agent's own 5 s.
const STALE: Duration = Duration::from_millis(5500);

/// Far beyond any run.
const PATIENCE: Duration = Duration::from_secs(30);

/// One way to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Contender {
    /// `conngate run`.
    Conngate,
    /// Connects the moment it is ready.
    Oracle,
    /// `pilot-agent wait`: asks every 500 ms, then connects.
    Poll,
    /// The usual shell loop: asks, sleeps 1 s, asks again, then connects.
    WaitLoop,
    /// conngate killed in mid-hold, and longer ago than the programs trust it: the kernel's own SYN timer.
    KernelTimer,
}

impl Contender {
    /// All, in the order of their turns.
    pub(super) const ALL: [Self; 5] = [Self::Conngate, Self::Oracle, Self::Poll, Self::WaitLoop, Self::KernelTimer];

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Conngate => "conngate",
            Self::Oracle => "an oracle that knows",
            Self::Poll => "poll every 500 ms",
            Self::WaitLoop => "wait loop, sleep 1 s",
            Self::KernelTimer => "the kernel's timer alone",
        }
    }

    /// Whether a run takes seconds.
    pub(super) fn is_slow(self) -> bool {
        !matches!(self, Self::Conngate | Self::Oracle)
    }

    /// Begins to wait.
    pub(super) fn wait(self, pod: &Pod, destination: SocketAddr) -> Result<Waiting> {
        let period = match self {
            Self::Conngate | Self::KernelTimer => {
                let mut gated = Gated::start(pod, &[], &destination.to_string(), &[])?;
                gated.wait_for("held", 1)?;
                if self == Self::KernelTimer {
                    gated.kill_conngate()?;
                    thread::sleep(STALE);
                }
                return Ok(Waiting::Held { gated: Box::new(gated), lives: self == Self::Conngate });
            }
            Self::Oracle => return Ok(Waiting::Observer),
            Self::Poll => Duration::from_millis(500),
            Self::WaitLoop => Duration::from_secs(1),
        };
        let (connected, result) = mpsc::channel();
        let inside = File::open(pod.path())?;
        thread::spawn(move || {
            let joined = setns(inside, CloneFlags::CLONE_NEWNET).context("no namespace");
            // Nobody listens where another part of the run has failed.
            let _ = connected.send(joined.and_then(|()| ask_and_connect(period, destination)));
        });
        Ok(Waiting::Asking(result))
    }
}

/// A contender that waits.
pub(super) enum Waiting {
    /// conngate lives, or was killed.
    Held {
        gated: Box<Gated>,
        lives: bool,
    },
    Asking(mpsc::Receiver<Result<u64>>),
    /// The observer itself is the oracle.
    Observer,
}

/// How the wait ended; CLOCK_MONOTONIC nanoseconds.
pub(super) struct End {
    pub(super) connected: u64,
    /// When conngate said that it opened the gate.
    pub(super) opened: Option<u64>,
}

impl Waiting {
    /// Waits for the connection; `oracle` is when the observer connected.
    pub(super) fn end(self, oracle: Option<u64>) -> Result<End> {
        match self {
            Self::Observer => Ok(End { connected: oracle.context("the oracle did not connect")?, opened: None }),
            Self::Asking(result) => Ok(End { connected: result.recv().context("the loop ended")??, opened: None }),
            Self::Held { mut gated, lives } => {
                let report: Connection = gated.client().report()?;
                ensure!(report.outcome == CONNECTED, "the held connection ended as {}", report.outcome);
                let opened = match lives {
                    false => None,
                    true => gated.wait_for("opened", 1)?[0]["monotonic_seconds"].as_f64().map(nanoseconds),
                };
                Ok(End { connected: report.ended_mono_ns, opened })
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds since the machine's start")]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// Asks /ready until it is 200, then connects; begins at any moment of the period, as a container does.
fn ask_and_connect(period: Duration, destination: SocketAddr) -> Result<u64> {
    thread::sleep(period.mul_f64(fastrand::f64()));
    let deadline = Instant::now() + PATIENCE;
    while !is_ready() {
        ensure!(Instant::now() < deadline, "Envoy is not ready within {PATIENCE:?}");
        thread::sleep(period);
    }
    TcpStream::connect(destination).context("Envoy is ready but refuses")?;
    Ok(mono_ns())
}

fn is_ready() -> bool {
    let ask = || {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, ADMIN_PORT))?;
        connection.write_all(b"GET /ready HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        connection.read_exact(&mut status)?;
        Ok::<_, std::io::Error>(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}
