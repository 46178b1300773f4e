//! What is found in pods as each injector renders them. The fixtures have the parts that matter, in the injectors' own words.

use conngate_common::gate::CapturePorts;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::pods::{
    pod::Pod,
    testing::{json_pod, parsed, uid},
};

/// A pod with these annotations, init containers and containers beside `app`.
fn pod(annotations: Value, init: Value, containers: Value) -> Pod {
    let mut json = json_pod("shop", "web", &uid(1));
    json["metadata"]["annotations"] = annotations;
    json["spec"]["initContainers"] = init;
    let mut all = vec![json!({"name": "app"})];
    all.extend(containers.as_array().cloned().unwrap_or_default());
    json["spec"]["containers"] = all.into();
    parsed(json)
}

fn only(pod: &Pod) -> &Sidecar {
    let [one] = &pod.sidecars[..] else { panic!("{:?}", pod.sidecars) };
    one
}

fn get(path: &str, port: impl Into<Value>) -> Value {
    json!({"httpGet": {"path": path, "port": port.into(), "scheme": "HTTP"}, "periodSeconds": 1})
}

/// URL, native, ports and uid.
fn told(one: &Sidecar) -> (String, bool, Vec<u16>, Vec<u16>, Option<u32>) {
    let ports = |ports: &CapturePorts| ports.0.into_iter().filter(|port| *port != 0).collect();
    let Ports { tcp, udp } = one.ports.as_ref().expect("they fit");
    (one.ready_url.to_string(), one.native, ports(tcp), ports(udp), one.uid)
}

/// injection-template.yaml, 1.32-dev: istio-init's arguments begin alike in all versions since 1.1.
fn istio_init(port: &str, uid: &str) -> Value {
    json!([{"name": "istio-init", "args": ["istio-iptables", "-p", port, "-z", "15006", "-u", uid, "-m", "REDIRECT", "-i", "*"]}])
}

fn istio_proxy() -> Value {
    let probe = get("/healthz/ready", 15021);
    json!({
        "name": "istio-proxy", "args": ["proxy", "sidecar", "--domain", "$(POD_NAMESPACE).svc.cluster.local"],
        "ports": [{"containerPort": 15090, "protocol": "TCP", "name": "http-envoy-prom"}],
        "startupProbe": probe, "readinessProbe": probe,
    })
}

#[test]
fn istio_is_asked_where_its_own_probe_is_on_both_loopbacks() {
    let pod = pod(json!({}), istio_init("15001", "1337"), json!([istio_proxy()]));
    let one = only(&pod);
    assert_eq!(one.proxy, Proxy::Istio);
    let url = "http://localhost:15021/healthz/ready".to_owned();
    assert_eq!(told(one), (url, false, vec![15001, 15053], vec![15053], Some(1337)));
    assert_eq!(one.ready_url.addresses().len(), 2);
    assert_eq!(*one, Sidecar::preset(Proxy::Istio), "the preset is what a default installation says");
}

#[test]
fn istio_of_another_port_and_user_is_as_its_init_container_says() {
    // meshConfig.proxyListenPort, and OpenShift's uid from the namespace's range.
    let init = istio_init("16001", "1000730001");
    assert_eq!(told(only(&pod(json!({}), init, json!([istio_proxy()])))).2, [16001, 15053]);
    // istio-cni: the validation has the same arguments.
    let mut init = istio_init("16001", "1000730001");
    init[0]["name"] = "istio-validation".into();
    let pod = pod(json!({}), init, json!([istio_proxy()]));
    let (_, _, tcp, _, uid) = told(only(&pod));
    assert_eq!((tcp, uid), (vec![16001, 15053], Some(1_000_730_001)));
}

#[test]
fn native_sidecar_is_found_among_init_containers_and_only_where_it_stays() {
    let mut proxy = istio_proxy();
    proxy["restartPolicy"] = "Always".into();
    let native = pod(json!({}), json!([proxy]), json!([]));
    assert!(only(&native).native);
    assert_eq!(told(only(&native)).0, "http://localhost:15021/healthz/ready");
    assert!(pod(json!({}), json!([istio_proxy()]), json!([])).sidecars.is_empty(), "it ends before the application");
}

