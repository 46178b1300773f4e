//! conngate on the cluster: installed by Helm from deploy/, as an operator does, with the image of this tree.
//!
//! Knows nothing of what is tested with it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use conngate_testbed::{
    cluster::{CONNGATE, Cluster},
    lab::wait_until,
};
use serde_json::Value;

use crate::{pods::PATIENCE, shared::cluster};

/// Where it is installed.
pub(crate) const NAMESPACE: &str = "conngate-system";

/// Where the agent says how it is.
const PORT: u16 = 9477;

/// The cluster with conngate on it, with the chart's own values.
pub(crate) fn installed() -> Result<Arc<Cluster>> {
    let cluster = cluster()?;
    install(&cluster, &[])?;
    Ok(cluster)
}

/// Installs conngate, or changes it, with `values` (`key=value`) beside the chart's own, and waits for it.
pub(crate) fn install(cluster: &Cluster, values: &[&str]) -> Result<()> {
    install_unready(cluster, values)?;
    let daemon_set = ["--namespace", NAMESPACE, "rollout", "status", "daemonset/conngate", "--timeout=180s"];
    cluster.kubectl(&daemon_set).with_context(|| log(cluster).unwrap_or_default()).map(drop)
}

/// As [`install`], without waiting for an agent that cannot become ready.
pub(crate) fn install_unready(cluster: &Cluster, values: &[&str]) -> Result<()> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/helm/conngate");
    let chart = chart.to_str().context("the checkout's path is UTF-8")?;
    let (repository, tag) = CONNGATE.rsplit_once(':').context("the image has a tag")?;
    let image = format!("image.repository={repository},image.tag={tag},image.pullPolicy=Never");
    let mut arguments = vec!["upgrade", "--install", "conngate", chart, "--namespace", NAMESPACE, "--create-namespace"];
    let root = format!("cgroupRoot={}", cgroup(cluster)?.display());
    // What happens to single pods it says at this level only.
    arguments.extend(["--reset-values", "--set", &image, "--set", &root, "--set", "log.filter=conngate=debug"]);
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    cluster.helm(&arguments).map(drop)
}

/// The node's cgroup in the cgroup2 hierarchy: another cluster may run beside it on this machine.
pub(crate) fn cgroup(cluster: &Cluster) -> Result<PathBuf> {
    let directories = cluster.place().remains()?;
    let unified = directories.into_iter().find(|directory| directory.join("cgroup.controllers").exists());
    unified.context("the node has a cgroup in the cgroup2 hierarchy")
}

/// What the running agent has said.
pub(crate) fn log(cluster: &Cluster) -> Result<String> {
    cluster.kubectl(&["--namespace", NAMESPACE, "logs", "daemonset/conngate", "--tail=-1"])
}

/// The agent's pod that is not being deleted.
pub(crate) fn agent(cluster: &Cluster) -> Result<Value> {
    let pods =
        cluster.json(&["--namespace", NAMESPACE, "get", "pods", "--selector=app.kubernetes.io/name=conngate"])?;
    let pods = pods["items"].as_array().into_iter().flatten();
    let mut alive = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    alive.next_back().cloned().context("there is no agent")
}

/// What the agent answers at `path`, such as `/readyz`, on the node's loopback: status and body.
pub(crate) fn ask(cluster: &Cluster, path: &str) -> Result<(u16, String)> {
    ask_at(cluster, "127.0.0.1", path)
}

/// As [`ask`], at another address of the node.
pub(crate) fn ask_at(cluster: &Cluster, address: &str, path: &str) -> Result<(u16, String)> {
    let mut curl = cluster.exec_in_node("curl")?;
    curl.args(["--silent", "--max-time", "5", "--write-out", "\n%{http_code}"]);
    let output = curl.arg(format!("http://{address}:{PORT}{path}")).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = said.rsplit_once('\n').context("curl says a status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// Waits until /readyz is as `wanted`; gives its body.
pub(crate) fn wait_readyz(cluster: &Cluster, what: &str, wanted: impl Fn(u16, &str) -> bool) -> Result<String> {
    let mut last = String::new();
    let found = wait_until(PATIENCE, what, || {
        let (status, body) = ask(cluster, "/readyz").ok()?;
        last = format!("{status}: {body}");
        wanted(status, &body).then_some(body)
    });
    found.with_context(|| format!("/readyz said {last}"))
}
