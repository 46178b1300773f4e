//! A pod as the agent sees it: who it is, what it asks for, which containers it has and how far they are.
//!
//! Knows nothing of where it comes from. Whatever a server or a manifest says, a pod here is bounded: names by Kubernetes'
//! own limits, containers and annotations by the constants below. Only annotations that start with [`PREFIX`] are kept.

use std::{collections::BTreeMap, time::SystemTime};

use super::{
    object::{ContainerStatus, PodObject, Spec, Status},
    sidecar::{Sidecar, stays},
};
use crate::uid::{PodUid, PodUidError};

/// What annotations start with that concern us.
pub const PREFIX: &str = "conngate.io/";

/// The longest annotation value, in bytes, that can mean anything. A longer one is kept cut, but still longer than this.
pub const MAX_VALUE: usize = 4096;

/// The most annotations of ours that are kept.
const MAX_ANNOTATIONS: usize = 64;

/// The most containers of all kinds.
const MAX_CONTAINERS: usize = 1024;

/// The longest name (RFC 1123 subdomain, as Kubernetes validates names).
const MAX_NAME: usize = 253;

/// The kubelet's marks on a mirror pod: that it is one, and the UID of the static pod that it mirrors, after which the pod's
/// cgroup is named (pkg/kubelet/types/pod_update.go; pkg/kubelet/pod/mirror_client.go).
const MIRROR: &str = "kubernetes.io/config.mirror";
const HASH: &str = "kubernetes.io/config.hash";

/// istio-cni's mark on a pod whose connections the node's ztunnel takes (`AmbientRedirection` in istio.io/api/annotation).
const AMBIENT: &str = "ambient.istio.io/redirection";

/// Where the kubelet has a pod from: `api`, or `file` or `http` for a static pod (pkg/kubelet/types/types.go).
const CONFIG_SOURCE: &str = "kubernetes.io/config.source";

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The most labels of a pod that are kept, and of a namespace.
const MAX_LABELS: usize = 256;

/// What a namespace says of its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceMeta {
    /// Its labels.
    pub labels: Labels,
    /// Its annotations that start with [`PREFIX`].
    pub annotations: BTreeMap<String, String>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The UID after which its cgroup is named.
    pub uid: PodUid,
    /// The UID under which the API knows it; another one for mirror pods only.
    pub api_uid: PodUid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What its namespace says, where that is needed and known.
    pub namespace_meta: Option<NamespaceMeta>,
    /// Its labels.
    pub labels: Labels,
    /// The node it is bound to.
    pub node_name: Option<String>,
    /// Annotations that start with [`PREFIX`].
    pub annotations: BTreeMap<String, String>,
    /// Its containers, init containers first.
    pub containers: Vec<Container>,
    /// The known proxies among them.
    pub sidecars: Vec<Sidecar>,
    /// Whether it is in Istio's ambient mode.
    pub ambient: bool,
    /// Whether its runtime has a network stack of its own.
    pub sandboxed: bool,
    /// Whether it uses the node's network namespace.
    pub host_network: bool,
    /// Whether it uses the node's user namespace.
    pub host_users: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether all its containers have ended for good.
    pub finished: bool,
    /// Whether the kubelet has it from elsewhere than the API.
    pub is_static: bool,
}

/// One of a pod's containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name, unique within the pod.
    pub name: String,
    /// What it is for.
    pub kind: ContainerKind,
    /// Whether the last status seen calls it ready; statuses come late (by seconds).
    pub ready: bool,
    /// Its id in the last status seen, as `containerd://<id>`.
    pub id: Option<String>,
    /// The first start that the last status tells of, to the second, and the container's id then.
    pub started: Option<(SystemTime, Option<String>)>,
}

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    /// An application's.
    App,
    /// Runs to its end before the next container starts.
    Init,
    /// An init container that stays (restartPolicy Always, KEP-753).
    NativeSidecar,
    /// Added to a running pod, for debugging.
    Ephemeral,
}

/// What makes an API object no pod of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PodError {
    /// A field without which a pod cannot be told from others is missing.
    #[error("pod {pod} has no {field}")]
    Missing {
        /// Namespace and name, as far as known.
        pod: String,
        /// The field's path.
        field: &'static str,
    },
    /// A UID that is none.
    #[error("pod {pod}: {field}")]
    Uid {
        /// Namespace and name, as far as known.
        pod: String,
        /// The field's path.
        field: &'static str,
        /// Why.
        #[source]
        source: PodUidError,
    },
    /// A name or list longer than Kubernetes permits.
    #[error("pod {pod}: {field} has {length} characters or elements, at most {allowed} are possible")]
    TooLong {
        /// Namespace and name, as far as known.
        pod: String,
        /// The field's path.
        field: &'static str,
        /// Its length.
        length: usize,
        /// The limit.
        allowed: usize,
    },
}

impl Pod {
    /// Namespace and name, as people write them.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether it stands for a static pod of the kubelet. Whoever may create pods can claim that.
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        self.uid != self.api_uid
    }
}

impl TryFrom<&PodObject> for Pod {
    type Error = PodError;

