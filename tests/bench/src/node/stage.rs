//! The pods: each with a network namespace, the mesh's redirect, a proxy that is not ready, and a client that waits for a word.
//!
//! Knows nothing of the agent but its log: `held_us` of "connection held" is the time since the kernel dropped the first SYN, so
//! that the log's own time minus that is the drop's.

use std::{collections::BTreeMap, env, time::Duration};

use anyhow::{Context as _, Result, ensure};
use conngate_testbed::{
    clock::mono_ns,
    lab::{Agent, KubePod, Node, Pod, Qos, client::Client, kubelet::Container, siege::DESTINATION},
    report::{CONNECTED, Connection},
};
use serde::Serialize;
use serde_json::Value;

/// How soon the agent knew a pod's first connection, from the kernel's drop, milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Told {
    /// Which container it is was said to the kernel.
    pub(super) apart_ms: f64,
    /// The log said that it is held: the SYN was in the core by then.
    pub(super) held_ms: f64,
}

/// When a pod's proxy was ready and its connection made, milliseconds after the first proxy's readiness.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Release {
    pub(super) ready_ms: f64,
    pub(super) connected_ms: f64,
}

/// All pods.
pub(super) struct Stage<'node> {
    /// Clients and proxies end with their containers.
    clients: Vec<Client>,
    proxies: Vec<Client>,
    _containers: Vec<Container<'node>>,
    _pods: Vec<KubePod<'node>>,
}

impl<'node> Stage<'node> {
    pub(super) fn new(node: &'node Node, namespaces: &'node [Pod]) -> Result<Self> {
        let program = env::current_exe()?;
        let mut stage = Self { clients: Vec::new(), proxies: Vec::new(), _containers: Vec::new(), _pods: Vec::new() };
        for namespace in namespaces {
            let pod = KubePod::new(node, namespace, Qos::Burstable)?;
            pod.tell()?;
            let (sidecar, app) = (pod.container("istio-proxy")?, pod.container("app")?);
            stage.proxies.push(sidecar.run(&program, &["proxy"])?);
            stage.clients.push(app.connect(DESTINATION, &["--on-word", "--no-greeting"])?);
            stage._containers.extend([sidecar, app]);
            stage._pods.push(pod);
        }
        Ok(stage)
    }

    /// Lets all clients connect at once, and waits until each connection is held.
    pub(super) fn connect(&mut self, agent: &Agent) -> Result<Vec<Told>> {
        self.clients.iter_mut().try_for_each(Client::go)?;
        let held = agent.wait_for("connection held", self.clients.len())?;
        let apart: BTreeMap<_, _> = agent
            .logged("container identified")
            .iter()
            .map(|event| Ok((pod(event)?, time(event)?)))
            .collect::<Result<_>>()?;
        let told = held.iter().map(|event| {
            let since = Duration::from_micros(event["held_us"].as_u64().context("held_us")?);
            let dropped = time(event)?.checked_sub(since).context("a time")?;
            let apart = apart.get(&pod(event)?).context("a held connection's container was identified")?;
            let after = apart.saturating_sub(dropped);
            Ok(Told { apart_ms: after.as_secs_f64() * 1e3, held_ms: since.as_secs_f64() * 1e3 })
        });
        told.collect()
    }

    /// Lets all proxies be ready at once, and waits for all connections.
    pub(super) fn release(&mut self) -> Result<Vec<Release>> {
        self.proxies.iter_mut().try_for_each(Client::go)?;
        let ready =
            self.proxies.iter_mut().map(|proxy| Ok(proxy.line()?.parse::<u64>()?)).collect::<Result<Vec<_>>>()?;
        let first = ready.iter().copied().min().unwrap_or_else(mono_ns);
        let pods = self.clients.iter_mut().zip(ready);
        let released = pods.map(|(client, ready)| {
            let connection: Connection = client.report()?;
            ensure!(connection.outcome == CONNECTED, "not connected: {connection:?}");
            let connected_ms = milliseconds(first, connection.ended_mono_ns);
            Ok(Release { ready_ms: milliseconds(first, ready), connected_ms })
        });
        released.collect()
    }
}

/// From one moment of CLOCK_MONOTONIC to another.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of minutes are far below 2^53")]
pub(super) fn milliseconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}

fn pod(event: &Value) -> Result<String> {
    Ok(event["pod"].as_str().context("a pod")?.to_owned())
}

/// When it was logged, since the epoch.
fn time(event: &Value) -> Result<Duration> {
    let text = event["timestamp"].as_str().context("a time")?;
    Ok(humantime::parse_rfc3339(text)?.duration_since(std::time::UNIX_EPOCH)?)
}
