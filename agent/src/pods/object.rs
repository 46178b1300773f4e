//! A pod as Kubernetes' servers write it, with the fields that are read and no others.
//!
//! What is left out (managed fields, volumes, environments, conditions: most of a pod's bytes) is skipped while parsing and
//! never kept. Lists may be `null`, as Go writes empty ones.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::Pod,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::Resource;
use serde::{Deserialize, Deserializer};

/// A pod.
#[derive(Clone, Debug, Deserialize)]
pub struct PodObject {
    /// Name, namespace, UID, version, labels, annotations and when it was deleted.
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// What it asks for.
    pub spec: Option<Spec>,
    /// How far it is.
    pub status: Option<Status>,
}

/// What a pod asks for.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The node it is bound to.
    pub node_name: Option<String>,
    /// Whether it uses the node's network namespace.
    pub host_network: Option<bool>,
    /// Whether it uses the node's user namespace.
    pub host_users: Option<bool>,
    /// Which runtime runs it; none: the node's own.
    pub runtime_class_name: Option<String>,
    /// Containers that run before the others.
    pub init_containers: Option<Vec<Container>>,
    /// Its containers.
    pub containers: Option<Vec<Container>>,
    /// Containers added to a running pod.
    pub ephemeral_containers: Option<Vec<Container>>,
}

/// A container.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// `Always` makes an init container a sidecar.
    pub restart_policy: Option<String>,
    /// What its program is told.
    pub args: Option<Vec<String>>,
    /// Its ports, which its probes may call by name.
    pub ports: Option<Vec<Port>>,
    /// Asked until it says yes once.
    pub startup_probe: Option<Probe>,
    /// Asked for as long as it runs.
    pub readiness_probe: Option<Probe>,
}

/// A port of a container.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Its name.
    pub name: Option<String>,
    /// Its number.
    #[serde(default)]
    pub container_port: i64,
}

/// How the kubelet asks a container; other ways than HTTP are not read.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// By HTTP.
    pub http_get: Option<HttpGet>,
}

/// An HTTP request of the kubelet's.
#[derive(Clone, Debug, Deserialize)]
pub struct HttpGet {
    /// Another host than the pod.
    pub host: Option<String>,
    /// HTTP, if not said, or HTTPS.
    pub scheme: Option<String>,
    /// The path, and a query.
    pub path: Option<String>,
    /// A number, or the name of one of the container's ports.
    pub port: Option<PortOrName>,
}

/// `IntOrString` of Kubernetes.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum PortOrName {
    /// A port's number.
    Number(i64),
    /// A port's name, or a number in quotes.
    Name(String),
}

/// How far a pod is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Pending, Running, Succeeded, Failed or Unknown.
    pub phase: Option<String>,
    /// Statuses of init containers.
    pub init_container_statuses: Option<Vec<ContainerStatus>>,
    /// Statuses of containers.
    pub container_statuses: Option<Vec<ContainerStatus>>,
    /// Statuses of ephemeral containers.
    pub ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

/// How far a container is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Whether it is ready.
    #[serde(default)]
    pub ready: bool,
    /// Its id, as `containerd://<id>`.
    #[serde(rename = "containerID")]
    pub container_id: Option<String>,
    /// How it is.
    pub state: Option<ContainerState>,
    /// How it was before its last restart.
    pub last_state: Option<ContainerState>,
}

/// How a container is, or was.
#[derive(Clone, Debug, Deserialize)]
pub struct ContainerState {
    /// It runs.
    pub running: Option<Began>,
    /// It has ended.
    pub terminated: Option<Began>,
}

/// When a container began.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Began {
    /// To the second.
    pub started_at: Option<Time>,
    /// Of one that has ended.
    #[serde(rename = "containerID")]
    pub container_id: Option<String>,
}

/// [`ObjectMeta`] without the managed fields, which are often the larger part of it.
fn metadata<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
        deletion_timestamp: Option<Time>,
    }
    let Metadata { name, namespace, uid, resource_version, labels, annotations, deletion_timestamp } =
        Metadata::deserialize(from)?;
    Ok(ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        labels,
        annotations,
        deletion_timestamp,
        ..ObjectMeta::default()
    })
}

impl Resource for PodObject {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
