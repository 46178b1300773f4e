//! The processes of a node, and what they are told.
//!
//! Knows nothing of when they are started. Where a flag says what Kubernetes does anyway, it is not given.

use anyhow::{Context, Result};

use super::{
    build::go,
    configuration::{POD_RANGE, SERVICE_RANGE},
    node::{init::NODE, network::NODE_V4},
};

/// The components that can be stopped, started, paused and resumed, in the order in which they start.
pub const NAMES: [&str; 8] = [
    "etcd",
    "containerd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "coredns",
];

/// What Debian brings; the others are built.
const DEBIAN: [&str; 2] = ["etcd", "containerd"];

/// The command that is the component `name`.
pub(super) fn command(name: &str) -> Result<Vec<String>> {
    let name = *NAMES.iter().find(|known| **known == name).with_context(|| unknown(name))?;
    let program = if DEBIAN.contains(&name) { name.to_owned() } else { go::program(name)?.display().to_string() };
    Ok([program].into_iter().chain(arguments(name)).collect())
}

fn unknown(name: &str) -> String {
    format!("no component is called {name}; there are {}", NAMES.join(", "))
}

fn arguments(name: &str) -> Vec<String> {
    let words = match name {
        "etcd" => "--data-dir=/run/etcd --log-level=warn".to_owned(),
        "containerd" => "--config=/etc/containerd/config.toml".to_owned(),
        "kube-apiserver" => format!(
            "--advertise-address={NODE_V4} --allow-privileged --authorization-mode=Node,RBAC \
             --client-ca-file=/etc/kubernetes/ca.crt --enable-admission-plugins=NodeRestriction \
             --etcd-servers=http://127.0.0.1:2379 \
             --kubelet-client-certificate=/etc/kubernetes/kubelet-client.crt \
             --kubelet-client-key=/etc/kubernetes/kubelet-client.key \
             --kubelet-preferred-address-types=InternalIP \
             --service-account-issuer=https://kubernetes.default.svc.cluster.local \
             --service-account-key-file=/etc/kubernetes/sa.pub \
             --service-account-signing-key-file=/etc/kubernetes/sa.key \
             --service-cluster-ip-range={SERVICE_RANGE} \
             --tls-cert-file=/etc/kubernetes/apiserver.crt --tls-private-key-file=/etc/kubernetes/apiserver.key \
             --token-auth-file=/etc/kubernetes/tokens.csv"
        ),
        "kube-controller-manager" => "--kubeconfig=/etc/kubernetes/controller-manager.conf --leader-elect=false \
             --cluster-signing-cert-file=/etc/kubernetes/ca.crt --cluster-signing-key-file=/etc/kubernetes/ca.key \
             --root-ca-file=/etc/kubernetes/ca.crt --service-account-private-key-file=/etc/kubernetes/sa.key \
             --use-service-account-credentials"
            .to_owned(),
        "kube-scheduler" => "--kubeconfig=/etc/kubernetes/scheduler.conf --leader-elect=false".to_owned(),
        // The conntrack limits are the machine's, and cannot be written from a namespace.
        "kube-proxy" => format!(
            "--kubeconfig=/etc/kubernetes/proxy.conf --hostname-override={NODE} --cluster-cidr={POD_RANGE} \
             --conntrack-max-per-core=0 --conntrack-min=0 \
             --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0"
        ),
        "kubelet" => format!(
            "--kubeconfig=/etc/kubernetes/kubelet.conf --config=/etc/kubernetes/kubelet.yaml \
             --hostname-override={NODE} --node-ip={NODE_V4}"
        ),
        _ => "-conf=/etc/kubernetes/Corefile".to_owned(),
    };
    words.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_unknown_component_names_those_that_there_are() {
        let error = command("dockerd").unwrap_err().to_string();
        assert!(error.contains("dockerd") && error.contains("kube-apiserver"), "{error}");
    }

    #[test]
    fn command_every_component_is_its_program() {
        for name in NAMES {
            let command = command(name).unwrap();
            assert_eq!(command[0].rsplit('/').next(), Some(name));
            assert!(command.len() > 1, "{command:?}");
        }
    }
}
