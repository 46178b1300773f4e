//! The known proxies among a pod's containers, and what the pod itself says of them: where to ask, where connections arrive,
//! as whom they run.
//!
//! What a pod does not say is the mesh's default (`presets`); what it says and makes no sense counts as not said. Nothing of
//! the spec is kept but this.

use std::collections::BTreeMap;

use conngate_common::gate::NO_UID;
use serde::Deserialize;

use super::{
    object::{Container, HttpGet, PortOrName, Spec},
    pod::MAX_VALUE,
    ports::{self, Ports},
    presets::Proxy,
};
use crate::url::ReadyUrl;

/// The largest configuration in an annotation that is read, in bytes: Kuma's whole is some 2 kB.
const MAX_CONFIG: usize = 16 << 10;

/// Where consul-k8s is told of the services that are called on loopback, each at a port of its own.
pub(super) const CONSUL_UPSTREAMS: &str = "consul.hashicorp.com/connect-service-upstreams";

/// A known proxy beside a pod's application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Whose.
    pub proxy: Proxy,
    /// Whether Kubernetes starts it before the application (an init container that stays, KEP-753).
    pub native: bool,
    /// Who answers 2xx when it is usable.
    pub ready_url: ReadyUrl,
    /// Where connections and datagrams arrive; `None`: at more ports than a gate has room for.
    pub ports: Option<Ports>,
    /// The uid that the mesh's rules exempt.
    pub uid: Option<u32>,
}

type Annotations = BTreeMap<String, String>;

/// What a pod says of its proxy, where it says other than the preset or the same.
#[derive(Debug, Default)]
struct Said {
    /// Where connections are redirected, or called.
    outbound: Option<u16>,
    /// Where DNS is redirected; for Dapr, where its other protocol is called.
    second: Option<u16>,
    /// As whom it runs.
    uid: Option<u32>,
    /// The port that answers the preset's path.
    admin: Option<u16>,
    /// Where it is called on loopback besides.
    upstreams: Vec<u16>,
}

impl Sidecar {
    /// As the mesh has it by default.
    #[must_use]
    pub fn preset(proxy: Proxy) -> Self {
        Self::of(proxy, false, &Said::default(), None)
    }

    /// Every known one, in the order of [`Proxy::ALL`].
    pub(super) fn all(spec: &Spec, annotations: &Annotations) -> Vec<Self> {
        let found = |proxy: Proxy| {
            let is_it = |one: &&Container| proxy.runs_in(&one.name);
            // An init container of that name that does not stay is no proxy.
            let mut native = spec.init_containers.iter().flatten().filter(|one| stays(one));
            let native = native.find(is_it).map(|one| (one, true));
            let (container, native) =
                native.or_else(|| Some((spec.containers.iter().flatten().find(is_it)?, false)))?;
            let said = said(proxy, container, spec, annotations);
            let probe = Some(container).filter(|_| proxy.preset().probe_says_ready).and_then(probe);
            Some(Self::of(proxy, native, &said, probe))
        };
        Proxy::ALL.into_iter().filter_map(found).collect()
    }

    fn of(proxy: Proxy, native: bool, said: &Said, probe: Option<ReadyUrl>) -> Self {
        let preset = proxy.preset();
        let replaced = |ports: &[u16], with: [Option<u16>; 2]| {
            let all = ports.iter().zip(with.into_iter().chain(std::iter::repeat(None)));
            all.map(|(port, said)| said.unwrap_or(*port)).collect::<Vec<_>>()
        };
        let mut tcp = replaced(preset.tcp_ports, [said.outbound, said.second]);
        tcp.extend(&said.upstreams);
        let udp = replaced(preset.udp_ports, [said.second, None]);
        let (port, path) = preset.ready;
        let url = |port: u16| loopback(port, path).expect("a preset's path on loopback is a URL, says a test");
        Self {
            proxy,
            native,
            ready_url: probe.unwrap_or_else(|| url(said.admin.unwrap_or(port))),
            ports: ports::of(&tcp, &udp),
            uid: said.uid.or(preset.uid),
        }
    }
}

/// Whether an init container is a native sidecar (KEP-753).
pub(super) fn stays(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The URL that the kubelet asks for a container's start or, without such a probe, for its readiness: by HTTP, of the pod.
fn probe(container: &Container) -> Option<ReadyUrl> {
    let probes = [&container.startup_probe, &container.readiness_probe];
    let get = probes.into_iter().flatten().find_map(|probe| probe.http_get.as_ref())?;
    let HttpGet { host, scheme, path, port } = get;
    let of_the_pod = host.as_deref().unwrap_or_default().is_empty();
    if !of_the_pod || !matches!(scheme.as_deref(), None | Some("" | "HTTP")) {
        return None;
    }
    let number = match port.as_ref()? {
        PortOrName::Number(number) => *number,
        PortOrName::Name(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port);
            named.or_else(|| name.parse().ok())?
        }
    };
    loopback(u16::try_from(number).ok().filter(|port| *port != 0)?, path.as_deref().unwrap_or_default())
}

fn loopback(port: u16, path: &str) -> Option<ReadyUrl> {
    // The kubelet puts a slash where a path has none (pkg/probe/http/request.go, by way of net/url).
    let slash = if path.starts_with('/') { "" } else { "/" };
    if path.len() > MAX_VALUE { None } else { format!("http://localhost:{port}{slash}{path}").parse().ok() }
}

