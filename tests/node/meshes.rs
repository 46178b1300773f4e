//! Pods of other meshes than Istio, as their injectors render them, with one annotation of conngate's: an application that
//! connects at once, by a name, is not refused, and its gate opens for what the pod itself says of its proxy.
//!
//! Their control planes and proxies cannot be built here. What stands for a proxy is a real Envoy at the mesh's ports, as the mesh's
//! user, behind the rules that the mesh installs for both families. Which versions each pod is of is said in docs/meshes.md.

use anyhow::{Context, Result};
use conngate_testbed::cluster::pod::{Container, Pod};
use serde_json::{Value, json};

use crate::{
    application::MODE,
    families::{self, WEB_V6},
    install::installed,
    operate::inside,
    pods::{Namespace, container, is_ready},
    stand_in::{Envoy, Rules},
    workload::assert_not_restarted,
};

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

fn http_probe(path: &str, port: impl Into<Value>) -> Value {
    json!({ "httpGet": { "path": path, "port": port.into() }, "periodSeconds": 1, "failureThreshold": 60 })
}

/// app/kuma-injector and pkg/transparentproxy of github.com/kumahq/kuma: DNS over TCP is not redirected, and queries have conntrack zones
/// of their own.
fn kuma(installs: Rules) -> Mesh {
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
        init: Some(installs.init("kuma-init", &["--config-file", "/tmp/transparent-proxy/config.yaml"], rules)),
        proxy: envoy
            .container("kuma-sidecar", &["run", "--log-level=info"])
            .field("readinessProbe", http_probe("/ready", 9902)),
        ready_url: "http://localhost:9902/ready",
        asks: OUTSIDE,
    }
}

/// control-plane/connect-inject of github.com/hashicorp/consul-k8s, sdk/iptables of github.com/hashicorp/consul: lookups by both protocols
/// are redirected, and the readiness probe tells of a TCP port only.
fn consul(installs: Rules) -> Mesh {
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
        init: Some(installs.init("consul-connect-inject-init", &["-consul-node-name=k8s-service-mesh"], rules)),
        proxy: envoy
            .container("consul-dataplane", &arguments)
            .field("readinessProbe", json!({ "tcpSocket": { "port": 20000 }, "periodSeconds": 1 })),
        ready_url: "http://localhost:19000/ready",
        asks: OUTSIDE,
    }
}

/// charts/partials and proxy-init of github.com/linkerd: names are looked up without the proxy, and its probe names a port.
fn linkerd(installs: Rules) -> Mesh {
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
        init: Some(installs.init("linkerd-init", &arguments, rules)),
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

/// Pods of meshes in a namespace of their own: no application is restarted, and each gate opens when the pod's proxy says so. Behind a
/// redirect an application asks by IPv6 at the same time. `native`: proxies are native sidecars.
fn assert_released<const N: usize>(namespace: &'static str, meshes: [Mesh; N], native: bool) -> Result<()> {
    let cluster = installed()?;
    families::route(&cluster)?;
    let namespace = Namespace::new(&cluster, namespace, false)?;
    let mut released = Vec::new();
    for mesh in meshes {
        let (asked, told) = mesh.asks;
        let (script, told) = match mesh.init {
            None => (format!("curl -sSf {asked} && exec sleep infinity; exit 1"), told.to_owned()),
            Some(_) => {
                let v6 = format!("curl -sSfg -o /tmp/v6 http://{WEB_V6}/ & v6=$!");
                let v4 = format!("curl -sSf {asked} && wait $v6 && cat /tmp/v6 && exec sleep infinity; exit 1");
                (format!("{v6}; {v4}"), format!("{told}{WEB_V6}\n"))
            }
        };
        let mut pod = namespace.pod(mesh.name).annotation(MODE, "hold").container(Container::script("app", &script));
        for (key, value) in mesh.annotations {
            pod = pod.annotation(key, value);
        }
        pod = mesh.init.map(|init| [families::address(), init]).into_iter().flatten().fold(pod, Pod::init_container);
        namespace.create(if native {
            pod.init_container(mesh.proxy.field("restartPolicy", "Always"))
        } else {
            pod.container(mesh.proxy)
        })?;
        released.push((mesh.name, mesh.ready_url, told));
    }
    for (name, ready_url, told) in released {
        namespace.wait(name, "is ready, and has asked", |pod| {
            is_ready(pod)
                && (container(pod, "app")["restartCount"] != 0
                    || namespace.log(name, "app", false).is_ok_and(|said| said.len() >= told.len()))
        })?;
        assert_not_restarted(&cluster, &namespace, name)?;
        assert_eq!(namespace.log(name, "app", false)?, told);
        let path = namespace.path(name);
        let explained: Value = serde_json::from_str(&inside(&cluster, &["explain", &path, "-o", "json"])?)?;
        assert_eq!(
            (&explained["policy"]["proxy"], &explained["policy"]["ready_url"]),
            (&name.into(), &ready_url.into())
        );
        let events = inside(&cluster, &["events", "--pod", &path])?;
        let opened =
            events.lines().find(|line| line.contains("released (ready): held ")).with_context(|| events.clone())?;
        assert_eq!(opened.contains("held 0,"), native, "{events}");
    }
    Ok(())
}

pub(crate) fn kumas_pod_is_held_by_name_until_its_own_probe_says_ready() -> Result<()> {
    assert_released("mesh-kuma", [kuma(Rules::IpTables)], false)
}

pub(crate) fn consuls_pod_is_held_by_name_until_envoys_admin_says_ready() -> Result<()> {
    assert_released("mesh-consul", [consul(Rules::IpTables)], false)
}

pub(crate) fn linkerds_pod_is_held_until_its_probes_named_port_says_ready() -> Result<()> {
    assert_released("mesh-linkerd", [linkerd(Rules::IpTables)], false)
}

pub(crate) fn pods_behind_rules_of_nf_tables_are_held_until_each_is_ready() -> Result<()> {
    assert_released("mesh-nft", [kuma, consul, linkerd].map(|mesh| mesh(Rules::NfTables)), false)
}

/// Kubernetes starts the application after the probe has succeeded.
pub(crate) fn linkerds_native_sidecar_is_ready_before_anything_is_held() -> Result<()> {
    let mut mesh = linkerd(Rules::IpTables);
    mesh.proxy = mesh.proxy.field("startupProbe", http_probe("/ready", "linkerd-admin"));
    assert_released("mesh-linkerd-native", [mesh], true)
}

pub(crate) fn daprs_pod_is_held_on_loopback_until_it_answers_204() -> Result<()> {
    assert_released("mesh-dapr", [dapr()], false)
}
