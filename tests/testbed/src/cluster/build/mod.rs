//! What a cluster consists of, built once below target/cluster.
//!
//! Knows nothing of how it is run.

mod conngate;
pub(super) mod go;
pub(super) mod images;
mod stamp;
mod userland;

use std::path::PathBuf;

use anyhow::Result;

use self::go::Programs;

/// The version that the API server reports comes from the linker; everybody else asks for it there.
const KUBERNETES: Programs = Programs {
    module: "kubernetes",
    packages: &[
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-proxy",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes/cmd/kubectl",
        "k8s.io/kubernetes/cmd/kubelet",
    ],
    takes: "5 min",
    version: Some(("k8s.io/component-base/version.gitVersion", "k8s.io/kubernetes")),
};

const DNS: Programs =
    Programs { module: ADDONS, packages: &["conngate.io/cluster/addons/coredns"], takes: "1 min", version: None };

const HELM: Programs =
    Programs { module: ADDONS, packages: &["helm.sh/helm/v3/cmd/helm"], takes: "1 min", version: None };

const ISTIO: Programs = Programs {
    module: ADDONS,
    packages: &[
        "istio.io/istio/cni/cmd/istio-cni",
        "istio.io/istio/istioctl/cmd/istioctl",
        "istio.io/istio/pilot/cmd/pilot-agent",
        "istio.io/istio/pilot/cmd/pilot-discovery",
    ],
    takes: "4 min",
    version: None,
};

/// The module of everything that is not Kubernetes itself.
const ADDONS: &str = "addons";

/// What a cluster has beyond Kubernetes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Istio: its programs and its images.
    pub mesh: bool,
    /// The image of conngate.
    pub conngate: bool,
}

/// What was built.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// Docker archives to import into the node.
    pub images: Vec<PathBuf>,
}

/// Builds a node, and what `options` ask for. Quick when nothing has changed.
pub fn build(options: Options) -> Result<Binaries> {
    KUBERNETES.build()?;
    DNS.build()?;
    let (userland, digest) = userland::build()?;
    let mut images = vec![images::app(&userland, &digest)?];
    if options.mesh {
        let programs = ISTIO.build()?;
        images.push(images::mesh(&userland, &digest.digest(&programs))?);
    }
    if options.conngate {
        images.push(images::conngate()?);
    }
    Ok(Binaries { images })
}

/// Builds Helm; its path.
pub fn helm() -> Result<PathBuf> {
    HELM.build()?;
    go::program("helm")
}

/// Builds Kubernetes; the path of its kubectl.
pub fn kubectl() -> Result<PathBuf> {
    KUBERNETES.build()?;
    go::program("kubectl")
}