fn said(proxy: Proxy, container: &Container, spec: &Spec, annotations: &Annotations) -> Said {
    let init = |names: &[&str]| {
        let mut all = spec.init_containers.iter().flatten();
        all.find(|one| names.contains(&one.name.as_str()))
    };
    let annotation = |key: &str| annotations.get(key).map(String::as_str);
    let port = |key: &str| annotation(key).and_then(port);
    match proxy {
        // `istio-validation` proves istio-cni's redirect, and is told the same.
        Proxy::Istio => {
            let rules = init(&["istio-init", "istio-validation"]);
            Said {
                outbound: rules.and_then(|one| argument(one, &["-p", "--envoy-port"])).and_then(self::port),
                uid: rules.and_then(|one| argument(one, &["-u", "--proxy-uid"])).and_then(uid),
                ..Said::default()
            }
        }
        Proxy::Linkerd => {
            let rules = |name| init(&["linkerd-init"]).and_then(|one| argument(one, &[name]));
            Said {
                outbound: rules("--outgoing-proxy-port")
                    .and_then(self::port)
                    .or_else(|| port("config.linkerd.io/outbound-port")),
                uid: rules("--proxy-uid").or_else(|| annotation("config.linkerd.io/proxy-uid")).and_then(uid),
                admin: port("config.linkerd.io/admin-port"),
                ..Said::default()
            }
        }
        Proxy::Consul => {
            let config = annotation("consul.hashicorp.com/redirect-traffic-config").unwrap_or_default();
            let config = serde_json::from_str(sane(config)).unwrap_or_else(|_| ConsulRules::default());
            Said {
                outbound: config.outbound.and_then(number),
                second: config.dns.and_then(number),
                uid: config.user.as_deref().and_then(uid),
                admin: argument(container, &["-envoy-admin-bind-port", "--envoy-admin-bind-port"]).and_then(self::port),
                upstreams: annotation(CONSUL_UPSTREAMS).map(upstreams).unwrap_or_default(),
            }
        }
        Proxy::Kuma => {
            let config = annotation("traffic.kuma.io/transparent-proxy-config").unwrap_or_default();
            let config = serde_saphyr::from_str(sane(config)).unwrap_or_else(|_| KumaRules::default());
            let redirect = config.redirect;
            Said {
                outbound: redirect
                    .outbound
                    .port
                    .and_then(number)
                    .or_else(|| port("kuma.io/transparent-proxying-outbound-port")),
                second: redirect.dns.port.and_then(number).or_else(|| port("kuma.io/builtin-dns-port")),
                uid: annotation("kuma.io/sidecar-uid").or(config.user.as_deref()).and_then(uid),
                admin: port("kuma.io/envoy-admin-port"),
                ..Said::default()
            }
        }
        Proxy::Dapr => {
            let http = argument(container, &["--dapr-http-port", "-dapr-http-port"]).and_then(self::port);
            let grpc = argument(container, &["--dapr-grpc-port", "-dapr-grpc-port"]).and_then(self::port);
            Said { outbound: http, second: grpc, admin: http, ..Said::default() }
        }
        Proxy::Envoy => Said::default(),
    }
}

/// nftables.Config and iptables.Config of github.com/hashicorp/consul/sdk, as consul-k8s writes it for its CNI plugin.
#[derive(Debug, Default, Deserialize)]
struct ConsulRules {
    #[serde(rename = "ProxyOutboundPort")]
    outbound: Option<i64>,
    #[serde(rename = "ConsulDNSPort")]
    dns: Option<i64>,
    #[serde(rename = "ProxyUserID")]
    user: Option<String>,
}

/// pkg/transparentproxy/config of github.com/kumahq/kuma, as its injector writes it for its CNI plugin.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KumaRules {
    #[serde(rename = "kumaDPUser")]
    user: Option<String>,
    redirect: KumaRedirect,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KumaRedirect {
    outbound: KumaPort,
    dns: KumaPort,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KumaPort {
    port: Option<i64>,
}

/// The ports of `SERVICE:PORT[:DATACENTER]` and `prepared_query:NAME:PORT`, separated by commas
/// (control-plane/connect-inject/common/annotation_processor.go in consul-k8s).
fn upstreams(text: &str) -> Vec<u16> {
    let port = |one: &str| one.trim().trim_start_matches("prepared_query:").split(':').nth(1).and_then(port);
    sane(text).split(',').filter_map(port).collect()
}

/// A configuration that is small enough to be read.
fn sane(config: &str) -> &str {
    if config.len() > MAX_CONFIG { "" } else { config }
}

/// What follows one of `names`, as a word of its own or behind `=`.
fn argument<'a>(container: &'a Container, names: &[&str]) -> Option<&'a str> {
    let mut words = container.args.iter().flatten().map(String::as_str);
    while let Some(word) = words.next() {
        match word.split_once('=') {
            Some((name, value)) if names.contains(&name) => return Some(value),
            None if names.contains(&word) => return words.next(),
            _ => {}
        }
    }
    None
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().and_then(number)
}

fn number(port: i64) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// The first of a list of uids.
fn uid(text: &str) -> Option<u32> {
    text.split(',').next()?.trim().parse().ok().filter(|uid| *uid != NO_UID)
}

#[cfg(test)]
mod tests;
