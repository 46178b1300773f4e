//! The agent's own end: replaced, killed, uninstalled, while connections are held and after.

use std::{fs, io, path::Path};

use anyhow::{Context, Result, ensure};
use conngate_testbed::{
    cluster::{CONNGATE, Cluster, PAUSE},
    lab::{tool, wait_until},
    report::Summary,
};

use crate::{
    install::{NAMESPACE, agent, install, installed},
    pods::{Namespace, PATIENCE, container, is_ready},
    workload::{eager, meshed, said, steady_agent, wait_agent_says},
};

/// How many connections are held.
const HELD: usize = 100;

/// Opens them all at once, and says what came of each.
const MANY: &str = "conngate-test-client connect --count 100 --no-greeting 198.51.100.10:80; exec sleep infinity";

/// The state of a held connection in /proc/net/tcp (TCP_SYN_SENT, include/net/tcp_states.h).
const SYN_SENT: &str = "02";

/// Where the node's programs and maps are pinned.
pub(crate) const PINS: &str = "/sys/fs/bpf/conngate";

/// Holds a hundred connections, lets `disturb` happen, and lets the proxy start: none was refused.
fn hundred_are_held_while(name: &'static str, disturb: impl FnOnce(&Cluster) -> Result<()>) -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, name, true)?;
    let many = meshed(&namespace, "app", MANY).annotation("conngate.io/mode", "hold");
    namespace.create(many.annotation("conngate.io/timeout", "10m"))?;
    // It has injected the sidecar, which has not asked it for anything yet.
    cluster.pause("istiod")?;
    let outcome = (|| {
        wait_until(PATIENCE, "all connections are held", || (waiting(&cluster, name).ok()? == HELD).then_some(()))?;
        disturb(&cluster)?;
        let waiting = waiting(&cluster, name)?;
        ensure!(waiting == HELD, "the proxy has not started, and all wait: {waiting} do");
        namespace.wait("app", "is still without a proxy", |pod| container(pod, "istio-proxy")["ready"] == false)
    })();
    cluster.resume("istiod")?;
    outcome?;
    let pod = namespace.wait("app", "is ready", is_ready)?;
    assert_eq!(container(&pod, "app")["restartCount"], 0);
    let said_by_app = wait_until(PATIENCE, "every connection has an outcome", || {
        namespace.log("app", "app", false).ok().filter(|text| text.ends_with('\n'))
    })?;
    let summary: Summary = serde_json::from_str(&said_by_app)?;
    assert_eq!(summary.connected(), HELD, "{:?}", summary.outcomes);
    wait_agent_says(&cluster, &agent(&cluster)?, "the new agent opened the gate", |text| {
        said(text, "gate opened", &pod)
    })
}

/// The destination of [`MANY`] in /proc/net/tcp; the proxy's own connections are none of ours.
const DESTINATION: &str = "0A6433C6:0050";

/// How many connections of the pod `app` wait for an answer.
fn waiting(cluster: &Cluster, namespace: &str) -> Result<usize> {
    let read = ["--namespace", namespace, "exec", "app", "--container", "app", "--", "cat", "/proc/net/tcp"];
    let table = cluster.kubectl(&read)?;
    let waits = |line: &&str| matches!(line.split_whitespace().collect::<Vec<_>>()[..], [_, _, to, state, ..] if (to, state) == (DESTINATION, SYN_SENT));
    Ok(table.lines().filter(waits).count())
}

pub(crate) fn upgrade_in_mid_hold_refuses_nothing_and_the_new_agent_opens_the_gate() -> Result<()> {
    hundred_are_held_while("upgrade", |cluster| {
        let (repository, _) = CONNGATE.rsplit_once(':').context("the image has a tag")?;
        let mut ctr = cluster.exec_in_node("ctr")?;
        ctr.args(["--namespace=k8s.io", "image", "tag", "--force", CONNGATE, &format!("{repository}:next")]);
        tool::feed(ctr, "")?;
        let before = agent(cluster)?;
        install(cluster, &["image.tag=next"])?;
        let after = steady_agent(cluster)?;
        assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
        assert!(after["spec"]["containers"][0]["image"].as_str().is_some_and(|image| image.ends_with(":next")));
        Ok(())
    })
}

pub(crate) fn agent_killed_in_mid_hold_refuses_nothing_and_its_successor_opens_the_gate() -> Result<()> {
    hundred_are_held_while("killed", |cluster| {
        cluster.kill("conngate")?;
        wait_until(PATIENCE, "the agent is started again", || {
            let agent = agent(cluster).ok()?;
            let status = container(&agent, "agent");
            (status["restartCount"] == 1 && status["ready"] == true).then_some(())
        })
    })
}

pub(crate) fn uninstall(cluster: &Cluster) -> Result<()> {
    cluster.helm(&["uninstall", "conngate", "--namespace", NAMESPACE, "--wait"])?;
    wait_until(PATIENCE, "the agent is gone", || (!cluster.is_running("conngate")).then_some(()))
}

/// Names in a directory of the node; none where it does not exist.
fn names(path: &Path) -> Result<Vec<String>> {
    match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => Ok(entries?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()),
    }
}

pub(crate) fn uninstall_leaves_pins_that_refuse_nothing_more_and_the_cleanup_removes_them() -> Result<()> {
    let cluster = installed()?;
    uninstall(&cluster)?;
    let pins = cluster.file(PINS);
    assert_eq!(names(&pins)?.len(), 1, "one version is pinned");

    // Nobody opens a gate any more: what asks for one starts as without conngate.
    let namespace = Namespace::new(&cluster, "uninstalled", true)?;
    namespace.create(eager(&namespace, "app").annotation("conngate.io/mode", "hold"))?;
    namespace.wait("app", "is ready", is_ready)?;

    let cleanup = cluster.kubectl(&["kustomize", &checkout("deploy/kustomize/cleanup")])?;
    let here = replaced(&cleanup, "registry.k8s.io/pause:3.10", PAUSE)?;
    let tag = format!("ghcr.io/conngate/conngate:{}", env!("CARGO_PKG_VERSION"));
    cluster.apply(&replaced(&here, &tag, CONNGATE)?)?;
    let status = ["--namespace", NAMESPACE, "rollout", "status", "daemonset/conngate-cleanup", "--timeout=180s"];
    cluster.kubectl(&status)?;
    assert_eq!(names(&pins)?, Vec::<String>::new());
    cluster.kubectl_with(&["delete", "--wait", "-f", "-"], &here)?;
    Ok(())
}

pub(crate) fn uninstall_after_detach_on_exit_leaves_nothing_pinned() -> Result<()> {
    let cluster = installed()?;
    install(&cluster, &["detachOnExit=true"])?;
    let pins = cluster.file(PINS);
    assert_eq!(names(&pins)?.len(), 1, "one version is pinned");
    uninstall(&cluster)?;
    assert_eq!(names(&pins)?, Vec::<String>::new());
    Ok(())
}

/// `text` with `new` in place of `old`, which has to be there.
fn replaced(text: &str, old: &str, new: &str) -> Result<String> {
    ensure!(text.contains(old), "there is no {old}");
    Ok(text.replace(old, new))
}

fn checkout(path: &str) -> String {
    format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))
}
