//! `kubectl conngate` as people run it: against the real API server, by a kubeconfig, in a terminal. Two nodes: the real one,
//! and one that is only an object, whose kubelet is the real one's too.
//!
//! The second agent has no rights, so that it answers and is not ready. The API server has it in a pod of the second node; what
//! runs is a static pod of the same name, by which the kubelet finds it.

use std::{fs, path::PathBuf, process::Output};

use anyhow::{Context, Result, ensure};
use conngate_testbed::{
    cluster::{CONNGATE, Cluster, NODE, NODE_V4, STATIC_PODS},
    lab::{Terminal, tool, wait_until},
};
use conngate_view::bundle::Bundle;
use serde_json::{Value, json};

use crate::{
    install::{NAMESPACE, agent, installed},
    pods::{Namespace, PATIENCE, is_ready},
    workload::{switched, turn_on, wait_held},
};

/// The second node.
const SECOND: &str = "second-node";

/// The file of the static pod on the node.
const MANIFEST: &str = "second-agent.json";

/// A node whose agent answers, and is not ready. Removed when dropped.
struct Second<'a> {
    cluster: &'a Cluster,
    manifest: PathBuf,
    pod: String,
}

impl<'a> Second<'a> {
    fn new(cluster: &'a Cluster) -> Result<Self> {
        let manifest = cluster.file(STATIC_PODS).join(MANIFEST);
        // A static pod is called after its node as well.
        let second = Self { cluster, manifest, pod: format!("conngate-second-{NODE}") };
        fs::write(&second.manifest, pod("conngate-second", None).to_string())?;
        cluster.apply(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": SECOND } }).to_string())?;
        second.patch(
            "node",
            SECOND,
            &json!({
                "addresses": [{ "type": "InternalIP", "address": NODE_V4 }],
                "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
            }),
        )?;
        wait_until(PATIENCE, "the second agent runs", || {
            let mirror = cluster.json(&["--namespace", NAMESPACE, "get", "pod", &second.pod]).ok()?;
            (mirror["status"]["phase"] == "Running").then_some(())
        })?;
        // The kubelet's own word of it makes way for ours: by one name there is one pod.
        let delete = ["--namespace", NAMESPACE, "delete", "pod", &second.pod, "--grace-period=0", "--force"];
        wait_until(PATIENCE, "the API server has it on the second node", || {
            cluster.kubectl(&delete).ok();
            cluster.apply(&pod(&second.pod, Some(SECOND)).to_string()).ok()?;
            let there = cluster.json(&["--namespace", NAMESPACE, "get", "pod", &second.pod]).ok()?;
            (there["spec"]["nodeName"] == SECOND).then_some(())
        })?;
        second.patch("pod", &second.pod, &json!({ "phase": "Running" }))?;
        Ok(second)
    }

    fn patch(&self, kind: &str, name: &str, status: &Value) -> Result<()> {
        let patch = json!({ "status": status }).to_string();
        let arguments = ["patch", kind, name, "--subresource=status", "--type=merge", "--patch", &patch];
        self.cluster.kubectl(&[&["--namespace", NAMESPACE], &arguments[..]].concat()).map(drop)
    }
}

impl Drop for Second<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.manifest);
        let force = ["--namespace", NAMESPACE, "delete", "pod", &self.pod, "--grace-period=0", "--force"];
        let _ = self.cluster.kubectl(&force);
        let _ = self.cluster.kubectl(&["delete", "node", SECOND]);
    }
}

/// The second agent's pod.
fn pod(name: &str, node: Option<&str>) -> Value {
    let labels = node.map(|_| json!({ "app.kubernetes.io/part-of": "conngate" }));
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": NAMESPACE, "labels": labels },
        "spec": {
            "nodeName": node,
            "tolerations": [{ "operator": "Exists" }],
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "agent",
                "image": CONNGATE,
                "imagePullPolicy": "Never",
                "args": ["agent", "--pod-source=file", "--pod-manifests=/run/conngate", "--node-name", SECOND],
                "volumeMounts": [{ "name": "run", "mountPath": "/run/conngate" }],
            }],
            "volumes": [{ "name": "run", "emptyDir": { "medium": "Memory" } }],
        },
    })
}

fn output(cluster: &Cluster, arguments: &[&str]) -> Result<Output> {
    let mut command = cluster.exec_in_node(tool::built("kubectl-conngate", "kubectl-conngate")?)?;
    command.args(arguments).output().context("kubectl-conngate cannot be started")
}

/// Exit code, stdout and stderr.
fn plugin(cluster: &Cluster, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = output(cluster, arguments)?;
    let [stdout, stderr] = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    Ok((output.status.code(), stdout, stderr))
}

fn json_of(cluster: &Cluster, arguments: &[&str], code: i32) -> Result<Value> {
    let (ended, stdout, stderr) = plugin(cluster, &[arguments, &["-o", "json"]].concat())?;
    ensure!(ended == Some(code), "{arguments:?} ended with {ended:?}: {stderr}\n{stdout}");
    serde_json::from_str(&stdout).with_context(|| format!("{arguments:?}: {stdout}{stderr}"))
}