    fn try_from(pod: &PodObject) -> Result<Self, PodError> {
        let metadata = &pod.metadata;
        let path = shown_path(metadata.namespace.as_deref(), metadata.name.as_deref());
        let missing = |field| PodError::Missing { pod: path.clone(), field };
        let name = |field, value: &Option<String>| {
            let value = value.as_ref().filter(|value| !value.is_empty()).ok_or_else(|| missing(field))?;
            bounded(&path, field, value.len(), MAX_NAME)?;
            Ok(value.clone())
        };
        let uid = |field, value: Option<&String>| {
            let value = value.ok_or_else(|| missing(field))?;
            bounded(&path, field, value.len(), MAX_NAME)?;
            value.parse::<PodUid>().map_err(|source| PodError::Uid { pod: path.clone(), field, source })
        };
        let annotation = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key));
        let api_uid = uid("metadata.uid", metadata.uid.as_ref())?;
        let spec = pod.spec.as_ref().ok_or_else(|| missing("spec"))?;
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        Ok(Self {
            uid: match annotation(MIRROR) {
                Some(_) => uid("metadata.annotations[kubernetes.io/config.hash]", annotation(HASH))?,
                None => api_uid,
            },
            api_uid,
            namespace: name("metadata.namespace", &metadata.namespace)?,
            name: name("metadata.name", &metadata.name)?,
            namespace_meta: None,
            labels: labels(metadata.labels.as_ref()),
            node_name: spec.node_name.clone().filter(|node| node.len() <= MAX_NAME),
            annotations: annotations(metadata.annotations.as_ref()),
            containers: containers(&path, spec, pod.status.as_ref())?,
            sidecars: Sidecar::all(spec, metadata.annotations.as_ref().unwrap_or(&BTreeMap::new())),
            ambient: annotation(AMBIENT).is_some_and(|value| value == "enabled"),
            sandboxed: spec.runtime_class_name.as_deref().is_some_and(is_sandbox),
            host_network: spec.host_network == Some(true),
            host_users: spec.host_users != Some(false),
            terminating: metadata.deletion_timestamp.is_some(),
            finished: matches!(phase, Some("Succeeded" | "Failed")),
            is_static: matches!(annotation(CONFIG_SOURCE).map(String::as_str), Some("file" | "http")),
        })
    }
}

/// The annotations that start with [`PREFIX`], within bounds.
pub(super) fn annotations(all: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let ours = all.into_iter().flatten();
    let ours = ours.filter(|(key, _)| key.starts_with(PREFIX) && key.len() <= PREFIX.len() + MAX_NAME);
    ours.take(MAX_ANNOTATIONS).map(|(key, value)| (key.clone(), cut(value, MAX_VALUE + 4).to_owned())).collect()
}

/// Labels within bounds: what is longer than Kubernetes allows is no label.
pub(super) fn labels(all: Option<&Labels>) -> Labels {
    let short = |(key, value): &(&String, &String)| key.len() <= 2 * MAX_NAME && value.len() <= MAX_NAME;
    let kept = all.into_iter().flatten().filter(short).take(MAX_LABELS);
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn containers(path: &str, spec: &Spec, status: Option<&Status>) -> Result<Vec<Container>, PodError> {
    let init = spec.init_containers.iter().flatten().map(|container| {
        (&container.name, if stays(container) { ContainerKind::NativeSidecar } else { ContainerKind::Init })
    });
    let app = spec.containers.iter().flatten().map(|container| (&container.name, ContainerKind::App));
    let ephemeral =
        spec.ephemeral_containers.iter().flatten().map(|container| (&container.name, ContainerKind::Ephemeral));
    let all: Vec<_> = init.chain(app).chain(ephemeral).collect();
    bounded(path, "spec.containers", all.len(), MAX_CONTAINERS)?;

    let statuses = status.map(|status| {
        [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses]
    });
    let statuses: BTreeMap<_, _> =
        statuses.into_iter().flatten().flatten().flatten().map(|one| (one.name.as_str(), one)).collect();
    all.into_iter()
        .map(|(name, kind)| {
            bounded(path, "a container's name", name.len(), MAX_NAME)?;
            let status = statuses.get(name.as_str());
            let id = status.and_then(|status| status.container_id.clone()).filter(|id| id.len() <= MAX_NAME);
            let started = status.copied().and_then(first_start);
            Ok(Container { name: name.clone(), kind, ready: status.is_some_and(|status| status.ready), id, started })
        })
        .collect()
}

/// The earlier one of the two starts that a status may tell of.
fn first_start(status: &ContainerStatus) -> Option<(SystemTime, Option<String>)> {
    let states = [&status.last_state, &status.state].into_iter().flatten();
    let starts = states.flat_map(|state| [&state.running, &state.terminated]).flatten();
    let timed = starts.filter_map(|began| Some((began.started_at.as_ref()?.0.into(), began)));
    let (at, began): (SystemTime, _) = timed.min_by_key(|(at, _)| *at)?;
    let id = began.container_id.as_ref().or(status.container_id.as_ref()).filter(|id| id.len() <= MAX_NAME);
    Some((at, id.cloned()))
}

/// Whether a runtime class of this name is a sandbox, by the names that their makers' documents give it: `gvisor` (GKE Sandbox),
/// `runsc`, `kata`, `kata-qemu`, `kata-mshv-vm-isolation` (AKS), `kata-remote` (OpenShift).
fn is_sandbox(runtime_class: &str) -> bool {
    runtime_class.split(['-', '.']).any(|word| matches!(word, "gvisor" | "runsc" | "kata"))
}

fn bounded(pod: &str, field: &'static str, length: usize, allowed: usize) -> Result<(), PodError> {
    if length <= allowed { Ok(()) } else { Err(PodError::TooLong { pod: pod.to_owned(), field, length, allowed }) }
}

fn shown_path(namespace: Option<&str>, name: Option<&str>) -> String {
    let part = |part: Option<&str>| cut(part.unwrap_or("?"), MAX_NAME).to_owned();
    format!("{}/{}", part(namespace), part(name)).escape_debug().to_string()
}

/// The first `bytes` bytes of `text`, or a little less where a character would be split.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests;
