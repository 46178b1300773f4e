//! A real Istio on the cluster: istiod, its injection webhook, and sidecars with a plain Envoy.
//!
//! Knows nothing of the pods that will be injected.

use anyhow::Result;
use serde_json::Value;

use super::{
    build::images::{MESH_HUB, MESH_TAG},
    lifetime::Cluster,
    pod::{Container, Pod, namespace},
};
use crate::lab::tool;

/// Where Istio is.
const NAMESPACE: &str = "istio-system";

/// Without telemetry and the two environment variables, istiod configures nothing that an Envoy without Istio's own
/// filters would refuse. The node is small: one istiod, and requests that leave room for pods.
const VALUES: [&str; 10] = [
    "profile=minimal",
    "values.telemetry.enabled=false",
    "values.pilot.env.PILOT_ENABLE_METADATA_EXCHANGE=false",
    "values.pilot.env.PILOT_ENABLE_ALPN_FILTER=false",
    // For pods with addresses of both families only.
    "values.pilot.env.ISTIO_DUAL_STACK=true",
    "values.pilot.autoscaleEnabled=false",
    "values.pilot.resources.requests.cpu=10m",
    "values.pilot.resources.requests.memory=128Mi",
    "values.global.proxy.resources.requests.cpu=10m",
    "values.global.proxy.resources.requests.memory=40Mi",
];

impl Cluster {
    /// Installs Istio and waits until pods are injected.
    pub(super) fn start_mesh(&self) -> Result<()> {
        let mut generate = self.exec_in_node("istioctl")?;
        generate.args(["manifest", "generate"]);
        let images = [format!("hub={MESH_HUB}"), format!("tag={MESH_TAG}")];
        for value in VALUES.into_iter().chain(images.iter().map(String::as_str)) {
            generate.args(["--set", value]);
        }
        let manifests = tool::feed(generate, "")?;
        self.apply(&namespace(NAMESPACE, false).to_string())?;
        self.wait("Istio's resources are accepted", || self.apply(&manifests).ok())?;
        self.wait("istiod is available", || {
            let istiod = self.json(&["--namespace", NAMESPACE, "get", "deployment", "istiod"]).ok()?;
            super::start::has_condition(&istiod, "Available").then_some(())
        })?;
        self.wait("pods are injected", || self.injects().then_some(()))
    }

    /// Whether a pod that asks for it would get a sidecar.
    fn injects(&self) -> bool {
        let pod = Pod::new("default", "probe").label("sidecar.istio.io/inject", "true");
        let pod = pod.container(Container::new("app", &["true"])).manifest().to_string();
        let created = self.kubectl_with(&["create", "--dry-run=server", "-o", "json", "-f", "-"], &pod);
        let created: Option<Value> = created.ok().and_then(|created| serde_json::from_str(&created).ok());
        created.is_some_and(|pod| !pod["metadata"]["annotations"]["sidecar.istio.io/status"].is_null())
    }
}