pub(crate) fn plugin_merges_the_answers_of_two_nodes_and_names_what_does_not_answer() -> Result<()> {
    let cluster = installed()?;
    let second = Second::new(&cluster)?;
    let status = json_of(&cluster, &["status"], 1)?;
    let nodes = status["nodes"].as_array().context("nodes")?;
    assert_eq!(nodes.iter().map(|node| &node["node"]).collect::<Vec<_>>(), [NODE, SECOND], "{status:#}");
    assert_eq!((&nodes[0]["answer"]["ready"], &nodes[1]["answer"]["ready"]), (&true.into(), &false.into()));
    assert_eq!(nodes[1]["agent"], format!("{NAMESPACE}/{}", second.pod));

    let (code, text, stderr) = plugin(&cluster, &["status"])?;
    assert_eq!(code, Some(1), "{text}{stderr}");
    let state = |node: &str| {
        text.lines().find(|line| line.trim_start().starts_with(node)).map(|line| line.contains(" NOT READY "))
    };
    assert_eq!((state(NODE), state(SECOND)), (Some(false), Some(true)), "{text}");
    assert!(text.contains(&format!("{SECOND} waits for capabilities: ")), "{text}");
    assert!(text.lines().all(|line| line.contains(" waits for ") || line.chars().count() <= 100), "{text}");
    let (code, text, _) = plugin(&cluster, &["status", "--node", NODE, "--wait=10s"])?;
    assert!(code == Some(0) && text.contains("Programs at /"), "of one node, all of it: {text}");

    let (code, text, stderr) = plugin(&cluster, &["check"])?;
    assert_eq!(code, Some(1), "{text}{stderr}");
    for words in
        ["ok    agents      conngate: 1 of 1 agents are ready", "\nsecond-node: ", "fail  capability", "-> https://"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }

    // A third one, whose kubelet is nowhere.
    let away = "away-node";
    cluster.apply(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": away } }).to_string())?;
    cluster.apply(&pod("conngate-away", Some(away)).to_string())?;
    second.patch("pod", "conngate-away", &json!({ "phase": "Running" }))?;
    let asked = plugin(&cluster, &["events"]);
    cluster.kubectl(&["--namespace", NAMESPACE, "delete", "pod", "conngate-away", "--grace-period=0", "--force"])?;
    cluster.kubectl(&["delete", "node", away])?;
    let (code, _, stderr) = asked?;
    let errors: Vec<_> = stderr.lines().collect();
    assert!(code == Some(3) && errors.iter().any(|line| line.starts_with("away-node (")), "{code:?}: {stderr}");

    let (code, _, stderr) = plugin(&cluster, &["status", "--node", "nowhere"])?;
    assert!(code == Some(1) && stderr.contains("no agent on node nowhere"), "{stderr}");
    let (code, _, stderr) = plugin(&cluster, &["status", "--context", "nowhere"])?;
    assert!(code == Some(125) && stderr.contains("nowhere"), "{stderr}");
    Ok(())
}

pub(crate) fn plugin_explains_reports_and_opens_a_held_pod_in_a_terminal() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "plugged", true)?;
    namespace.create(switched(&namespace, "app"))?;
    let pod = wait_held(&namespace, "app")?;

    let mut explain = cluster.exec_in_node(tool::built("kubectl-conngate", "kubectl-conngate")?)?;
    explain.args(["explain", "app", "-n", "plugged"]);
    let terminal = Terminal::run(explain, 40, 120)?;
    terminal.wait("the held connection", |screen| {
        screen.contains(&format!("Node:      {NODE}")) && screen.contains("app -> 198.51.100.10:80")
    })?;
    let top = json_of(&cluster, &["top", "-n", "plugged"], 0)?;
    assert_eq!(
        (&top["nodes"][0]["answer"][0]["pod"], &top["nodes"][0]["answer"][0]["waiting"]),
        (&"plugged/app".into(), &1.into())
    );
    let (code, _, stderr) = plugin(&cluster, &["explain", "plugged/nobody"])?;
    assert!(code == Some(1) && stderr.contains("there is no pod plugged/nobody"), "{stderr}");

    let report = output(&cluster, &["bugreport", "-o", "-", "--redact", "plugged/app"])?;
    let stderr = String::from_utf8_lossy(&report.stderr).into_owned();
    assert_eq!(report.status.code(), Some(0), "{stderr}");
    let text = String::from_utf8_lossy(&report.stdout);
    let agent = agent(&cluster)?["metadata"]["name"].as_str().context("a name")?.to_owned();
    for name in ["plugged", NODE, "198.51.100.10", &agent] {
        let at = text
            .find(name)
            .map(|at| String::from_utf8_lossy(&report.stdout[at.saturating_sub(120)..at + 60]).into_owned());
        assert_eq!(at, None, "{name}");
    }
    let bundle = Bundle::read(report.stdout.as_slice())?;
    let paths: Vec<_> = bundle.paths().collect();
    for path in ["cluster/daemonsets.json", "cluster/nodes.json", "node-1/agent.log", "node-1/status.json"] {
        assert!(paths.contains(&path), "{path}: {paths:?}");
    }
    assert!(paths.iter().any(|path| path.starts_with("node-1/explain/namespace-")), "{paths:?}");

    let (code, text, stderr) = plugin(&cluster, &["open", "app", "-n", "plugged"])?;
    assert_eq!((code, text.as_str()), (Some(0), "plugged/app: opened, 1 connections released\n"), "{stderr}");
    turn_on(&cluster, &pod)?;
    namespace.wait("app", "is ready", is_ready)?;
    let (code, text, stderr) = plugin(&cluster, &["events", "--pod", "app", "-n", "plugged"])?;
    assert!(code == Some(0) && text.contains("released (operator): held 1"), "{text}{stderr}");
    assert!(text.lines().all(|line| line.starts_with(NODE)), "{text}");
    Ok(())
}