#[test]
fn sidecar_without_a_probe_is_asked_where_the_mesh_has_it_by_default() {
    // status.sidecar.istio.io/port: "0" leaves the probes out.
    let pod = pod(json!({}), Value::Null, json!([{"name": "istio-proxy"}]));
    assert_eq!(*only(&pod), Sidecar::preset(Proxy::Istio));
}

/// _proxy.tpl of edge-26.8: the probe calls the port by number, its own port has a name.
fn linkerd_proxy(port: u16) -> Value {
    json!({
        "name": "linkerd-proxy", "readinessProbe": get("/ready", "linkerd-admin"), "livenessProbe": get("/live", port),
        "ports": [{"containerPort": 4143, "name": "linkerd-proxy"}, {"containerPort": port, "name": "linkerd-admin"}],
    })
}

#[test]
fn linkerd_is_as_its_probe_its_annotations_and_its_init_container_say() {
    let init = |port: &str| {
        json!([{"name": "linkerd-init", "args": ["--incoming-proxy-port", "4143", "--outgoing-proxy-port", port,
            "--proxy-uid", "2102", "--inbound-ports-to-ignore", "4190,4191"]}])
    };
    let default = pod(json!({}), init("4140"), json!([linkerd_proxy(4191)]));
    assert_eq!(*only(&default), Sidecar::preset(Proxy::Linkerd));
    let other = pod(json!({}), init("5140"), json!([linkerd_proxy(5191)]));
    let url = "http://localhost:5191/ready".to_owned();
    assert_eq!(told(only(&other)), (url, false, vec![5140], vec![], Some(2102)));
    // linkerd-cni: no init container; the injector copies the namespace's annotations.
    let annotations = json!({
        "config.linkerd.io/outbound-port": "5140", "config.linkerd.io/admin-port": "5191", "config.linkerd.io/proxy-uid": "99",
    });
    let cni = pod(annotations, Value::Null, json!([{"name": "linkerd-proxy"}]));
    assert_eq!(told(only(&cni)), ("http://localhost:5191/ready".to_owned(), false, vec![5140], vec![], Some(99)));
}

#[test]
fn consul_is_as_the_rules_in_its_annotation_say_and_its_probe_is_not_asked() {
    // consul_dataplane_sidecar.go, 1.8: a TCP socket, or 21000 on the pod's address.
    let plain = json!({
        "name": "consul-dataplane", "args": ["-addresses", "consul-server.consul.svc", "-grpc-port=8502", "-graceful-port=20600"],
        "readinessProbe": {"tcpSocket": {"port": 20000}, "initialDelaySeconds": 1},
    });
    assert_eq!(*only(&pod(json!({}), Value::Null, json!([plain]))), Sidecar::preset(Proxy::Consul));
    let rules = r#"{"ConsulDNSIP":"127.0.0.1","ConsulDNSPort":8601,"ProxyUserID":"1000680000","ProxyInboundPort":20000,
        "ProxyOutboundPort":16001,"ExcludeInboundPorts":["21000"],"ExcludeUIDs":["5996"],"NetNS":"","IptablesProvider":null}"#;
    let annotations = json!({"consul.hashicorp.com/redirect-traffic-config": rules});
    let multi_port = json!({
        "name": "consul-dataplane-web", "args": ["-envoy-ready-bind-port=21000", "-envoy-admin-bind-port=19001"],
        "readinessProbe": get("/ready", 21000),
    });
    let pod = pod(annotations, Value::Null, json!([multi_port]));
    let url = "http://localhost:19001/ready".to_owned();
    assert_eq!(told(only(&pod)), (url, false, vec![16001, 8601], vec![8601], Some(1_000_680_000)));
}

#[test]
fn consul_upstreams_on_loopback_are_capture_ports_as_far_as_there_is_room() {
    let of = |upstreams: &str| {
        let annotations = json!({"consul.hashicorp.com/connect-service-upstreams": upstreams});
        pod(annotations, Value::Null, json!([{"name": "consul-dataplane"}]))
    };
    let some = of("db:1234, cache.shop.ns1:1235:dc2,prepared_query:geo:1236, api.svc.shop.ns:1237,broken,none:x");
    assert_eq!(told(only(&some)).2, [15001, 8600, 1234, 1235, 1236, 1237]);
    assert_eq!(only(&of("a:1,b:2,c:3,d:4,e:5,f:6,g:7")).ports, None);
}

