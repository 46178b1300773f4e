//! Every kind of pod, and what its gate does: a Job, one without a sidecar, one of the host's network, a static one, one that
//! is deleted while it is held. Which of a pod's containers are held is in `containers`, its annotations in `modes`.

use std::{fs, io::Read, process::Stdio};

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData};
use conngate_common::{ABI_VERSION, gate::GateEntry};
use conngate_testbed::{
    cluster::{
        Cluster, STATIC_PODS,
        pod::{Container, Pod},
    },
    lab::wait_until,
    report::{CONNECTED, Connection},
};
use serde_json::json;

use crate::{
    application::{MODE, REFUSED, WEB, connections, connects, gated, hasty, never_ready, tireless, wait_held},
    install::{ask, installed, log},
    pods::{NATIVE_SIDECAR, Namespace, PATIENCE, container, is_ready},
};

/// The pod `app` becomes ready at its first attempt, and its connection was not held: no SYN was sent again.
pub(crate) fn assert_not_held(namespace: &Namespace<'_>) -> Result<()> {
    let pod = namespace.wait("app", "is ready", is_ready)?;
    assert_eq!(container(&pod, "app")["restartCount"], 0);
    let connection: Connection = serde_json::from_str(&namespace.log("app", "app", false)?)?;
    assert_eq!(connection.outcome, CONNECTED);
    assert_eq!(connection.tcp_info.map(|info| info.total_retrans), Some(0), "{connection:?}");
    Ok(())
}

pub(crate) fn pod_with_a_native_sidecar_is_not_held() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-native", true)?;
    namespace.create(gated(&namespace).annotation(NATIVE_SIDECAR, "true").container(hasty("app", WEB)))?;
    assert_not_held(&namespace)
}

pub(crate) fn pod_without_a_sidecar_connects_at_once() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-plain", false)?;
    namespace.create(gated(&namespace).container(hasty("app", WEB)))?;
    assert_not_held(&namespace)?;
    namespace.wait_event("app", "NoProxy")
}

pub(crate) fn pod_of_the_hosts_network_connects_at_once() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-host", true)?;
    namespace.create(gated(&namespace).spec("hostNetwork", true).container(hasty("app", WEB)))?;
    assert_not_held(&namespace)
}

pub(crate) fn job_with_a_native_sidecar_completes() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-job", true)?;
    let script = format!("{} | grep '\"{CONNECTED}\"'", connects(WEB));
    let pod = gated(&namespace).annotation(NATIVE_SIDECAR, "true").container(Container::script("app", &script));
    let pod = pod.spec("restartPolicy", "Never").manifest();
    let template = json!({ "metadata": { "annotations": pod["metadata"]["annotations"] }, "spec": pod["spec"] });
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": "app", "namespace": "gated-job" },
        "spec": { "backoffLimit": 0, "template": template },
    });
    cluster.apply(&job.to_string())?;
    let ended = namespace.kubectl(&["wait", "--for=condition=Complete", "job/app", "--timeout=180s"]);
    ended.with_context(|| namespace.kubectl(&["logs", "job/app", "--all-containers"]).unwrap_or_default()).map(drop)
}

/// Nobody injects a static pod: its redirect is made by hand, its proxy is named, and nobody ever listens. In the cgroup's name is the hash of
/// its manifest, not the UID that the API server gave to its mirror.
pub(crate) fn static_pod_is_held() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-static", false)?;
    let pod = namespace.pod("app").annotation(MODE, "hold").annotation("conngate.io/proxy", "istio");
    let pod = pod.init_container(redirect("80"));
    let file = cluster.file(STATIC_PODS).join("app.json");
    let manifest = Pod::manifest(pod.container(tireless("app", WEB)));
    fs::write(&file, manifest.to_string())?;
    let mirror = format!("app-{}", conngate_testbed::cluster::NODE);
    let held = namespace
        .wait(&mirror, "runs", |pod| pod["status"]["phase"] == "Running")
        .and_then(|_| wait_held(&namespace, &mirror, "app", WEB));
    fs::remove_file(&file)?;
    held
}

/// Redirects what goes to `port`, as istio-cni does before the first container starts.
pub(crate) fn redirect(port: &str) -> Container {
    let rule = format!("iptables -t nat -A OUTPUT -p tcp --dport {port} -j REDIRECT --to-ports 15001");
    let may = json!({ "capabilities": { "add": ["NET_ADMIN"] } });
    Container::script("redirect", &rule).field("securityContext", may)
}

pub(crate) fn pod_deleted_in_mid_hold_ends_and_leaves_no_gate() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-deleted", true)?;
    let before = gates(&cluster)?;
    let patient = |pod: Pod| pod.spec("terminationGracePeriodSeconds", 300);
    namespace.create(patient(never_ready(&namespace)).container(hasty("app", WEB)))?;
    namespace.wait("app", "runs", |pod| container(pod, "app")["state"]["running"].is_object())?;
    wait_held(&namespace, "app", "app", WEB)?;
    let mut own = gates(&cluster)?;
    own.retain(|gate| !before.contains(gate));
    assert!(!own.is_empty(), "the pod has a gate");

    let mut follow = cluster.kubectl_command()?;
    follow.args(["--namespace", "gated-deleted", "logs", "--follow", "app", "--container", "app"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn()?;
    // Refused as without conngate, it ends by itself; nobody waits for the grace period.
    namespace.kubectl(&["delete", "pod", "app", "--timeout=180s"])?;
    let mut said = String::new();
    follow.stdout.take().context("stdout is a pipe")?.read_to_string(&mut said)?;
    follow.wait()?;
    assert_eq!(serde_json::from_str::<Connection>(&said)?.outcome, REFUSED);
    wait_until(PATIENCE, "its gate is gone", || {
        let gates = gates(&cluster).ok()?;
        own.iter().all(|gate| !gates.contains(gate)).then_some(())
    })?;
    let (status, body) = ask(&cluster, "/readyz")?;
    assert_eq!(status, 200, "{body}");
    assert!(log(&cluster)?.lines().any(|line| line.contains("gated-deleted/app") && line.contains("terminating")));

    namespace.create(gated(&namespace).container(hasty("app", WEB)))?;
    let pod = namespace.wait("app", "is ready", is_ready)?;
    assert_eq!(container(&pod, "app")["restartCount"], 0);
    assert_eq!(connections(&namespace, "app", false)?[0].outcome, CONNECTED);
    Ok(())
}

/// The gates in the kernel, by the ids of the pods' cgroups.
fn gates(cluster: &Cluster) -> Result<Vec<u64>> {
    let pin = cluster.file(&format!("/sys/fs/bpf/conngate/v{ABI_VERSION}/maps/GATES"));
    let map = Map::HashMap(MapData::from_pin(&pin).with_context(|| format!("cannot open {}", pin.display()))?);
    let gates: HashMap<_, u64, [u8; size_of::<GateEntry>()]> = map.try_into()?;
    Ok(gates.keys().collect::<Result<_, _>>()?)
}
