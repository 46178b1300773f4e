//! The configuration files of a node, below its /etc.
//!
//! Knows nothing of processes. JSON is written where YAML is read: it is YAML too.

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    build::{go, images::PAUSE},
    keys::{self, USERS, User},
    node::network::NODE_V4,
    place::Place,
};

/// The address of the Service of the cluster's DNS.
pub(super) const DNS_SERVICE: &str = "10.96.0.10";
/// Of the pods. One node has all of it.
pub(super) const POD_RANGE: &str = "10.244.0.0/24";
/// Of the services.
pub(super) const SERVICE_RANGE: &str = "10.96.0.0/16";

/// The manifests of static pods, a directory inside the node.
pub const STATIC_PODS: &str = "/etc/kubernetes/manifests";

/// Of an administrator, inside the node.
pub(super) const ADMIN: &str = "/etc/kubernetes/admin.conf";

/// The runtime whose pods' redirect is made by istio-cni, chained behind the other plug-ins.
const ISTIO_CNI: &str = "istio-cni";

/// Debian's CNI plug-ins.
const PLUGINS: &str = "/usr/lib/cni";

/// Writes all files of the node at `place`.
pub(super) fn write(place: &Place) -> Result<()> {
    let kubernetes = place.etc().join("kubernetes");
    let manifests = kubernetes.join("manifests");
    fs::create_dir_all(&manifests).with_context(|| format!("cannot make {}", manifests.display()))?;
    keys::write(&kubernetes)?;
    for user in USERS {
        save(&kubernetes.join(user.kubeconfig), &kubeconfig(user).to_string())?;
    }
    save(&kubernetes.join("kubelet.yaml"), &kubelet(&place.cgroup()).to_string())?;
    save(&kubernetes.join("resolv.conf"), &format!("nameserver {NODE_V4}\n"))?;
    save(&kubernetes.join("Corefile"), COREFILE)?;
    save(&place.etc().join("containerd/config.toml"), &containerd())?;
    let cni = place.etc().join("cni");
    save(&cni.join("net.d/00-conngate.conflist"), &self::cni(&[]).to_string())?;
    save(&cni.join(ISTIO_CNI).join("00-conngate.conflist"), &self::cni(&[istio_cni()]).to_string())?;
    save(&cni.join(ISTIO_CNI).join("istio-cni-kubeconfig"), &kubeconfig(USERS[0]).to_string())?;
    plugins(&cni.join("bin"))
}

/// Debian's plug-ins, and istio-cni where it is built.
fn plugins(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let debian = fs::read_dir(PLUGINS).with_context(|| format!("cannot list {PLUGINS}"))?;
    let paths = debian.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
    for path in paths.into_iter().chain([go::program(ISTIO_CNI)?]) {
        let name = path.file_name().context("a plug-in has a name")?;
        let link = directory.join(name);
        // Of an earlier cluster.
        let _ = fs::remove_file(&link);
        symlink(&path, link).with_context(|| format!("cannot link {}", path.display()))?;
    }
    Ok(())
}

fn save(path: &Path, content: &str) -> Result<()> {
    let directory = path.parent().context("a file is in a directory")?;
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(path, content));
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn kubeconfig(user: User) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "conngate", "cluster": {
            "server": format!("https://{NODE_V4}:6443"),
            "certificate-authority": "/etc/kubernetes/ca.crt",
        } }],
        "users": [{ "name": user.name, "user": { "token": user.name } }],
        "contexts": [{ "name": "conngate", "context": { "cluster": "conngate", "user": user.name } }],
        "current-context": "conngate",
    })
}

/// cgroup version 1 and swap are taken as they come, and a full disk is the machine's owner's affair.
fn kubelet(cgroup: &str) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": "/etc/kubernetes/ca.crt" },
        },
        "authorization": { "mode": "Webhook" },
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{cgroup}"),
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "evictionHard": {
            "memory.available": "50Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%",
        },
        "failCgroupV1": false,
        "failSwapOn": false,
        "imageGCHighThresholdPercent": 100,
        "oomScoreAdj": 0,
        "resolvConf": "/etc/kubernetes/resolv.conf",
        "serializeImagePulls": false,
        "staticPodPath": STATIC_PODS,
    })
}

/// Without CAP_SYS_RESOURCE runc may not lower an OOM score.
fn containerd() -> String {
    format!(
        r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/etc/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{ISTIO_CNI}]
    runtime_type = "io.containerd.runc.v2"
    cni_conf_dir = "/etc/cni/{ISTIO_CNI}"
    cni_max_conf_num = 1
"#
    )
}

/// The pods' network; `chained` plug-ins come last.
fn cni(chained: &[Value]) -> Value {
    let mut cni = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
                "ipam": {
                    "type": "host-local", "dataDir": "/run/cni",
                    "ranges": [[{ "subnet": POD_RANGE }]], "routes": [{ "dst": "0.0.0.0/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    if let Some(plugins) = cni["plugins"].as_array_mut() {
        plugins.extend_from_slice(chained);
    }
    cni
}

/// Of a sidecar mesh alone. Its kubeconfig is beside its configuration.
fn istio_cni() -> Value {
    let directory = format!("/etc/cni/{ISTIO_CNI}");
    json!({ "type": ISTIO_CNI, "cni_agent_run_dir": directory, "exclude_namespaces": [] })
}

/// The cluster's names, and one for the world outside.
const COREFILE: &str = r".:53 {
    errors
    ready :8181
    hosts {
        198.51.100.10 upstream.example
        fallthrough
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig /etc/kubernetes/admin.conf
        pods insecure
        ttl 5
    }
}
";
