//! Many connections at once: held by one conngate and released, beside the same ones to an Envoy that is ready.
//!
//! Knows nothing of how they are replayed. Envoy echoes, so that each connection costs it one descriptor; every
//! repetition has a pod of its own, so that nobody's conntrack entries are in the way of the next.

use std::{
    fs,
    io::Read as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use conngate_testbed::{
    lab::{
        Cgroup, Namespace, Pod, Upstream,
        client::{self, Client},
        envoy::echo_outbound,
        gated,
        upstream::{ADDRESSES, PORTS},
        wait_until,
    },
    report::{CONNECTED, Connection},
};
use serde::Serialize;

use super::{Options, observer::Observer, single::milliseconds, stage::Stage};
use conngate_testbed::step::step;

use crate::statistics::Sample;

/// For all SYNs to be sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// One repetition.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Repetition {
    /// Whether they were held; else Envoy was ready before.
    pub(super) held: bool,
    pub(super) connected: usize,
    /// Refused, or ended otherwise.
    pub(super) failed: usize,
    /// From the first 200 (not held: from the first connect()) to the first connection.
    pub(super) first_ms: f64,
    /// To half of them.
    pub(super) half_ms: f64,
    /// To 99 of 100.
    pub(super) most_ms: f64,
    /// To the last.
    pub(super) last_ms: f64,
}

pub(super) fn measure(options: &Options) -> Result<Vec<Repetition>> {
    let sidecar = Cgroup::new()?;
    let mut observer = Observer::new(&sidecar)?;
    step(&format!("{} connections at once, {} times", options.many, options.repetitions), || {
        let mut results = Vec::new();
        for _ in 0..options.repetitions {
            for held in [true, false] {
                // Of its own: a pod and its upstream are a pair.
                let upstream = Upstream::start()?;
                let stage = Stage::new(&upstream, echo_outbound())?;
                let repetition = match held {
                    true => held_at_once(&stage, &sidecar, &mut observer, options.many)?,
                    false => at_once(&stage, &sidecar, options.many)?,
                };
                eprintln!("    {repetition:?}");
                results.push(repetition);
            }
        }
        Ok(results)
    })
}

fn held_at_once(stage: &Stage, sidecar: &Cgroup, observer: &mut Observer, count: usize) -> Result<Repetition> {
    let scope = Cgroup::new()?;
    let prepare = |pod: &Pod| {
        let others = sockets(pod);
        let mut conngate = pod.command(gated::binary()?);
        conngate.arg("run").arg("--").arg(client::binary()?).args(flags(count)).stderr(Stdio::piped());
        scope.join(&mut conngate)?;
        let client = Client::start(conngate)?;
        wait_until(PATIENCE, "every SYN was sent", || (sockets(pod) >= others + count).then_some(()))?;
        Ok(client)
    };
    stage.run(sidecar, observer, None, prepare, |mut client, seen| {
        let connections = connections(&mut client, count)?;
        let mut said = String::new();
        client.process().child().stderr.take().context("stderr is a pipe")?.read_to_string(&mut said)?;
        ensure!(said.contains(&format!("held {count} connections")), "not all were held:\n{said}");
        repetition(true, &connections, seen.ready)
    })
}

/// The same client, nobody between it and Envoy.
fn at_once(stage: &Stage, sidecar: &Cgroup, count: usize) -> Result<Repetition> {
    let connections = stage.ready(sidecar, |pod| {
        let mut client: Command = pod.command(client::binary()?);
        client.args(flags(count));
        connections(&mut Client::start(client)?, count)
    })?;
    let first = connections.iter().map(|connection| connection.started_mono_ns).min();
    repetition(false, &connections, first.context("no connection")?)
}

fn connections(client: &mut Client, count: usize) -> Result<Vec<Connection>> {
    (0..count).map(|_| client.report()).collect()
}

fn repetition(held: bool, connections: &[Connection], from: u64) -> Result<Repetition> {
    let connected = connections.iter().filter(|connection| connection.outcome == CONNECTED);
    let after = Sample::of(connected.map(|connection| milliseconds(from, connection.ended_mono_ns)));
    let summary = after.context("nothing connected")?.summary();
    Ok(Repetition {
        held,
        connected: summary.n,
        failed: connections.len() - summary.n,
        first_ms: summary.min,
        half_ms: summary.p50,
        most_ms: summary.p99,
        last_ms: summary.max,
    })
}

/// To all IPv4 destinations of the upstream, so that source ports do not run short.
fn flags(count: usize) -> Vec<String> {
    let hosts = ADDRESSES.iter().filter(|address| !address.contains(':'));
    let destinations = hosts.flat_map(|host| PORTS.map(|port| format!("{host}:{port}")));
    let count = count.to_string();
    ["connect".to_owned()]
        .into_iter()
        .chain(destinations)
        .chain(["--count", &count, "--threads", "2", "--no-greeting", "--each"].map(str::to_owned))
        .collect()
}

/// TCP sockets in use inside, those that connect included (net/ipv4/proc.c).
fn sockets(namespace: &Namespace) -> usize {
    let all = namespace.enter(|| fs::read_to_string("/proc/thread-self/net/sockstat")).unwrap_or_default();
    let used = all.lines().find_map(|line| line.strip_prefix("TCP: inuse ")?.split(' ').next());
    used.and_then(|used| used.parse().ok()).unwrap_or(0)
}
