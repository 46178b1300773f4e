//! The load: two threads on one processor, over the loopback of their namespace, in a process of its own in the cgroup.
//!
//! Knows nothing of programs. Every operation is answered before the next begins, so no queue is ever longer than one.

use std::{
    env,
    io::{self, BufRead as _, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use conngate_testbed::lab::{Cgroup, Namespace, client::Client, redirect::CAPTURE_PORT};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

/// Operations between two looks at the clock.
const BATCH: u64 = 32;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Load {
    /// One byte there, one byte back, on one connection.
    RequestResponse,
    /// A connection, made and closed, to a port that nobody captures.
    Connect,
    /// A connection, made and closed, to a capture port: it goes through the whole verdict.
    ConnectCaptured,
}

impl Load {
    pub(super) const ALL: [Self; 3] = [Self::RequestResponse, Self::Connect, Self::ConnectCaptured];

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RequestResponse => "request/response",
            Self::Connect => "connect/close",
            Self::ConnectCaptured => "connect/close, captured",
        }
    }
}

/// How much was done.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) operations: u64,
    seconds: f64,
}

impl Done {
    /// Operations per second.
    #[expect(clippy::cast_precision_loss, reason = "a count of a short run")]
    pub(super) fn rate(self) -> f64 {
        self.operations as f64 / self.seconds
    }
}

/// An order, one line of JSON.
#[derive(Serialize, Deserialize)]
struct Order {
    load: Load,
    duration: Duration,
}

/// The process that does it.
pub(super) struct Worker {
    client: Client,
    duration: Duration,
}

impl Worker {
    /// Starts it; each load will run for `duration`.
    pub(super) fn start(namespace: &Namespace, cgroup: &Cgroup, duration: Duration) -> Result<Self> {
        let mut command = namespace.command(env::current_exe().context("cannot find the running program")?);
        command.arg("load");
        cgroup.join(&mut command)?;
        Ok(Self { client: Client::start(command)?, duration })
    }

    /// Runs one load.
    pub(super) fn run(&mut self, load: Load) -> Result<Done> {
        let order = serde_json::to_string(&Order { load, duration: self.duration })?;
        let stdin = self.client.process().child().stdin.as_mut().context("stdin is a pipe")?;
        writeln!(stdin, "{order}").context("the load has ended")?;
        self.client.report()
    }
}

/// The process itself: carries out one order per line of stdin.
pub(crate) fn serve() -> Result<()> {
    pin()?;
    for line in io::stdin().lock().lines() {
        let Order { load, duration } = serde_json::from_str(&line?).context("not an order")?;
        let done = match load {
            Load::RequestResponse => request_response(duration)?,
            Load::Connect => connect(0, duration)?,
            Load::ConnectCaptured => connect(CAPTURE_PORT, duration)?,
        };
        println!("{}", serde_json::to_string(&done)?);
    }
    Ok(())
}

/// To the last processor that we may use: the first has most of the machine's interrupts.
fn pin() -> Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let last = (0..CpuSet::count()).rev().find(|processor| allowed.is_set(*processor).unwrap_or(false));
    let Some(last) = last else { bail!("no processor to run on") };
    let mut only = CpuSet::new();
    only.set(last)?;
    sched_setaffinity(Pid::from_raw(0), &only).context("cannot stay on one processor")
}

fn request_response(duration: Duration) -> Result<Done> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    thread::scope(|scope| {
        // Ends with the connection.
        scope.spawn(move || -> io::Result<()> {
            let mut byte = [0];
            loop {
                server.read_exact(&mut byte)?;
                server.write_all(&byte)?;
            }
        });
        let done = measure(duration, || {
            client.write_all(&[1])?;
            client.read_exact(&mut [0])
        });
        drop(client);
        done
    })
}

fn connect(port: u16, duration: Duration) -> Result<Done> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let address = listener.local_addr()?;
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let (server, stopped) = (&listener, &stopped);
        // The server closes first.
        scope.spawn(move || -> io::Result<()> {
            while !stopped.load(Ordering::Relaxed) {
                drop(server.accept()?);
            }
            Ok(())
        });
        let done = measure(duration, || TcpStream::connect(address)?.read(&mut [0]).map(drop));
        stopped.store(true, Ordering::Relaxed);
        // The server waits for one more.
        drop(TcpStream::connect(address));
        done
    })
}

fn measure(duration: Duration, mut operation: impl FnMut() -> io::Result<()>) -> Result<Done> {
    let started = Instant::now();
    let mut operations = 0;
    loop {
        for _ in 0..BATCH {
            operation().context("the load is broken")?;
        }
        operations += BATCH;
        let elapsed = started.elapsed();
        if elapsed >= duration {
            return Ok(Done { operations, seconds: elapsed.as_secs_f64() });
        }
    }
}
