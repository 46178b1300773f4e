//! A pod, as far as it matters for its gate: everything that follows from its object alone is decided already.

use conngate_common::{gate::ContainerClass, id::MonoTime};

use crate::{spec::GateSpec, uid::PodUid};

/// A pod that a source has told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The UID after which its cgroup is named.
    pub uid: PodUid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it asks for.
    pub ask: Ask,
    /// Its containers.
    pub containers: Vec<Container>,
    /// What a container is that it does not list: one that was added to the running pod.
    pub unlisted: ContainerClass,
    /// Whether it is being deleted, or has ended.
    pub ending: bool,
    /// Whether all its containers have ended for good.
    pub finished: bool,
    /// What whoever wrote it should hear.
    pub remarks: Vec<Remark>,
}

/// What a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A gate.
    Gate(Box<GateSpec>),
    /// Nothing, and why.
    None(String),
    /// Nobody can say yet, and why: what decides it is not known.
    Undecided(String),
}

/// One of a pod's containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name, unique within the pod.
    pub name: String,
    /// Whether its connections are held.
    pub class: ContainerClass,
    /// Its id in the last status seen, as `containerd://<id>`; statuses come seconds late.
    pub id: Option<String>,
    /// It is the proxy, and the last status calls it ready.
    pub is_ready_proxy: bool,
    /// The first start that the last status tells of, in this life of the machine.
    pub started: Option<Started>,
}

/// A start of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// When; statuses have whole seconds, rounded down.
    pub at: MonoTime,
    /// The container's id then.
    pub id: Option<String>,
}

/// Something that whoever wrote the pod should hear, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// It asks for a gate that it cannot have, and why.
    NotGated(String),
    /// Keys of ours that mean nothing.
    UnknownAnnotations(Vec<String>),
}

impl Pod {
    /// Namespace and name, as people write them.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The container with this id, by the last status.
    #[must_use]
    pub fn container_with_id(&self, id: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.id.as_deref().is_some_and(|status| is_container(status, id)))
    }
}

/// Whether `status`, as the kubelet writes it (`containerd://<id>`: k8s.io/api/core/v1, ContainerStatus), is the container `id`.
#[must_use]
pub fn is_container(status: &str, id: &str) -> bool {
    !id.is_empty() && status.split_once("://").is_some_and(|(_, status)| status == id)
}
