//! What stands for a mesh in its pods: a real Envoy in place of its proxy, and the rules that lead connections there.
//!
//! Knows nothing of which mesh. Like a mesh's proxy it is there from the beginning, and ready seconds later.

use conngate_testbed::{
    cluster::{PROXY, pod::Container},
    lab::envoy::dns,
};
use serde_json::{Value, json};

/// Where CoreDNS answers: the node itself.
const NAMESERVER: &str = "192.0.2.2";

/// How long Envoy waits for listeners that never come before it serves those that it has.
const LATE: &str = "4s";

/// How the real Envoy stands for the mesh's proxy.
pub(crate) struct Envoy {
    pub(crate) user: u32,
    /// Where the application's connections arrive.
    pub(crate) outbound: u16,
    /// Where its DNS queries arrive, if anywhere.
    pub(crate) dns: Option<u16>,
    /// Where they arrive over TCP, which the cluster's own nameserver answers.
    pub(crate) dns_over_tcp: Option<u16>,
    /// Where /ready is answered.
    pub(crate) ready: u16,
    /// Where the kubelet's TCP probe finds somebody.
    pub(crate) inbound: Option<u16>,
}

impl Envoy {
    /// The proxy's container of `name`, by the mesh's own `arguments`.
    pub(crate) fn container(&self, name: &str, arguments: &[&str]) -> Container {
        let start = "exec envoy --concurrency 1 --use-dynamic-base-id --log-level warn --config-yaml \"$ENVOY\"";
        let environment = [("ENVOY", &*self.bootstrap().to_string())];
        let container = Container::script(name, start).image(PROXY).env(&environment).user(self.user);
        container.field("args", arguments)
    }

    fn bootstrap(&self) -> Value {
        let to = |cluster: &str| {
            json!({
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "stat_prefix": cluster,
                    "cluster": cluster,
                },
            })
        };
        let arrived = json!({
            "name": "envoy.filters.network.echo",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo" },
        });
        let listeners = [
            Some(listener(self.outbound, &to("onward"))),
            // Those of a probe go no further.
            self.inbound.map(|port| listener(port, &arrived)),
            self.dns_over_tcp.map(|port| listener(port, &to("nameserver"))),
            self.dns.map(|port| dns(port, "upstream.example", "198.51.100.10")),
        ];
        let listeners: Vec<_> = listeners.into_iter().flatten().collect();
        json!({
            "node": { "id": "stand-in", "cluster": "stand-in" },
            "admin": { "address": address("0.0.0.0", self.ready) },
            "dynamic_resources": { "lds_config": {
                "resource_api_version": "V3",
                "initial_fetch_timeout": LATE,
                "api_config_source": {
                    "api_type": "REST",
                    "transport_api_version": "V3",
                    "cluster_names": ["nobody"],
                    "refresh_delay": "86400s",
                },
            }},
            "static_resources": { "listeners": listeners, "clusters": [
                fixed("nobody", "127.0.0.1", 1),
                fixed("nameserver", NAMESERVER, 53),
                { "name": "onward", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED" },
            ]},
        })
    }
}

fn address(ip: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": ip, "port_value": port } })
}

/// A cluster of one address.
fn fixed(name: &str, ip: &str, port: u16) -> Value {
    let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address(ip, port) } }] }]);
    json!({ "name": name, "type": "STATIC", "load_assignment": { "cluster_name": name, "endpoints": endpoints } })
}

/// A listener in both families whose connections are `filter`'s.
fn listener(port: u16, filter: &Value) -> Value {
    json!({
        "name": port.to_string(),
        "address": address("0.0.0.0", port),
        "additional_addresses": [{ "address": address("::", port) }],
        "listener_filters": [{
            "name": "envoy.filters.listener.original_dst",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
            },
        }],
        "filter_chains": [{ "filters": [filter] }],
    })
}

/// Whose rules lead connections to the proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rules {
    /// Those of iptables and ip6tables, as meshes install them.
    IpTables,
    /// What iptables' own translator makes of them for nft. It has no word for conntrack zones, which Kuma has for its DNS.
    NfTables,
}

impl Rules {
    /// An init container called `name` that installs `rules` for both families, by the mesh's own `arguments`.
    pub(crate) fn init(self, name: &str, arguments: &[&str], rules: &str) -> Container {
        let may = json!({ "capabilities": { "add": ["NET_ADMIN", "NET_RAW"] }, "runAsUser": 0 });
        let install = match self {
            Self::IpTables => "install() { ${1}tables-restore --noflush; }",
            Self::NfTables => {
                "set -o pipefail; install() {
                    nft \"add table $1 nat; add chain $1 nat OUTPUT { type nat hook output priority -100; }\"
                    ${1}tables-restore-translate -f /dev/stdin | nft -f -
                }"
            }
        };
        let script = format!(
            "set -e; {install}\ninstall ip <<'RULES'\n{rules}RULES\ninstall ip6 <<'RULES'\n{}RULES\n",
            v6(rules)
        );
        Container::script(name, &script).field("args", arguments).field("securityContext", may)
    }
}

/// The `rules` as they are for IPv6, where the cluster has no nameserver.
fn v6(rules: &str) -> String {
    let rules = rules.replace("127.0.0.1/32", "::1/128").replace("127.0.0.6/32", "::6/128");
    rules.split_inclusive('\n').filter(|rule| !rule.contains("10.96.0.10")).collect()
}
