//! The cure: an application that connects in its first millisecond, and ends when it is refused, is not restarted, in every
//! one of many starts; also where the agent hardly gets any CPU time. What happens without conngate is in `fault`.
//!
//! `CONNGATE_TEST_STARTS` says how many starts (30): a third of them one after another, the others ten at a time.

use std::{env, iter::repeat_n};

use anyhow::{Context, Result, ensure};
use conngate_testbed::{
    cluster::{
        Cluster,
        pod::{Container, Pod},
    },
    lab::wait_until,
    report::{CONNECTED, Connection},
};
use serde_json::{Value, json};

use crate::{
    application::{MODE, WEB, connects},
    install::{install, installed},
    pods::{NATIVE_SIDECAR, Namespace, PATIENCE, container},
    shared::cluster,
};

/// How many pods start at a time.
const TOGETHER: usize = 10;

/// What the application says when nobody listens at the capture port: its connection could only be refused.
const ALONE: &str = "nobody listens";

/// The application's share of the CPU, for it and for what takes the agent's: the agent has a hundredth of it.
const SHARE: &str = "100m";

pub(crate) fn first_connection_succeeds_in_every_start() -> Result<()> {
    let cluster = installed()?;
    start_many(&cluster, "cure", "the agent undisturbed")
}

/// The agent has the least weight that Kubernetes gives (1m: 2 of 1024 shares), and a busy loop per core has that of an
/// application, so that no CPU is ever idle.
pub(crate) fn first_connection_succeeds_in_every_start_beside_a_starved_agent() -> Result<()> {
    let cluster = cluster()?;
    install(&cluster, &["resources.requests.cpu=1m"])?;
    let namespace = Namespace::new(&cluster, "busy", false)?;
    let loops = "for _ in $(seq $(nproc)); do while :; do :; done & done; wait";
    let busy = Container::script("busy", loops).field("resources", json!({ "requests": { "cpu": SHARE } }));
    namespace.create(namespace.pod("busy").container(busy))?;
    namespace.kubectl(&["wait", "--for=condition=Ready", "pod/busy", "--timeout=180s"])?;
    let before = scheduled(&cluster)?;
    start_many(&cluster, "starved", "the agent starved")?;
    let after = scheduled(&cluster)?;
    let (ran, waited) = (after.0 - before.0, after.1 - before.1);
    println!("the agent ran for {ran:.2} s, and was ready to run and did not for {waited:.2} s");
    ensure!(waited > ran, "an agent that is starved waits for its turn");
    Ok(())
}

/// For how many seconds the agent's threads have run, and for how many they have waited for their turn.
fn scheduled(cluster: &Cluster) -> Result<(f64, f64)> {
    let mut sh = cluster.exec_in_node("sh")?;
    let output = sh.args(["-c", "cat /proc/$(pidof conngate)/task/*/schedstat"]).output()?;
    let said = String::from_utf8(output.stdout)?;
    let column = |number: usize| {
        let nanos = said.lines().filter_map(|line| line.split(' ').nth(number)?.parse::<f64>().ok());
        nanos.sum::<f64>() / 1e9
    };
    Ok((column(0), column(1)))
}

fn start_many(cluster: &Cluster, name: &'static str, label: &str) -> Result<()> {
    let starts = env::var("CONNGATE_TEST_STARTS").map_or(Ok(3 * TOGETHER), |text| text.parse())?;
    let together = (starts - starts / 3) / TOGETHER;
    let alone = starts - together * TOGETHER;
    let namespace = Namespace::new(cluster, name, true)?;
    let mut held = Vec::new();
    for (number, size) in repeat_n(1, alone).chain(repeat_n(TOGETHER, together)).enumerate() {
        held.extend(start(cluster, &namespace, &format!("batch-{number}"), size)?);
    }
    held.sort_by(f64::total_cmp);
    let (median, most) = (held[held.len() / 2], held[held.len() - 1]);
    println!("{label}: {} starts, no restart, held for {median:.2} s (median), {most:.2} s (most)", held.len());
    Ok(())
}

/// Starts `size` pods at once and removes them; for how many seconds each was held, by its own word.
fn start(cluster: &Cluster, namespace: &Namespace<'_>, batch: &str, size: usize) -> Result<Vec<f64>> {
    let pods: Vec<_> = (0..size).map(|number| pod(namespace, batch, number).manifest()).collect();
    cluster.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": pods }).to_string())?;
    let selector = format!("--selector=batch={batch}");
    // Also where it is in vain: the pods say why.
    let waited = namespace.kubectl(&["wait", "--for=condition=Ready", "pod", &selector, "--timeout=300s"]);
    let pods = namespace.json(&["get", "pods", &selector])?;
    let pods = pods["items"].as_array().context("a list has items")?;
    ensure!(pods.len() == size);
    let held = pods.iter().map(|pod| held(namespace, pod)).collect::<Result<_>>();
    let held = held.with_context(|| format!("kubectl wait: {waited:?}"))?;
    waited?;
    namespace.kubectl(&["delete", "pods", &selector, "--wait=false"])?;
    Ok(held)
}

fn pod(namespace: &Namespace<'_>, batch: &str, number: usize) -> Pod {
    // What a SYN to the capture port would find, in the words of /proc/net/tcp: a socket of that port in state LISTEN.
    let listens = "[[ $(</proc/net/tcp) == *':3A99 00000000:0000 0A '* ]]";
    let script = format!(
        "{listens} || echo {ALONE}; said=$({}); echo \"$said\"; [[ $said == *'\"{CONNECTED}\"'* ]] || exit 1; \
         exec sleep infinity",
        connects(WEB),
    );
    let app = Container::script("app", &script).field("resources", json!({ "requests": { "cpu": SHARE } }));
    let pod = namespace.pod(&format!("{batch}-{number}")).label("batch", batch).container(app);
    pod.annotation(NATIVE_SIDECAR, "false").annotation(MODE, "hold")
}

/// For how many seconds the first connection of `pod` was held. It began while there was no Envoy to wait for.
fn held(namespace: &Namespace<'_>, pod: &Value) -> Result<f64> {
    let name = pod["metadata"]["name"].as_str().context("a pod has a name")?;
    let (app, proxy) = (container(pod, "app"), container(pod, "istio-proxy"));
    ensure!(app["restartCount"] == 0, "{name} was restarted: {}", namespace.log(name, "app", true)?);
    // The kubelet may call the proxy ready before a starved agent has heard of it.
    let said = wait_until(PATIENCE, &format!("{name} says how its connection went"), || {
        namespace.log(name, "app", false).ok().filter(|said| said.trim_end().lines().count() > 1)
    })?;
    let (alone, connection) = said.split_once('\n').context("the application says two things")?;
    ensure!(alone == ALONE, "{name}: Envoy came first: {said}");
    let connection: Connection = serde_json::from_str(connection).with_context(|| said.clone())?;
    ensure!(connection.outcome == CONNECTED, "{name}: {said}");
    let started = |status: &Value| status["state"]["running"]["startedAt"].as_str().map(str::to_owned);
    ensure!(started(app).is_some() && started(app) <= started(proxy), "{name}: {:#}", pod["status"]);
    Ok(connection.seconds)
}
