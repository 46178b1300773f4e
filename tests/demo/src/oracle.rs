//! The oracle: knows when Envoy became ready, independently of conngate.
//!
//! Knows nothing of who waits for that. It asks /ready from inside the pod's namespace on one connection: every
//! millisecond, and without a pause from the control plane's answer on, before which Envoy cannot be ready. So a question
//! is there when Envoy, which takes milliseconds to make its listeners, can answer it at last. (A look into /proc/net/tcp
//! for the listener would cost as much again.)

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    sync::mpsc::Sender,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use conngate_testbed::{
    clock::mono_ns,
    lab::{ControlPlane, Namespace, envoy::ADMIN_PORT},
};

use crate::talk::{Heard, Said};

/// Between two questions.
const INTERVAL: Duration = Duration::from_millis(1);

/// One that is stuck is an error, not a wait without end.
const PATIENCE: Duration = Duration::from_secs(5);

const QUESTION: &[u8] = b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What the oracle knows in the end; times are CLOCK_MONOTONIC nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// When the control plane gave Envoy its listeners.
    pub(crate) answered: u64,
    /// When the first 200 came.
    pub(crate) at: u64,
    /// How long Envoy had its listeners and nobody asked: the 200 could have come so much earlier.
    pub(crate) resolution: Duration,
}

/// Asks inside `namespace` until Envoy is ready, and tells it and `control_plane`'s answer. Gives up after `deadline`.
pub(crate) fn ask(
    namespace: &Namespace,
    control_plane: &ControlPlane,
    deadline: Duration,
    tell: &Sender<Heard>,
) -> Result<Ready> {
    namespace.enter(|| {
        let end = Instant::now() + deadline;
        let mut envoy = connect(end)?;
        let mut refused = mono_ns();
        let mut answered = None;
        loop {
            let asked = mono_ns();
            let status = question(&mut envoy).context("Envoy's admin port does not answer")?;
            let at = mono_ns();
            if answered.is_none() {
                answered = control_plane.answered_mono_ns();
                // Whoever no longer listens has an error of its own to report.
                let _ = answered.map(|at| tell.send(Heard { at, said: Said::Answered }));
            }
            if status == "200" {
                let answered = answered.context("Envoy is ready without an answer of the control plane")?;
                let _ = tell.send(Heard { at, said: Said::Ready });
                return Ok(Ready {
                    answered,
                    at,
                    resolution: Duration::from_nanos(asked.saturating_sub(refused.max(answered))),
                });
            }
            if Instant::now() >= end {
                bail!("Envoy is not ready after {deadline:?}");
            }
            refused = at;
            if answered.is_none() {
                thread::sleep(INTERVAL);
            }
        }
    })
}

/// Envoy needs a moment before it has an admin port.
fn connect(end: Instant) -> Result<TcpStream> {
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, ADMIN_PORT)) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) if Instant::now() >= end => return Err(error).context("Envoy has no admin port"),
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}

/// The status in the answer.
fn question(envoy: &mut TcpStream) -> io::Result<String> {
    envoy.write_all(QUESTION)?;
    let mut answer = Vec::new();
    let mut part = [0; 2048];
    while !is_whole(&answer) {
        match envoy.read(&mut part)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => answer.extend(&part[..count]),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// Envoy's admin answers in chunks, of which the last is empty.
fn is_whole(answer: &[u8]) -> bool {
    answer.ends_with(b"\r\n0\r\n\r\n")
}
