//! Pods: a plain one, an injected one, one of conngate's image; and how all tests here make and watch them.

use std::time::Duration;

use anyhow::{Context, Result};
use conngate_testbed::{
    cluster::{
        CONNGATE, Cluster,
        pod::{Container, Pod, namespace},
    },
    lab::wait_until,
};
use serde_json::Value;

use crate::shared::cluster;

/// For anything that a pod does, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// What decides which sidecar a pod gets: `"true"` makes it an init container.
pub(crate) const NATIVE_SIDECAR: &str = "sidecar.istio.io/nativeSidecar";

/// A namespace with pods of one test. Removed with them when dropped; nobody waits for that.
pub(crate) struct Namespace<'a> {
    cluster: &'a Cluster,
    name: &'static str,
}

impl<'a> Namespace<'a> {
    /// A namespace; `injected`: its pods get a sidecar.
    pub(crate) fn new(cluster: &'a Cluster, name: &'static str, injected: bool) -> Result<Self> {
        // One of an earlier run against the same cluster may still be leaving.
        cluster.kubectl(&["delete", "namespace", name, "--ignore-not-found"])?;
        cluster.apply(&namespace(name, injected).to_string())?;
        wait_until(PATIENCE, "the namespace has its service account", || {
            cluster.kubectl(&["--namespace", name, "get", "serviceaccount/default", "configmap/kube-root-ca.crt"]).ok()
        })?;
        Ok(Self { cluster, name })
    }

    /// Namespace and name of a pod here, as conngate has them.
    pub(crate) fn path(&self, pod: &str) -> String {
        format!("{}/{pod}", self.name)
    }

    /// A pod here, to be written on.
    pub(crate) fn pod(&self, name: &str) -> Pod {
        Pod::new(self.name, name)
    }

    /// Creates `pod`.
    pub(crate) fn create(&self, pod: Pod) -> Result<()> {
        self.cluster.apply(&pod.manifest().to_string()).map(drop)
    }

    /// What `kubectl ARGUMENTS` says of what is here.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(&[&["--namespace", self.name], arguments].concat())
    }

    /// As [`Namespace::kubectl`], the objects themselves.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value> {
        self.cluster.json(&[&["--namespace", self.name], arguments].concat())
    }

    /// Waits until the pod is as `wanted`, and gives it.
    pub(crate) fn wait(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = wait_until(PATIENCE, &format!("pod {name}: {what}"), || {
            last = self.json(&["get", "pod", name]).ok()?;
            wanted(&last).then_some(())
        });
        found.with_context(|| format!("its status: {:#}", last["status"]))?;
        Ok(last)
    }

    /// Waits until there is an Event with this reason on the pod.
    pub(crate) fn wait_event(&self, name: &str, reason: &str) -> Result<()> {
        let selector = format!("--field-selector=involvedObject.name={name},reason={reason}");
        let ask = ["--namespace", self.name, "get", "events", &selector, "--output=name"];
        wait_until(PATIENCE, &format!("pod {name} has the Event {reason}"), || {
            self.cluster.kubectl(&ask).ok().filter(|found| !found.is_empty()).map(drop)
        })
    }

    /// What a container of a pod has said; `previous`: before its last restart.
    pub(crate) fn log(&self, name: &str, container: &str, previous: bool) -> Result<String> {
        let previous = format!("--previous={previous}");
        self.kubectl(&["logs", name, "--container", container, &previous])
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        // The cluster ends soon, and all of it with it.
        let _ = self.cluster.kubectl(&["delete", "namespace", self.name, "--wait=false"]);
    }
}

/// Whether all containers of `pod` are ready.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Whether `pod` will do nothing more.
fn has_ended(pod: &Value) -> bool {
    pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed"
}

/// The status of the container `name` of `pod`, sidecars among the init containers included; null if there is none.
pub(crate) fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let lists = ["containerStatuses", "initContainerStatuses"].map(|list| pod["status"][list].as_array());
    lists.into_iter().flatten().flatten().find(|status| status["name"] == name).unwrap_or(&Value::Null)
}

pub(crate) fn plain_pod_reaches_services_names_and_the_world() -> Result<()> {
    let cluster = cluster()?;
    let namespace = Namespace::new(&cluster, "plain", false)?;
    let script = "set -e; curl -sSf http://upstream.example/; curl -sSf --insecure \
        https://kubernetes.default.svc.cluster.local/version; echo; \
        conngate-test-client connect 203.0.113.10:5432";
    let pod = namespace.pod("app").container(Container::script("app", script)).spec("restartPolicy", "Never");
    namespace.create(pod)?;
    let pod = namespace.wait("app", "ends", has_ended)?;
    let said = namespace.log("app", "app", false)?;
    assert_eq!(pod["status"]["phase"], "Succeeded", "{said}");
    assert!(said.starts_with("198.51.100.10:80\n"), "{said}");
    assert!(said.contains("\"gitVersion\": \"v1.34.4\""), "{said}");
    assert!(said.contains("\"greeting\":\"203.0.113.10:5432\""), "{said}");
    Ok(())
}

pub(crate) fn conngate_image_runs_on_nothing_but_itself() -> Result<()> {
    let cluster = cluster()?;
    let namespace = Namespace::new(&cluster, "image", false)?;
    let container_ = Container::new("conngate", &["/conngate", "--version"]).image(CONNGATE);
    namespace.create(namespace.pod("conngate").container(container_).spec("restartPolicy", "Never"))?;
    let pod = namespace.wait("conngate", "ends", has_ended)?;
    assert_eq!(pod["status"]["phase"], "Succeeded", "{:#}", pod["status"]);
    let version = format!("conngate {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(namespace.log("conngate", "conngate", false)?.trim(), version);
    Ok(())
}

pub(crate) fn injected_pod_with_a_native_sidecar_becomes_ready_without_a_restart() -> Result<()> {
    let cluster = cluster()?;
    let namespace = Namespace::new(&cluster, "native", true)?;
    let script = "curl --silent --fail http://198.51.100.10/ && exec sleep infinity";
    let pod = namespace.pod("app").annotation(NATIVE_SIDECAR, "true").container(Container::script("app", script));
    namespace.create(pod)?;
    let pod = namespace.wait("app", "is ready", is_ready)?;
    assert_eq!(container(&pod, "istio-proxy")["ready"], true);
    assert_eq!(container(&pod, "app")["restartCount"], 0);
    assert_eq!(namespace.log("app", "app", false)?, "198.51.100.10:80\n");
    Ok(())
}
