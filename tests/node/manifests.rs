//! What is in deploy/, as a real API server sees it: nothing is created, everything is admitted.
//!
//! What can be known without a server, `cargo xtask deploy --check` knows.

use anyhow::{Context, Result};
use conngate_testbed::{cluster::Cluster, lab::tool};
use serde_json::{Value, json};

use crate::{
    install::{NAMESPACE, installed},
    pods::Namespace,
};

/// What is rendered for. A Helm built from its module believes in 1.20.
const KUBERNETES: &str = "--kube-version=1.34.0";

/// Whether the API server would take it all.
fn would_apply(cluster: &Cluster, manifests: &str) -> Result<()> {
    let dry = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"];
    cluster.kubectl_with(&dry, manifests).map(drop)
}

fn checkout(path: &str) -> String {
    format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Nearly every value, each another than its default.
fn values() -> Value {
    json!({
        "fullnameOverride": "gate",
        "image": { "digest": format!("sha256:{}", "0".repeat(64)), "pullPolicy": "Always" },
        "imagePullSecrets": [{ "name": "pull" }],
        "defaultMode": "hold", "namespaceSelector": "istio-injection=enabled,team!=ci",
        "podSource": "kubelet",
        "kubelet": { "certificate": "/var/lib/kubelet/pki/kubelet.crt", "url": "https://$(HOST_IP):10250" },
        "podManifests": "/etc/kubernetes/manifests",
        "cgroupRoot": "/sys/fs/cgroup/kubepods", "bpffs": "/run/bpf", "detachOnExit": true, "probeBudget": 7,
        "listen": { "address": "::", "port": 9000 },
        "log": { "format": "json", "filter": "conngate=debug" },
        "extraArgs": ["--bpf-log=1"], "extraEnv": [{ "name": "X", "value": "y" }],
        "hostNetwork": false, "priorityClassName": "high", "resourceQuota": { "enabled": true },
        "defaults": [{ "mode": "hold", "podSelector": { "matchLabels": { "a": "b" } } }],
        "admissionPolicy": { "enabled": true, "action": "Deny" },
        "nodeSelector": { "mesh": "yes" },
        "tolerations": [{ "key": "x", "operator": "Exists", "effect": "NoSchedule" }],
        "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": "type", "operator": "NotIn", "values": ["virtual-kubelet"] }] },
        ] } } },
        "updateStrategy": { "type": "OnDelete", "rollingUpdate": null },
        "terminationGracePeriodSeconds": 9,
        "resources": { "limits": { "memory": "1Gi" } },
        "startupProbe": { "failureThreshold": 99 },
        "podLabels": { "team": "mesh" }, "podAnnotations": { "team": "mesh" },
        "seLinuxOptions": null,
        "serviceAccount": { "name": "other", "annotations": { "x": "y" } },
        "podMetrics": { "enabled": false, "limit": 7 },
        "grafanaDashboard": { "enabled": true },
        "networkPolicy": { "enabled": true, "from": [{ "namespaceSelector": {} }] },
    })
}

pub(crate) fn chart_is_admitted_by_the_api_server_with_and_without_values() -> Result<()> {
    let cluster = installed()?;
    let chart = checkout("deploy/helm/conngate");
    cluster.helm(&["lint", "--strict", KUBERNETES, &chart])?;
    for values in [json!({}), values()] {
        let mut helm = cluster.helm_command()?;
        // Another release: what is installed has pods, which cannot become others.
        helm.args(["template", "another", &chart, "--namespace", NAMESPACE, KUBERNETES, "--values=-"]);
        would_apply(&cluster, &tool::feed(helm, &values.to_string())?).with_context(|| values.to_string())?;
    }
    Ok(())
}

pub(crate) fn kustomizations_and_examples_are_admitted_by_the_api_server() -> Result<()> {
    let cluster = installed()?;
    for kustomization in ["base", "cleanup"] {
        let directory = checkout(&format!("deploy/kustomize/{kustomization}"));
        would_apply(&cluster, &cluster.kubectl(&["kustomize", &directory])?).context(kustomization)?;
    }
    for example in ["deployment", "job"] {
        let path = checkout(&format!("deploy/examples/{example}.yaml"));
        would_apply(&cluster, &std::fs::read_to_string(path)?).context(example)?;
    }
    Ok(())
}

pub(crate) fn namespace_of_the_agent_needs_the_level_privileged_and_no_more() -> Result<()> {
    let cluster = installed()?;
    let daemon_set = cluster.json(&["--namespace", NAMESPACE, "get", "daemonset", "conngate"])?;
    let mut spec = daemon_set["spec"]["template"]["spec"].clone();
    // Neither exists there: not Pod Security's affair.
    for field in ["serviceAccount", "serviceAccountName", "priorityClassName"] {
        spec[field] = Value::Null;
    }
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "agent" }, "spec": spec }).to_string();

    let namespace = "pod-security";
    let _namespace = Namespace::new(&cluster, namespace, false)?;
    let create = ["--namespace", namespace, "create", "--dry-run=server", "-f", "-"];
    let mut refusals = Vec::new();
    for level in ["restricted", "baseline", "privileged"] {
        let label = format!("pod-security.kubernetes.io/enforce={level}");
        cluster.kubectl(&["label", "--overwrite", "namespace", namespace, &label])?;
        let created = cluster.kubectl_with(&create, &pod);
        refusals.push(created.err().map(|error| format!("{error:#}")).unwrap_or_default());
    }
    for refusal in &refusals[..2] {
        for reason in ["violates PodSecurity", "hostPID=true", "hostPath", "SYS_ADMIN"] {
            assert!(refusal.contains(reason), "{reason}: {refusal}");
        }
    }
    assert_eq!(refusals[2], "");
    Ok(())
}
