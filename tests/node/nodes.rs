//! Nodes that begin: a new one, with and without the startup taint, and one that starts again.

use std::{fs, io, process::Stdio};

use anyhow::{Context, Result, ensure};
use conngate_testbed::{
    cluster::{CONNGATE, Cluster, NODE},
    lab::{gated, process::Running, tool, wait_until},
};
use serde_json::{Value, json};

use crate::{
    install::{NAMESPACE, agent, ask, cgroup, install, installed, wait_readyz},
    pods::{Namespace, PATIENCE, container, is_ready},
    rollout::{PINS, uninstall},
    shared::cluster,
    workload::eager,
};

/// The key of the startup taint.
const KEY: &str = "conngate.io/agent-not-ready";

/// How many pods are there first.
const PODS: usize = 10;

/// What a pod says that an agent was too late for.
const STARTED: &str = "conngate_pods_started_before_agent_total";

fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("app-{number}"))
}

/// Creates pods that connect at once and ask to be held.
fn create(namespace: &Namespace, count: usize) -> Result<()> {
    names(count).try_for_each(|name| namespace.create(eager(namespace, &name).annotation("conngate.io/mode", "hold")))
}

/// Makes the node one on which no agent has ever been.
fn forget_conngate(cluster: &Cluster) -> Result<()> {
    if cluster.is_running("conngate") {
        uninstall(cluster)?;
    }
    remove_pins(cluster)
}

fn remove_pins(cluster: &Cluster) -> Result<()> {
    match fs::remove_dir_all(cluster.file(PINS)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("cannot remove the pins"),
        _ => Ok(()),
    }
}

/// The metric of this name.
fn metric(cluster: &Cluster, name: &str) -> Result<f64> {
    let (status, text) = ask(cluster, "/metrics")?;
    ensure!(status == 200, "/metrics: {status}");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.with_context(|| format!("there is no {name}"))
}

/// Taints of a node, for as long as the value lives.
struct Tainted<'a>(&'a Cluster, &'static str);

impl<'a> Tainted<'a> {
    /// Puts these taints on the node `name`.
    fn with(cluster: &'a Cluster, name: &'static str, taints: &Value) -> Result<Self> {
        let tainted = Self(cluster, name);
        tainted.set(taints)?;
        Ok(tainted)
    }

    fn set(&self, taints: &Value) -> Result<()> {
        let patch = json!({ "spec": { "taints": taints } }).to_string();
        self.0.kubectl(&["patch", "node", self.1, "--type=merge", "--patch", &patch]).map(drop)
    }

    /// The keys of those that are there.
    fn keys(&self) -> Result<Vec<String>> {
        let node = self.0.json(&["get", "node", self.1])?;
        let taints = node["spec"]["taints"].as_array().into_iter().flatten();
        Ok(taints.filter_map(|taint| Some(taint["key"].as_str()?.to_owned())).collect())
    }
}

impl Drop for Tainted<'_> {
    fn drop(&mut self) {
        // The test has its outcome already.
        let _ = self.set(&Value::Null);
    }
}

pub(crate) fn pods_of_a_tainted_node_wait_for_the_agent_and_none_is_refused() -> Result<()> {
    let cluster = cluster()?;
    forget_conngate(&cluster)?;
    let others = json!({ "key": "example.org/other", "effect": "PreferNoSchedule" });
    let own = json!({ "key": KEY, "effect": "NoSchedule" });
    let node = Tainted::with(&cluster, NODE, &json!([own, others]))?;
    let namespace = Namespace::new(&cluster, "tainted", true)?;
    create(&namespace, PODS)?;
    install(&cluster, &["startupTaint.enabled=true"])?;
    for name in names(PODS) {
        let pod = namespace.wait(&name, "is ready", is_ready)?;
        assert_eq!(container(&pod, "app")["restartCount"], 0, "{}", namespace.log(&name, "app", true)?);
    }
    assert_eq!(node.keys()?, ["example.org/other"]);
    // The metric may count pods of other tests, which are leaving.
    let early = namespace.json(&["get", "events", "--field-selector=reason=StartedBeforeAgent"])?;
    assert_eq!(early["items"], json!([]));

    // Whoever makes the node puts it back.
    node.set(&json!([own, others]))?;
    wait_until(PATIENCE, "the taint is gone again", || (node.keys().ok()? == ["example.org/other"]).then_some(()))?;
    wait_readyz(&cluster, "nothing is missing", |status, body| status == 200 && body == "ok\n").map(drop)
}

