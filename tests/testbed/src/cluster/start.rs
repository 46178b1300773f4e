//! A cluster's start: from an empty node to one on which pods run.
//!
//! Knows nothing of how a component is told what to do. Everything starts at once that can; what it needs is waited for.

use std::{
    fs::{self, File},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};

use super::{
    build::{self, Binaries, Options},
    configuration::{self, DNS_SERVICE},
    lifetime::{Cluster, State},
    node::{init::NODE, network::NODE_V4},
    place::Place,
};
use crate::{
    lab::{tool, wait_until},
    step::step,
};

/// For anything that is waited for, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The components that the others need, and that start while images are imported.
const FIRST: [&str; 3] = ["etcd", "containerd", "kube-apiserver"];

impl Cluster {
    /// Builds and starts a cluster that ends with the value, or with this process.
    pub fn start(options: Options) -> Result<Self> {
        Self::start_at(&Place::test(), options, true)
    }

    /// Builds and starts a cluster that stays, until [`Cluster::down`]. Nothing of it stays where that fails.
    pub fn up(options: Options) -> Result<Self> {
        Self::start_at(&Place::up(), options, false)
    }

    fn start_at(place: &Place, options: Options, owned: bool) -> Result<Self> {
        let built = build::build(options)?;
        let _starting = starting(place)?;
        ensure!(!matches!(Self::state(place)?, State::Up { .. }), "a cluster runs in {}", place.directory().display());
        Self::down(place)?;
        let logs = place.log("node");
        fs::create_dir_all(logs.parent().context("a log is in a directory")?)?;
        for component in super::NAMES {
            File::create(place.log(component))?;
        }
        configuration::write(place)?;
        let cluster = step("start the node", || Self::empty(place, owned))?;
        match cluster.fill(&built, options) {
            Ok(()) => Ok(cluster),
            // One that is owned ends with the value.
            Err(error) if owned => Err(error),
            Err(error) => Self::down(place).context("nor could it be removed").and(Err(error)),
        }
    }

    /// Starts everything on an empty node.
    fn fill(&self, built: &Binaries, options: Options) -> Result<()> {
        for component in FIRST {
            self.launch(component)?;
        }
        step("import images", || built.images.iter().try_for_each(|archive| self.import_image(archive)))?;
        step("start Kubernetes", || self.start_kubernetes())?;
        if options.mesh {
            step("start Istio", || self.start_mesh())?;
        }
        self.finish(options.mesh)
    }

    /// Imports a docker archive.
    pub fn import_image(&self, archive: &Path) -> Result<()> {
        self.wait_for("containerd")?;
        let mut ctr = self.exec_in_node("ctr")?;
        ctr.args(["--namespace=k8s.io", "image", "import"]).arg(archive);
        tool::feed(ctr, "").map(drop)
    }

    /// Builds conngate's image as it is now and imports it. Pods that run keep the one that they have.
    pub fn load_conngate(&self) -> Result<()> {
        self.import_image(&build::images::conngate()?)
    }

    fn start_kubernetes(&self) -> Result<()> {
        self.wait_for("kube-apiserver")?;
        for component in super::NAMES.into_iter().filter(|name| !FIRST.contains(name)) {
            self.launch(component)?;
        }
        self.apply(&dns().to_string())?;
        self.wait("the node is ready", || {
            let node = self.json(&["get", "node", NODE]).ok()?;
            has_condition(&node, "Ready").then_some(())
        })?;
        self.wait("there are service accounts", || {
            self.kubectl(&["get", "serviceaccount/default", "configmap/kube-root-ca.crt"]).ok()
        })?;
        super::NAMES.into_iter().try_for_each(|component| self.wait_for(component))?;
        self.wait_for_service()
    }

    /// Waits for `probe`, and says where to look when it is in vain.
    pub(super) fn wait<T>(&self, what: &str, probe: impl FnMut() -> Option<T>) -> Result<T> {
        let logs = self.log("node");
        wait_until(PATIENCE, what, probe).with_context(|| format!("see the logs beside {}", logs.display()))
    }
}

/// Held by who starts a cluster at `place`: so an unfinished one that another finds is one whose start was broken off.
fn starting(place: &Place) -> Result<Flock<File>> {
    fs::create_dir_all(place.directory())?;
    let path = place.directory().join("starting");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).context("cannot wait for another start")
}

/// Whether the object's condition `kind` is true.
pub(super) fn has_condition(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// The Service of the cluster's DNS. CoreDNS runs on the node, in no pod.
fn dns() -> Value {
    let ports: Vec<_> = ["UDP", "TCP"]
        .map(|protocol| json!({ "name": protocol.to_lowercase(), "port": 53, "protocol": protocol }))
        .into();
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": "kube-dns", "namespace": "kube-system" },
            "spec": { "clusterIP": DNS_SERVICE, "ports": ports },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns-node",
                "namespace": "kube-system",
                "labels": { "kubernetes.io/service-name": "kube-dns" },
            },
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{ "addresses": [NODE_V4], "conditions": { "ready": true } }],
        },
    ] })
}
