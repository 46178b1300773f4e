//! A real Istio in its other ways: rules by nft or by istio-cni, addresses of both families, an application that waits for the proxy.

use std::fs;

use anyhow::{Context, Result};
use conngate_testbed::{
    cluster::{Cluster, pod::Pod},
    lab::tool,
    report::CONNECTED,
};
use serde_json::{Value, json};

use crate::{
    application::{MODE, WEB, connections, gated, hasty},
    families::{self, WEB_V6},
    install::installed,
    kinds::assert_not_held,
    operate::inside,
    pods::{Namespace, container, is_ready},
};

/// Of one pod's proxy, and of its istio-init.
const CONFIG: &str = "proxy.istio.io/config";

pub(crate) fn native_nftables_in_both_families_holds_until_the_proxy_is_ready() -> Result<()> {
    let cluster = installed()?;
    families::route(&cluster)?;
    let namespace = Namespace::new(&cluster, "gated-nft", true)?;
    let config = r#"{"proxyMetadata":{"NATIVE_NFTABLES":"true","ISTIO_DUAL_STACK":"true"}}"#;
    let pod = gated(&namespace).annotation(CONFIG, config).init_container(families::address());
    namespace.create(pod.container(hasty("app", WEB)).container(hasty("v6", WEB_V6)))?;
    let pod = namespace.wait("app", "is ready", is_ready)?;
    let init = namespace.log("app", "istio-init", false)?;
    assert!(init.contains("native nftables enabled") && init.contains("DUAL_STACK=true"), "{init}");
    for name in ["app", "v6"] {
        assert_eq!(container(&pod, name)["restartCount"], 0);
        assert_eq!(connections(&namespace, name, false)?[0].outcome, CONNECTED);
    }
    let events = inside(&cluster, &["events", "--pod", &namespace.path("app")])?;
    assert!(events.contains("released (ready): held 2,"), "{events}");
    Ok(())
}

/// Istio's own remedy, beside a gate: the kubelet starts the application when the proxy is ready, and nothing is left to hold.
pub(crate) fn application_that_istio_holds_until_the_proxy_starts_is_not_held_again() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-after-proxy", true)?;
    let pod = gated(&namespace).annotation(CONFIG, r#"{"holdApplicationUntilProxyStarts":true}"#);
    namespace.create(pod.container(hasty("app", WEB)))?;
    assert_not_held(&namespace)?;
    let events = inside(&cluster, &["events", "--pod", &namespace.path("app")])?;
    assert!(events.contains("released (ready): held 0,"), "{events}");
    Ok(())
}

/// istio-cni redirects before the first container starts, and istio-validation proves it by listening where the proxy will: in mode retry,
/// where a listener is enough, that one is not.
pub(crate) fn pod_of_istio_cni_in_mode_retry_is_held_after_its_validation_has_listened() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "gated-cni", false)?;
    let runtime = json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": "istio-cni" }, "handler": "istio-cni",
    });
    cluster.apply(&runtime.to_string())?;
    let pod = gated(&namespace).annotation(MODE, "retry").spec("runtimeClassName", "istio-cni");
    cluster.apply(&injected_for_cni(&cluster, pod.container(hasty("app", WEB)))?)?;
    let pod = namespace.wait("app", "is ready", is_ready)?;
    let validation = namespace.log("app", "istio-validation", false)?;
    assert!(validation.contains("Validation passed"), "{validation}");
    assert_eq!(container(&pod, "app")["restartCount"], 0);
    assert_eq!(connections(&namespace, "app", false)?[0].outcome, CONNECTED);
    let events = inside(&cluster, &["events", "--pod", &namespace.path("app")])?;
    assert!(events.contains("released (listening): held 1,"), "{events}");
    Ok(())
}

/// The pod as istiod's injector would render it if Istio were installed with its CNI plug-in.
fn injected_for_cni(cluster: &Cluster, pod: Pod) -> Result<String> {
    let data = |name: &str| -> Result<Value> {
        Ok(cluster.json(&["--namespace", "istio-system", "get", "configmap", name])?["data"].take())
    };
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a ConfigMap has texts");
    let (injector, mesh) = (data("istio-sidecar-injector")?, data("istio")?);
    let mut values: Value = serde_json::from_str(&text(&injector["values"])?)?;
    values["pilot"]["cni"]["enabled"] = true.into();
    let files = [
        ("--filename", pod.manifest().to_string()),
        ("--injectConfigFile", text(&injector["config"])?),
        ("--meshConfigFile", text(&mesh["mesh"])?),
        ("--valuesFile", values.to_string()),
    ];
    let mut inject = cluster.exec_in_node("istioctl")?;
    inject.args(["kube-inject", "--kubeconfig", "/etc/kubernetes/admin.conf"]);
    for (flag, content) in files {
        let path = format!("/run/istioctl{flag}");
        fs::write(cluster.file(&path), content)?;
        inject.args([flag, &path]);
    }
    tool::feed(inject, "")
}