/// containers/factory.go: `/ready` on the admin port up to 2.13, on the readiness port since 2.14.
fn kuma_sidecar(port: u16) -> Value {
    json!({"name": "kuma-sidecar", "args": ["run", "--log-level=info"], "readinessProbe": {"httpGet": {"path": "/ready", "port": port}}})
}

#[test]
fn kuma_is_asked_where_its_version_has_its_probe() {
    let annotations = |port: &str| json!({"kuma.io/sidecar-uid": "5678", "kuma.io/envoy-admin-port": port});
    let old = pod(annotations("9901"), Value::Null, json!([kuma_sidecar(9901)]));
    assert_eq!(told(only(&old)).0, "http://localhost:9901/ready");
    let new = pod(annotations("9901"), Value::Null, json!([kuma_sidecar(9902)]));
    assert_eq!(*only(&new), Sidecar::preset(Proxy::Kuma), "since 2.14 nobody listens on the admin port");
    let without = pod(annotations("9909"), Value::Null, json!([{"name": "kuma-sidecar"}]));
    assert_eq!(told(only(&without)).0, "http://localhost:9909/ready");
}

#[test]
fn kuma_redirects_as_its_configuration_says() {
    let config = "cniMode: true\nkumaDPUser: \"6678\"\nredirect:\n  dns:\n    enabled: true\n    port: 16053\n  \
                  inbound:\n    enabled: true\n    port: 16006\n  outbound:\n    enabled: true\n    port: 16001\n";
    let annotations = json!({"traffic.kuma.io/transparent-proxy-config": config});
    let three = pod(annotations, Value::Null, json!([kuma_sidecar(9902)]));
    let url = "http://localhost:9902/ready".to_owned();
    assert_eq!(told(only(&three)), (url.clone(), false, vec![16001], vec![16053], Some(6678)));
    let annotations = json!({
        "kuma.io/transparent-proxying-outbound-port": "16001", "kuma.io/builtin-dns-port": "16053", "kuma.io/sidecar-uid": "7",
    });
    let two = pod(annotations, Value::Null, json!([kuma_sidecar(9902)]));
    assert_eq!(told(only(&two)), (url, false, vec![16001], vec![16053], Some(7)));
}

#[test]
fn dapr_is_called_where_its_arguments_say_and_its_probe_would_wait_for_the_application() {
    let daprd = |http: &str, grpc: &str| {
        let args = ["/daprd", "--dapr-http-port", http, "--dapr-grpc-port", grpc, "--dapr-public-port", "3501"];
        json!([{"name": "daprd", "args": args, "readinessProbe": get("/v1.0/healthz", 3501)}])
    };
    assert_eq!(*only(&pod(json!({}), Value::Null, daprd("3500", "50001"))), Sidecar::preset(Proxy::Dapr));
    let other = pod(json!({}), Value::Null, daprd("3600", "50051"));
    let url = "http://localhost:3600/v1.0/healthz/outbound".to_owned();
    assert_eq!(told(only(&other)), (url, false, vec![3600, 50051], vec![], None));
}

#[test]
fn pod_of_two_proxies_has_both_and_one_without_has_none() {
    let both = pod(json!({}), Value::Null, json!([{"name": "daprd"}, istio_proxy()]));
    assert_eq!(both.sidecars.iter().map(|one| one.proxy).collect::<Vec<_>>(), [Proxy::Istio, Proxy::Dapr]);
    let none = pod(json!({"sidecar.istio.io/status": "{}"}), istio_init("15001", "1337"), json!([{"name": "proxy"}]));
    assert!(none.sidecars.is_empty());
}

