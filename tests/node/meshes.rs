//! Pods of other meshes than Istio, as their injectors render them, with one annotation of conngate's: an application that
//! connects at once, by a name, is not refused, and its gate opens for what the pod itself says of its proxy.
//!
//! Their control planes and proxies cannot be built here. What stands for a proxy is a real Envoy at the mesh's ports, as the mesh's
//! user, behind the rules that the mesh installs; like theirs it is there from the beginning, and ready seconds later. Which
//! versions each pod is of is said in docs/meshes.md.

use anyhow::{Context, Result};
use conngate_testbed::{
    cluster::{
        PROXY,
        pod::{Container, Pod},
    },
    lab::envoy::dns,
};
use serde_json::{Value, json};

use crate::{
    application::MODE,
    install::installed,
    operate::inside,
    pods::{Namespace, container, is_ready},
    workload::assert_not_restarted,
};

/// Where CoreDNS answers: the node itself.
const NAMESERVER: &str = "192.0.2.2";

/// How long Envoy waits for listeners that never come before it serves those that it has.
const LATE: &str = "4s";

/// What a mesh makes of a pod.
struct Mesh {
    /// Its name, as `explain` says it.
    name: &'static str,
    annotations: Vec<(&'static str, &'static str)>,
    /// Installs the redirect, if there is one.
    init: Option<Container>,
    proxy: Container,
    /// Where the agent asks.
    ready_url: &'static str,
    /// What the application asks for in its first moment, and what it is told.
    asks: (&'static str, &'static str),
}

/// Outside of the cluster, by name; who answers says as whom.
const OUTSIDE: (&str, &str) = ("http://upstream.example/", "198.51.100.10:80\n");

/// How the real Envoy stands for the mesh's proxy.
struct Envoy {
    user: u32,
    /// Where the application's connections arrive.
    outbound: u16,
    /// Where its DNS queries arrive, if anywhere.
    dns: Option<u16>,
    /// Where they arrive over TCP, which the cluster's own nameserver answers.
    dns_over_tcp: Option<u16>,
    /// Where /ready is answered.
    ready: u16,
    /// Where the kubelet's TCP probe finds somebody.
    inbound: Option<u16>,
}

