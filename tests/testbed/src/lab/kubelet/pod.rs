//! A pod on a made-up node: its cgroup, its sandbox, its manifest.
//!
//! Knows nothing of what runs in its containers. The API's word for a pod's shape is kept: the manifest is JSON, and tests
//! write into it what they are about.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use serde_json::{Value, json};

use super::{Container, KUBEPODS, Node};
use crate::lab::{cgroup::Cgroup, envoy::ADMIN_PORT, namespace::Namespace, process::Running};

static MADE: AtomicU32 = AtomicU32::new(0);

/// A quality-of-service class: it decides where a pod's cgroup lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Directly below the root of pods.
    Guaranteed,
    /// One level deeper.
    Burstable,
    /// One level deeper.
    BestEffort,
}

/// A pod; when dropped, its processes are killed and its cgroups removed. Its manifest stays until [`KubePod::delete`].
#[derive(Debug)]
pub struct KubePod<'node> {
    node: &'node Node,
    namespace: &'node Namespace,
    uid: String,
    name: String,
    manifest: Value,
    sandbox: Sandbox,
    cgroup: Cgroup,
}

/// A sandbox's process, which is in the pod's network namespace before any container is.
#[derive(Debug)]
struct Sandbox {
    _pause: Running,
    _cgroup: Cgroup,
}

impl Sandbox {
    fn new(pod: &Cgroup, namespace: &Namespace) -> Result<Self> {
        let cgroup = pod.child(container_id())?;
        let mut pause = namespace.command("sleep");
        pause.arg("infinity");
        cgroup.join(&mut pause)?;
        Ok(Self { _pause: Running::start(pause)?, _cgroup: cgroup })
    }
}

impl<'node> KubePod<'node> {
    /// Makes a pod with a sandbox in `namespace`. Its manifest, which is not told yet, has the containers `app` and
    /// `istio-proxy` and asks for mode hold until Envoy's admin port says ready.
    pub fn new(node: &'node Node, namespace: &'node Namespace, qos: Qos) -> Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Self::with_uid(node, namespace, qos, &format!("0a1b2c3d-4e5f-6071-8293-{number:012x}"))
    }

    /// As [`KubePod::new`], for a UID that matters.
    pub fn with_uid(node: &'node Node, namespace: &'node Namespace, qos: Qos, uid: &str) -> Result<Self> {
        let class = match qos {
            Qos::Guaranteed => "",
            Qos::Burstable => "burstable/",
            Qos::BestEffort => "besteffort/",
        };
        let cgroup = node.cgroup().child(format!("{KUBEPODS}/{class}pod{uid}"))?;
        let sandbox = Sandbox::new(&cgroup, namespace)?;
        let name = format!("web-{}", &uid[uid.len() - 8..]);
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "shop",
                "uid": uid,
                "annotations": {
                    "conngate.io/mode": "hold",
                    "conngate.io/ready-url": format!("http://127.0.0.1:{ADMIN_PORT}/ready"),
                },
            },
            "spec": {"containers": [{"name": "app"}, {"name": "istio-proxy"}]},
        });
        Ok(Self { node, namespace, uid: uid.to_owned(), name, manifest, sandbox, cgroup })
    }

    /// Namespace and name, as the agent's log has them.
    #[must_use]
    pub fn path(&self) -> String {
        format!("shop/{}", self.name)
    }

    /// Its cgroup.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Its manifest, to be changed and told.
    pub fn manifest(&mut self) -> &mut Value {
        &mut self.manifest
    }

    /// Sets or removes the annotation conngate.io/`key`; to be told.
    pub fn annotate(&mut self, key: &str, value: Option<&str>) {
        let key = format!("conngate.io/{key}");
        let annotations = self.manifest["metadata"]["annotations"].as_object_mut().expect("annotations are an object");
        match value {
            Some(value) => annotations.insert(key, value.into()),
            None => annotations.remove(&key),
        };
    }

    /// Tells of the pod as its manifest now is.
    pub fn tell(&self) -> Result<()> {
        self.node.tell(&self.uid, &self.manifest)
    }

    /// Tells of the pod no longer, which goes on.
    pub fn forget(&self) -> Result<()> {
        self.node.forget(&self.uid)
    }

    /// Ends the pod: kills all that runs in it, removes its cgroups, and tells of it no longer.
    pub fn delete(&self) -> Result<()> {
        self.cgroup.remove()?;
        self.forget()
    }

    /// Makes the sandbox anew, in another namespace: what the kubelet does when it is lost. Containers have ended before.
    pub fn renew(&mut self, namespace: &'node Namespace) -> Result<()> {
        self.sandbox = Sandbox::new(&self.cgroup, namespace)?;
        self.namespace = namespace;
        Ok(())
    }

    /// One start of the container `name`.
    pub fn container(&self, name: &str) -> Result<Container<'node>> {
        self.container_of(&[name])
    }

    /// One start of a container that has the termination logs of all of `names`.
    pub fn container_of(&self, names: &[&str]) -> Result<Container<'node>> {
        let id = container_id();
        // `BuildContainerLogsDirectory` and `makeMounts` in pkg/kubelet/kuberuntime: a number for each start.
        let log = |name: &&str| format!("pods/{}/containers/{name}/{}", self.uid, &id[id.len() - 8..]);
        let logs = names.iter().map(|name| self.node.kubelet().join(log(name))).collect();
        Container::new(self.namespace, self.cgroup.child(&id)?, logs, self.node.root())
    }
}

/// As containerd, cri-o and docker make them: 64 hexadecimal digits.
fn container_id() -> String {
    format!("{:064x}", MADE.fetch_add(1, Ordering::Relaxed))
}
