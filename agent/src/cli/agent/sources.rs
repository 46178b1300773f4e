//! The options that say where pods come from.
//!
//! Knows nothing of how a source works. A certificate that nobody checks is never the default: without a way to trust the
//! kubelet it is not asked.

use std::{net::IpAddr, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use hyper::Uri;

use crate::{
    errors::error_chain,
    hand,
    pods::source::{self, Config, Kind, kubelet::KubeletConfig, kubelet_trust::Trust},
};

/// The kubelet's port (KubeletConfiguration v1beta1, `port`).
const KUBELET_PORT: u16 = 10250;

/// Where pods come from.
#[derive(Args, Clone, Debug)]
pub struct SourceOptions {
    /// The source of pods.
    #[arg(long, value_enum, default_value_t = Kind::Auto)]
    pub pod_source: Kind,
    /// This node's address, where the kubelet is.
    #[arg(long, value_name = "IP", env = "HOST_IP", hide_env_values = true)]
    pub host_ip: Option<IpAddr>,
    /// The kubelet's URL, if not https://HOST_IP:10250.
    #[arg(long, value_name = "URL", env = "KUBELET_URL", hide_env_values = true)]
    pub kubelet_url: Option<Uri>,
    /// Trust a kubelet with a certificate signed by one of these CAs (PEM).
    #[arg(long, value_name = "FILE", group = "trust")]
    pub kubelet_ca: Option<PathBuf>,
    /// Trust the kubelet with exactly this certificate (PEM), such as /var/lib/kubelet/pki/kubelet.crt.
    #[arg(long, value_name = "FILE", group = "trust")]
    pub kubelet_certificate: Option<PathBuf>,
    /// Do not check the kubelet's certificate; only on loopback or at HOST_IP.
    #[arg(long, group = "trust")]
    pub kubelet_insecure: bool,
    /// The service account's token, for the kubelet.
    #[arg(long, value_name = "FILE", default_value = "/var/run/secrets/kubernetes.io/serviceaccount/token")]
    pub token_file: PathBuf,
    /// Manifest or directory of manifests (YAML or JSON), for --pod-source file.
    #[arg(long, value_name = "PATH")]
    pub pod_manifests: Option<PathBuf>,
}

impl SourceOptions {
    /// The sources' configuration; `namespaces`: what they say is needed, `api`: so is the API server for something else.
    ///
    /// # Errors
    /// When there is no way to the API server although there must be one, or the kubelet is wanted and not trusted.
    pub async fn config(self, node_name: Option<String>, namespaces: bool, api: bool) -> anyhow::Result<Config> {
        let kubelet = self.kubelet()?;
        let kind = match (self.pod_source, &kubelet) {
            (Kind::Kubelet, None) => {
                bail!("--pod-source kubelet needs --kubelet-ca, --kubelet-certificate or --kubelet-insecure")
            }
            (Kind::Auto, None) => {
                tracing::info!(
                    "the kubelet is not used: there is no --kubelet-ca, --kubelet-certificate or --kubelet-insecure"
                );
                Kind::Apiserver
            }
            (kind, _) => kind,
        };
        let runtime = hand::event_loop("sources").context("no thread for the sources")?;
        // A client works where it was made.
        let client = runtime.spawn(source::client()).await.context("the API server's configuration")?;
        let client = match (client, kind) {
            (Ok(client), _) => Some(client),
            (Err(error), Kind::Kubelet | Kind::File) if !namespaces && !api => {
                tracing::info!(error = error_chain(&error), "no Kubernetes Events");
                None
            }
            (Err(error), _) => return Err(error.into()),
        };
        Ok(Config { runtime, kind, node_name, client, kubelet, manifests: self.pod_manifests, namespaces })
    }

    fn kubelet(&self) -> anyhow::Result<Option<KubeletConfig>> {
        let trust = match (&self.kubelet_ca, &self.kubelet_certificate) {
            (Some(ca), _) => Trust::Ca(ca.clone()),
            (_, Some(certificate)) => Trust::Pinned(certificate.clone()),
            _ if self.kubelet_insecure => Trust::Unverified,
            _ => return Ok(None),
        };
        let url = match (&self.kubelet_url, self.host_ip) {
            (Some(url), _) => url.clone(),
            (None, Some(IpAddr::V6(ip))) => format!("https://[{ip}]:{KUBELET_PORT}").parse()?,
            (None, Some(IpAddr::V4(ip))) => format!("https://{ip}:{KUBELET_PORT}").parse()?,
            (None, None) => "https://127.0.0.1:10250".parse().context("the kubelet's own URL")?,
        };
        let node_addresses = self.host_ip.into_iter().collect();
        Ok(Some(KubeletConfig { url, trust, token_file: self.token_file.clone(), node_addresses }))
    }
}