#[test]
fn probe_that_cannot_be_asked_on_loopback_is_not_taken() {
    let port = |port: Value| json!({"httpGet": {"path": "/r", "port": port}});
    for probe in [
        json!({"httpGet": {"path": "/r", "port": 1, "scheme": "HTTPS"}}),
        json!({"httpGet": {"path": "/r", "port": 1, "host": "192.0.2.1"}}),
        json!({"httpGet": {"path": "/r"}}),
        json!({"exec": {"command": ["true"]}}),
        json!({"grpc": {"port": 1}}),
        port(json!(0)),
        port(json!(65536)),
        port(json!(-1)),
        port(json!("nobody")),
        json!({"httpGet": {"path": "/\u{7f} \r\n", "port": 1}}),
        json!({"httpGet": {"path": format!("/{}", "x".repeat(MAX_VALUE)), "port": 1}}),
    ] {
        let pod = pod(json!({}), Value::Null, json!([{"name": "istio-proxy", "startupProbe": probe}]));
        assert_eq!(told(only(&pod)).0, "http://localhost:15021/healthz/ready", "{probe}");
    }
    for (probe, url) in [
        (json!({"httpGet": {"port": "http"}}), "http://localhost:8080/"),
        (port(json!("81")), "http://localhost:81/r"),
        (json!({"httpGet": {"path": "r?x=1", "port": 1, "scheme": "", "host": ""}}), "http://localhost:1/r?x=1"),
    ] {
        let proxy =
            json!({"name": "istio-proxy", "startupProbe": probe, "ports": [{"name": "http", "containerPort": 8080}]});
        assert_eq!(told(only(&pod(json!({}), Value::Null, json!([proxy])))).0, url);
    }
}

#[test]
fn startup_probe_comes_before_the_readiness_probe_which_may_be_the_only_one_by_http() {
    let both = json!({"name": "istio-proxy", "startupProbe": get("/a", 1), "readinessProbe": get("/b", 2)});
    assert_eq!(told(only(&pod(json!({}), Value::Null, json!([both])))).0, "http://localhost:1/a");
    let one =
        json!({"name": "istio-proxy", "startupProbe": {"exec": {"command": ["x"]}}, "readinessProbe": get("/b", 2)});
    assert_eq!(told(only(&pod(json!({}), Value::Null, json!([one])))).0, "http://localhost:2/b");
}

#[test]
fn every_preset_is_a_url_and_ports_that_fit() {
    for proxy in Proxy::ALL {
        let preset = Sidecar::preset(proxy);
        assert_eq!(preset.ready_url.path().path(), proxy.preset().ready.1);
        assert_eq!(preset.ports.unwrap().tcp.0[0], proxy.preset().tcp_ports[0]);
        assert!(proxy.runs_in(proxy.preset().container));
    }
}

proptest! {
    #[test]
    fn whatever_a_pod_says_of_its_proxy_leads_to_ports_and_a_url_on_loopback(
        proxy in prop::sample::select(Proxy::ALL.to_vec()),
        words in prop::collection::vec("-p|-u|--dapr-http-port|--outgoing-proxy-port|[-0-9a-z=]{0,12}|\\PC{0,12}", 0..6),
        value in "[0-9]{0,11}|\\PC{0,30}|redirect: \\{outbound: \\{port: [0-9]{1,6}\\}\\}|\\{\"ProxyOutboundPort\": -?[0-9]{1,6}\\}",
        path in "\\PC{0,20}",
        port in prop_oneof![any::<i64>().prop_map(Value::from), "\\PC{0,8}".prop_map(Value::from)],
    ) {
        let keys = [
            "config.linkerd.io/outbound-port", "config.linkerd.io/admin-port", "config.linkerd.io/proxy-uid",
            "consul.hashicorp.com/redirect-traffic-config", "traffic.kuma.io/transparent-proxy-config", "kuma.io/sidecar-uid",
            "kuma.io/envoy-admin-port", "kuma.io/builtin-dns-port", "kuma.io/transparent-proxying-outbound-port",
            CONSUL_UPSTREAMS,
        ];
        let annotations = keys.iter().map(|key| ((*key).to_owned(), Value::from(value.clone())));
        let probe = json!({"httpGet": {"path": path, "port": port}});
        let container = json!({"name": proxy.preset().container, "args": words, "startupProbe": probe});
        let init = json!([{"name": "istio-init", "args": words}, {"name": "linkerd-init", "args": words}]);
        let pod = pod(Value::Object(annotations.collect()), init, json!([container]));
        let one = only(&pod);
        prop_assert!(one.ready_url.addresses().iter().all(|address| address.ip().is_loopback()));
        prop_assert_eq!(one.ready_url.to_string().parse(), Ok(one.ready_url.clone()));
        prop_assert!(one.ports.as_ref().is_none_or(|ports| ports.tcp.0[0] != 0));
        prop_assert!(one.uid != Some(NO_UID));
    }
}
