//! Keys and certificates of one cluster, and who its users are.
//!
//! Knows nothing of who uses them. Made anew for every cluster; nothing of them is secret from who can read target/.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::node::{init::NODE, network::NODE_V4};

/// The address of the Service `kubernetes`: the first of the service range.
pub(super) const API_SERVICE: &str = "10.96.0.1";

/// A user of the API server: a bearer token of the same name, and the groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: &'static str,
    group: &'static str,
    /// The file below /etc/kubernetes with its kubeconfig.
    pub(super) kubeconfig: &'static str,
}

/// For a user who has rights by name: what the API server adds itself.
const NOBODYS: &str = "system:authenticated";

/// Everybody who talks to the API server from outside of a pod. What they may do is Kubernetes' own bootstrap policy.
pub(super) const USERS: [User; 5] = [
    User { name: "admin", group: "system:masters", kubeconfig: "admin.conf" },
    User { name: "system:kube-controller-manager", group: NOBODYS, kubeconfig: "controller-manager.conf" },
    User { name: "system:kube-scheduler", group: NOBODYS, kubeconfig: "scheduler.conf" },
    User { name: "system:kube-proxy", group: NOBODYS, kubeconfig: "proxy.conf" },
    User { name: "system:node:conngate-node", group: "system:nodes", kubeconfig: "kubelet.conf" },
];

/// Writes all of them to `directory`, for /etc/kubernetes.
pub(super) fn write(directory: &Path) -> Result<()> {
    let save = |name: &str, content: &str| {
        let path = directory.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    };
    let authority_key = KeyPair::generate()?;
    let authority = authority()?;
    save("ca.crt", &authority.self_signed(&authority_key)?.pem())?;
    save("ca.key", &authority_key.serialize_pem())?;
    let issuer = Issuer::new(authority, authority_key);

    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let addresses = [NODE_V4, API_SERVICE, "127.0.0.1"];
    let mut server =
        CertificateParams::new(names.iter().chain(&addresses).map(|&name| name.to_owned()).collect::<Vec<_>>())?;
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // To the kubelet the API server is a client, with the rights of an administrator.
    let mut client = CertificateParams::new(Vec::new())?;
    client.distinguished_name.push(DnType::CommonName, "kube-apiserver-kubelet-client");
    client.distinguished_name.push(DnType::OrganizationName, "system:masters");
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    // Not in use until a test tells the kubelet so: a kubelet signs its own certificate.
    let mut kubelet = CertificateParams::new([NODE, NODE_V4].map(str::to_owned))?;
    kubelet.distinguished_name.push(DnType::CommonName, format!("system:node:{NODE}"));
    kubelet.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for (name, params) in [("apiserver", server), ("kubelet-client", client), ("kubelet", kubelet)] {
        let key = KeyPair::generate()?;
        save(&format!("{name}.crt"), &params.signed_by(&key, &issuer)?.pem())?;
        save(&format!("{name}.key"), &key.serialize_pem())?;
    }

    let service_accounts = KeyPair::generate()?;
    save("sa.key", &service_accounts.serialize_pem())?;
    save("sa.pub", &service_accounts.public_key_pem())?;
    save("tokens.csv", &tokens())
}

/// What a token file is: token, user, user id, groups.
fn tokens() -> String {
    USERS.map(|User { name, group, .. }| [name, name, name, group].join(",") + "\n").concat()
}

fn authority() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, format!("certificate authority of {NODE}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}
