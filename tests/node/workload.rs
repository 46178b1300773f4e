//! Applications that connect at once, and what the node itself knows of them while the API server is away.
//!
//! Knows nothing of what is done to them. Whether one was held is read in the agent's log, whether it was refused in
//! Kubernetes' count of restarts.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use conngate_testbed::{
    cluster::{
        Cluster,
        pod::{Container, Pod},
    },
    lab::wait_until,
};
use serde_json::{Value, json};

use crate::{
    install::agent,
    pods::{NATIVE_SIDECAR, Namespace, PATIENCE, container, is_ready},
};

/// Connects in its first millisecond, and ends when it is refused.
const EAGER: &str = "echo started; exec 3<>/dev/tcp/198.51.100.10/80 || exit 1; echo connected; exec sleep infinity";

/// Answers on loopback: not ready, until the file /switch/on is there. Where nobody answered, the kubelet's word would count.
/// The image's Python is minimal: it has no module http.
const SWITCH: &str = r#"import os, socket
server = socket.create_server(("127.0.0.1", 15999))
while True:
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        status = "200 OK" if os.path.exists("/switch/on") else "503 Service Unavailable"
        connection.sendall(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
"#;

/// A pod with an application that runs `script` and a sidecar that starts beside it; nothing asks for a gate yet.
pub(crate) fn meshed(namespace: &Namespace, name: &str, script: &str) -> Pod {
    namespace.pod(name).annotation(NATIVE_SIDECAR, "false").container(Container::script("app", script))
}

/// A [`meshed`] application that connects in its first millisecond.
pub(crate) fn eager(namespace: &Namespace, name: &str) -> Pod {
    meshed(namespace, name, EAGER)
}

/// Creates an eager pod in mode hold, and waits until it is ready without a restart, through a gate.
pub(crate) fn assert_gated(cluster: &Cluster, namespace: &Namespace, name: &str) -> Result<()> {
    namespace.create(eager(namespace, name).annotation("conngate.io/mode", "hold"))?;
    assert_not_restarted(cluster, namespace, name)
}

/// Waits until the pod is ready; it had a gate, and its application was not restarted.
pub(crate) fn assert_not_restarted(cluster: &Cluster, namespace: &Namespace, name: &str) -> Result<()> {
    let pod = namespace.wait(name, "is ready", is_ready)?;
    assert_eq!(container(&pod, "app")["restartCount"], 0, "{}", namespace.log(name, "app", true).unwrap_or_default());
    // A source that was away may tell of the pod after it is ready: until then its connection was held as an unknown pod's.
    wait_agent_says(cluster, &agent(cluster)?, &format!("the agent gated {name}"), |text| said(text, "gated", &pod))
}

/// An eager pod in mode hold whose gate opens when [`turn_on`] says so, whatever its proxy says.
pub(crate) fn switched(namespace: &Namespace, name: &str) -> Pod {
    let mount = json!([{ "name": "switch", "mountPath": "/switch" }]);
    eager(namespace, name)
        .annotation("conngate.io/mode", "hold")
        .annotation("conngate.io/timeout", "10m")
        .annotation("conngate.io/ready-url", "http://127.0.0.1:15999/")
        .container(Container::new("switch", &["python3", "-c", SWITCH]).field("volumeMounts", mount))
        .spec("volumes", json!([{ "name": "switch", "emptyDir": {} }]))
}

/// Waits until the application of a [`switched`] pod is held although its proxy is ready; gives the pod.
pub(crate) fn wait_held(namespace: &Namespace, name: &str) -> Result<Value> {
    let pod =
        namespace.wait(name, "has a proxy that is ready", |pod| container(pod, "istio-proxy")["ready"] == true)?;
    assert_eq!(container(&pod, "switch")["restartCount"], 0, "{}", namespace.log(name, "switch", true)?);
    wait_until(PATIENCE, "the application has started", || namespace.log(name, "app", false).ok()?.pop())?;
    assert_eq!(namespace.log(name, "app", false)?, "started\n");
    Ok(pod)
}

/// Makes a [`switched`] pod ready, without the API server.
pub(crate) fn turn_on(cluster: &Cluster, pod: &Value) -> Result<()> {
    let uid = pod["metadata"]["uid"].as_str().context("the pod has a UID")?;
    let path = cluster.file(&format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/switch/on"));
    fs::write(&path, "").with_context(|| format!("cannot write {}", path.display()))
}

/// Whether a line of the agent's log `text` says `what` of `pod`.
pub(crate) fn said(text: &str, what: &str, pod: &Value) -> bool {
    let [namespace, name] = ["namespace", "name"].map(|key| pod["metadata"][key].as_str().unwrap_or_default());
    let pod = format!("\"{namespace}/{name}\"");
    text.lines().any(|line| line.contains(what) && line.contains(&pod))
}

/// Waits until the agent's log is as `wanted`, and gives it.
pub(crate) fn wait_agent_says(
    cluster: &Cluster,
    agent: &Value,
    what: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<()> {
    let mut last = String::new();
    let found = wait_until(PATIENCE, what, || {
        last = output(cluster, agent, "agent").ok()?;
        wanted(&last).then_some(())
    });
    found.with_context(|| format!("the agent said {last}"))
}

/// What a container of `pod` has said since its last start, as the runtime wrote it on the node: each line with its time.
pub(crate) fn output(cluster: &Cluster, pod: &Value, container: &str) -> Result<String> {
    let [namespace, name, uid] =
        ["namespace", "name", "uid"].map(|key| pod["metadata"][key].as_str().unwrap_or_default());
    let directory = cluster.file(&format!("/var/log/pods/{namespace}_{name}_{uid}/{container}"));
    let logs = fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let start = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()?.parse::<u32>().ok());
    let logs = logs.flatten().map(|entry| entry.path());
    let last = logs.max_by_key(start).with_context(|| format!("{} is empty", directory.display()))?;
    fs::read_to_string(&last).with_context(|| format!("cannot read {}", last.display()))
}

/// The agent's pod, whose container runs and has not been restarted. In the node's network it answers before the API server knows
/// that it runs.
pub(crate) fn steady_agent(cluster: &Cluster) -> Result<Value> {
    let agent = wait_until(PATIENCE, "the agent's container runs", || {
        agent(cluster).ok().filter(|agent| container(agent, "agent")["state"]["running"].is_object())
    })?;
    let status = container(&agent, "agent");
    ensure!(status["restartCount"] == 0, "the agent does not run on: {status:#}");
    Ok(agent)
}