pub(crate) fn pods_that_are_there_before_the_agent_have_an_event_each() -> Result<()> {
    let cluster = cluster()?;
    forget_conngate(&cluster)?;
    let namespace = Namespace::new(&cluster, "early", true)?;
    create(&namespace, PODS)?;
    for name in names(PODS) {
        // Most are refused; on a busy machine an Envoy may come before its application.
        namespace.wait(&name, "has started", |pod| {
            let app = container(pod, "app");
            ["state", "lastState"]
                .iter()
                .any(|state| app[state]["running"].is_object() || app[state]["terminated"].is_object())
        })?;
    }
    install(&cluster, &[])?;
    for name in names(PODS) {
        namespace.wait_event(&name, "StartedBeforeAgent")?;
    }
    let counted = metric(&cluster, STARTED)?;
    assert!(counted >= 10.0, "{counted}");
    namespace.create(eager(&namespace, "late").annotation("conngate.io/mode", "hold"))?;
    namespace.wait("late", "is ready", is_ready)?;
    assert_eq!(metric(&cluster, STARTED)?, counted);
    Ok(())
}

/// What kubectl says when the owner of `token` patches the node `name`.
fn patch(cluster: &Cluster, token: &str, name: &str, patch: &Value) -> Result<Result<(), String>> {
    let mut kubectl = cluster.kubectl_command()?;
    kubectl.args(["--token", token, "patch", "node", name, "--type=json", "--patch", &patch.to_string()]);
    let output = kubectl.output()?;
    Ok(if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) })
}

pub(crate) fn agents_account_takes_its_own_nodes_startup_taint_off_and_changes_nothing_else() -> Result<()> {
    let cluster = cluster()?;
    install(&cluster, &["startupTaint.enabled=true"])?;
    cluster.apply(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "another" } }).to_string())?;
    // It would take the taint off itself.
    cluster.pause("conngate")?;
    let outcome = only_its_own_taint(&cluster);
    cluster.resume("conngate")?;
    cluster.kubectl(&["delete", "node", "another"])?;
    outcome
}

fn only_its_own_taint(cluster: &Cluster) -> Result<()> {
    let (own, other) =
        (json!({ "key": KEY, "effect": "NoSchedule" }), json!({ "key": "x", "effect": "PreferNoSchedule" }));
    let taints = [other.clone(), own.clone(), json!({ "key": KEY, "effect": "PreferNoSchedule" })];
    let node = Tainted::with(cluster, NODE, &json!(taints))?;
    let another = Tainted::with(cluster, "another", &json!(taints))?;
    let agent = agent(cluster)?;
    let name = agent["metadata"]["name"].as_str().context("the agent has a name")?;
    let create = ["--namespace", NAMESPACE, "create", "token", "conngate"];
    let unbound = cluster.kubectl(&create)?;
    let bound = cluster.kubectl(&[&create[..], &["--bound-object-kind=Pod", "--bound-object-name", name]].concat())?;
    let replace = |value: Value| json!([{ "op": "replace", "path": "/spec/taints", "value": value }]);

    let elsewhere = "conngate may only change the node that it runs on";
    let more = "conngate may only take the taint conngate.io/agent-not-ready off, and all of it";
    let else_ = "conngate may change nothing of a node but its taints";
    // The API server's policy is enforced a moment after it is there.
    wait_until(PATIENCE, "the policy is enforced", || {
        let denied = patch(cluster, &unbound, NODE, &replace(json!([other]))).ok()?.err()?;
        denied.contains(elsewhere).then_some(())
    })?;
    let changed = json!({ "key": "x", "effect": "NoSchedule" });
    for (node, change, words) in [
        ("another", replace(json!([other])), elsewhere),
        (NODE, replace(json!([])), more),
        (NODE, replace(json!([other, own])), more),
        (NODE, replace(json!([changed])), more),
        (NODE, replace(json!([other, { "key": "y", "effect": "NoSchedule" }])), more),
        (NODE, json!([{ "op": "add", "path": "/metadata/labels/x", "value": "y" }]), else_),
        (NODE, json!([{ "op": "remove", "path": "/metadata/labels/kubernetes.io~1os" }]), else_),
        (NODE, json!([{ "op": "add", "path": "/metadata/annotations/x", "value": "y" }]), else_),
        (NODE, json!([{ "op": "add", "path": "/metadata/finalizers", "value": ["x.org/y"] }]), else_),
        (NODE, json!([{ "op": "add", "path": "/spec/unschedulable", "value": true }]), else_),
        (NODE, json!([{ "op": "add", "path": "/spec/providerID", "value": "x" }]), else_),
    ] {
        let denied = patch(cluster, &bound, node, &change)?;
        ensure!(denied.as_ref().is_err_and(|why| why.contains(words)), "{node} {change}: {denied:?}");
    }
    assert_eq!(patch(cluster, &bound, NODE, &replace(json!([other])))?, Ok(()));
    assert_eq!(node.keys()?, ["x"]);
    let kept = another.keys()?.into_iter().filter(|key| key == KEY).count();
    assert_eq!(kept, 2, "the other node's stay");
    Ok(())
}