impl Envoy {
    /// The proxy's container of `name`, by the mesh's own `arguments`.
    fn container(&self, name: &str, arguments: &[&str]) -> Container {
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

/// A listener whose connections are `filter`'s.
fn listener(port: u16, filter: &Value) -> Value {
    json!({
        "name": port.to_string(),
        "address": address("0.0.0.0", port),
        "listener_filters": [{
            "name": "envoy.filters.listener.original_dst",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
            },
        }],
        "filter_chains": [{ "filters": [filter] }],
    })
}

/// An init container that installs `rules`, by the mesh's own `arguments`.
fn init(name: &str, arguments: &[&str], rules: &str) -> Container {
    let may = json!({ "capabilities": { "add": ["NET_ADMIN", "NET_RAW"] }, "runAsUser": 0 });
    let restore = format!("iptables-restore --noflush <<'RULES'\n{rules}RULES\n");
    Container::script(name, &restore).field("args", arguments).field("securityContext", may)
}

fn http_probe(path: &str, port: impl Into<Value>) -> Value {
    json!({ "httpGet": { "path": path, "port": port.into() }, "periodSeconds": 1, "failureThreshold": 60 })
}

/// app/kuma-injector and pkg/transparentproxy of github.com/kumahq/kuma: DNS over TCP is not redirected, and queries have conntrack zones
/// of their own.
fn kuma() -> Mesh {
    let envoy = Envoy { user: 5678, outbound: 15001, dns: Some(15053), dns_over_tcp: None, ready: 9902, inbound: None };
    let rules = "*nat\n\
        -N KUMA_MESH_OUTBOUND\n-N KUMA_MESH_OUTBOUND_REDIRECT\n\
        -A OUTPUT -p udp --dport 53 -m owner --uid-owner 5678 -j RETURN\n\
        -A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 15053\n\
        -A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND\n\
        -A KUMA_MESH_OUTBOUND -s 127.0.0.6/32 -o lo -j RETURN\n\
        -A KUMA_MESH_OUTBOUND -o lo -p tcp ! --dport 53 -m owner ! --uid-owner 5678 -j RETURN\n\
        -A KUMA_MESH_OUTBOUND -m owner --uid-owner 5678 -j RETURN\n\
        -A KUMA_MESH_OUTBOUND -p tcp --dport 53 -j RETURN\n\
        -A KUMA_MESH_OUTBOUND -d 127.0.0.1/32 -j RETURN\n\
        -A KUMA_MESH_OUTBOUND -j KUMA_MESH_OUTBOUND_REDIRECT\n\
        -A KUMA_MESH_OUTBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n\
        COMMIT\n*raw\n\
        -A PREROUTING -p udp --sport 53 -j CT --zone 1\n\
        -A OUTPUT -p udp --dport 53 -m owner --uid-owner 5678 -j CT --zone 1\n\
        -A OUTPUT -p udp --sport 15053 -m owner --uid-owner 5678 -j CT --zone 2\n\
        -A OUTPUT -p udp --dport 53 -j CT --zone 2\n\
        COMMIT\n";
    Mesh {
        name: "kuma",
        annotations: vec![
            ("kuma.io/sidecar-injected", "true"),
            ("kuma.io/sidecar-uid", "5678"),
            ("kuma.io/envoy-admin-port", "9901"),
            ("kuma.io/builtin-dns-port", "15053"),
            ("kuma.io/transparent-proxying-outbound-port", "15001"),
        ],
        init: Some(init("kuma-init", &["--config-file", "/tmp/transparent-proxy/config.yaml"], rules)),
        proxy: envoy
            .container("kuma-sidecar", &["run", "--log-level=info"])
            .field("readinessProbe", http_probe("/ready", 9902)),
        ready_url: "http://localhost:9902/ready",
        asks: OUTSIDE,
    }
}

/// control-plane/connect-inject of github.com/hashicorp/consul-k8s, sdk/iptables of github.com/hashicorp/consul: lookups by both protocols
/// are redirected, and the readiness probe tells of a TCP port only.
fn consul() -> Mesh {
    let envoy = Envoy {
        user: 5995,
        outbound: 15001,
        dns: Some(8600),
        dns_over_tcp: Some(8600),
        ready: 19000,
        inbound: Some(20000),
    };
    let rules = "*nat\n\
        -N CONSUL_PROXY_OUTPUT\n-N CONSUL_PROXY_REDIRECT\n-N CONSUL_DNS_REDIRECT\n\
        -A CONSUL_PROXY_REDIRECT -p tcp -j REDIRECT --to-port 15001\n\
        -A CONSUL_DNS_REDIRECT -p udp --dport 53 -j REDIRECT --to-port 8600\n\
        -A CONSUL_DNS_REDIRECT -p tcp --dport 53 -j REDIRECT --to-port 8600\n\
        -A OUTPUT -p udp -d 10.96.0.10/32 --dport 53 -j CONSUL_DNS_REDIRECT\n\
        -A OUTPUT -p tcp -d 10.96.0.10/32 --dport 53 -j CONSUL_DNS_REDIRECT\n\
        -A OUTPUT -p tcp -j CONSUL_PROXY_OUTPUT\n\
        -A CONSUL_PROXY_OUTPUT -m owner --uid-owner 5995 -j RETURN\n\
        -A CONSUL_PROXY_OUTPUT -m owner --uid-owner 5996 -j RETURN\n\
        -A CONSUL_PROXY_OUTPUT -d 127.0.0.1/32 -j RETURN\n\
        -A CONSUL_PROXY_OUTPUT -j CONSUL_PROXY_REDIRECT\n\
        COMMIT\n";
    let arguments = ["-addresses", "consul-server.consul.svc", "-grpc-port=8502", "-consul-dns-bind-port=8600"];
    Mesh {
        name: "consul",
        annotations: vec![
            ("consul.hashicorp.com/connect-inject-status", "injected"),
            ("consul.hashicorp.com/transparent-proxy-status", "enabled"),
        ],
        init: Some(init("consul-connect-inject-init", &["-consul-node-name=k8s-service-mesh"], rules)),
        proxy: envoy
            .container("consul-dataplane", &arguments)
            .field("readinessProbe", json!({ "tcpSocket": { "port": 20000 }, "periodSeconds": 1 })),
        ready_url: "http://localhost:19000/ready",
        asks: OUTSIDE,
    }
}

/// charts/partials and proxy-init of github.com/linkerd: names are looked up without the proxy, and its probe names a port.
fn linkerd() -> Mesh {
    let envoy = Envoy { user: 2102, outbound: 4140, dns: None, dns_over_tcp: None, ready: 4191, inbound: None };
    let rules = "*nat\n\
        -N PROXY_INIT_OUTPUT\n\
        -A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -j RETURN\n\
        -A PROXY_INIT_OUTPUT -o lo -j RETURN\n\
        -A PROXY_INIT_OUTPUT -p tcp -m multiport --dports 4567,4568 -j RETURN\n\
        -A PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-port 4140\n\
        -A OUTPUT -j PROXY_INIT_OUTPUT\n\
        COMMIT\n";
    let arguments = ["--incoming-proxy-port", "4143", "--outgoing-proxy-port", "4140", "--proxy-uid", "2102"];
    let ports = json!([
        { "containerPort": 4143, "name": "linkerd-proxy" },
        { "containerPort": 4191, "name": "linkerd-admin" },
    ]);
    Mesh {
        name: "linkerd",
        annotations: vec![("linkerd.io/inject", "enabled"), ("linkerd.io/proxy-version", "edge-26.8.3")],
        init: Some(init("linkerd-init", &arguments, rules)),
        proxy: envoy
            .container("linkerd-proxy", &[])
            .field("ports", ports)
            .field("readinessProbe", http_probe("/ready", "linkerd-admin")),
        ready_url: "http://localhost:4191/ready",
        asks: OUTSIDE,
    }
}

/// pkg/injector of github.com/dapr/dapr: called on loopback, without a redirect; ready is 204, and its own probe would wait for the
/// application.
fn dapr() -> Mesh {
    let daprd = r#"import socket, time
server, ready = socket.create_server(("127.0.0.1", 3500)), time.monotonic() + 4
while True:
    connection, _ = server.accept()
    with connection:
        path = connection.recv(4096).split(b" ")[1:2]
        late = time.monotonic() < ready
        status = "503 Late" if late else "204 Ready" if path == [b"/v1.0/healthz/outbound"] else "200 OK"
        body = "" if status[0] == "5" or status[:3] == "204" else "dapr\n"
        connection.sendall(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode())
"#;
    let arguments = ["--dapr-http-port", "3500", "--dapr-grpc-port", "50001", "--dapr-public-port", "3501"];
    Mesh {
        name: "dapr",
        annotations: vec![("dapr.io/enabled", "true"), ("dapr.io/app-id", "app")],
        init: None,
        proxy: Container::new("daprd", &["python3", "-c", daprd]).field("args", arguments.as_slice()),
        ready_url: "http://localhost:3500/v1.0/healthz/outbound",
        asks: ("http://127.0.0.1:3500/v1.0/metadata", "dapr\n"),
    }
}

/// A pod of the mesh in a namespace of its own: its application is not restarted, and its gate opens when its proxy says so.
fn assert_released(namespace: &'static str, mesh: Mesh, native: bool) -> Result<()> {
    let cluster = installed()?;
    let (namespace, path) = (Namespace::new(&cluster, namespace, false)?, format!("{namespace}/app"));
    let (asked, told) = mesh.asks;
    let script = format!("curl -sSf {asked} && exec sleep infinity; exit 1");
    let mut pod = namespace.pod("app").annotation(MODE, "hold").container(Container::script("app", &script));
    for (key, value) in mesh.annotations {
        pod = pod.annotation(key, value);
    }
    pod = mesh.init.into_iter().fold(pod, Pod::init_container);
    namespace.create(if native {
        pod.init_container(mesh.proxy.field("restartPolicy", "Always"))
    } else {
        pod.container(mesh.proxy)
    })?;
    namespace.wait("app", "is ready, and has asked", |pod| {
        is_ready(pod)
            && (container(pod, "app")["restartCount"] != 0
                || namespace.log("app", "app", false).is_ok_and(|said| !said.is_empty()))
    })?;
    assert_not_restarted(&cluster, &namespace, "app")?;
    assert_eq!(namespace.log("app", "app", false)?, told);
    let explained: Value = serde_json::from_str(&inside(&cluster, &["explain", &path, "-o", "json"])?)?;
    assert_eq!(
        (&explained["policy"]["proxy"], &explained["policy"]["ready_url"]),
        (&mesh.name.into(), &mesh.ready_url.into())
    );
    let events = inside(&cluster, &["events", "--pod", &path])?;
    let opened =
        events.lines().find(|line| line.contains("released (ready): held ")).with_context(|| events.clone())?;
    assert_eq!(opened.contains("held 0,"), native, "{events}");
    Ok(())
}

pub(crate) fn kumas_pod_is_held_by_name_until_its_own_probe_says_ready() -> Result<()> {
    assert_released("mesh-kuma", kuma(), false)
}

pub(crate) fn consuls_pod_is_held_by_name_until_envoys_admin_says_ready() -> Result<()> {
    assert_released("mesh-consul", consul(), false)
}

pub(crate) fn linkerds_pod_is_held_until_its_probes_named_port_says_ready() -> Result<()> {
    assert_released("mesh-linkerd", linkerd(), false)
}

/// Kubernetes starts the application after the probe has succeeded.
pub(crate) fn linkerds_native_sidecar_is_ready_before_anything_is_held() -> Result<()> {
    let mut mesh = linkerd();
    mesh.proxy = mesh.proxy.field("startupProbe", http_probe("/ready", "linkerd-admin"));
    assert_released("mesh-linkerd-native", mesh, true)
}

pub(crate) fn daprs_pod_is_held_on_loopback_until_it_answers_204() -> Result<()> {
    assert_released("mesh-dapr", dapr(), false)
}