/// `ctr image ARGUMENTS`.
fn image(cluster: &Cluster, arguments: &[&str]) -> Result<()> {
    let mut ctr = cluster.exec_in_node("ctr")?;
    ctr.args(["--namespace=k8s.io", "image"]).args(arguments);
    tool::feed(ctr, "").map(drop)
}

/// Ends the node's pods and starts them again, behind the boot unit alone: each starts once, and is not refused.
fn start_again(cluster: &Cluster, namespace: &Namespace) -> Result<()> {
    for component in ["kubelet", "containerd"] {
        cluster.stop_component(component)?;
    }
    cluster.end_pods()?;
    remove_pins(cluster)?;
    let mut boot = cluster.exec_in_node(gated::binary()?)?;
    boot.args(["boot", "--grace", "10m", "--cgroup-root"]).arg(cgroup(cluster)?).stdin(Stdio::null());
    let mut boot = Running::start(boot)?;
    for component in ["containerd", "kubelet"] {
        cluster.start_component(component)?;
    }
    ensure!(boot.child().wait()?.success(), "the boot unit failed");
    for name in names(PODS) {
        let pod = namespace.wait(&name, "has started once more and is ready", |pod| {
            is_ready(pod) && container(pod, "app")["restartCount"].as_u64() > Some(0)
        })?;
        let restarts = &container(&pod, "app")["restartCount"];
        ensure!(*restarts == 1, "{name}: {restarts} restarts: {}", namespace.log(&name, "app", true)?);
        ensure!(namespace.log(&name, "app", false)?.contains("connected"), "{name} has connected");
    }
    ensure!(!cluster.is_running("conngate"), "nobody else has held");
    Ok(())
}

pub(crate) fn node_that_starts_again_with_the_boot_unit_refuses_nothing() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "rebooted", true)?;
    create(&namespace, PODS)?;
    for name in names(PODS) {
        namespace.wait(&name, "is ready", is_ready)?;
    }
    // An agent comes late: its image is not there yet.
    let kept = format!("{CONNGATE}-kept");
    image(&cluster, &["tag", "--force", CONNGATE, &kept])?;
    image(&cluster, &["rm", CONNGATE])?;
    let outcome = start_again(&cluster, &namespace);
    image(&cluster, &["tag", "--force", &kept, CONNGATE])?;
    outcome?;
    wait_readyz(&cluster, "the agent is back", |status, body| status == 200 && body == "ok\n")?;
    assert_eq!(metric(&cluster, STARTED)?, 0.0, "all were held");
    Ok(())
}
