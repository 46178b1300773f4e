//! One test per rule of the annotations, and anything for values.

use conngate_common::gate::CapturePorts;
use proptest::prelude::*;

use super::*;
use crate::pods::{
    pod::{Container, NamespaceMeta},
    testing::{json_pod, parsed, pod, uid},
};

fn annotated(annotations: &[(&str, &str)]) -> Pod {
    let mut pod = pod("shop", "web");
    pod.annotations =
        annotations.iter().map(|(key, value)| (format!("conngate.io/{key}"), (*value).to_owned())).collect();
    pod.containers.insert(
        0,
        Container { name: "setup".to_owned(), kind: ContainerKind::Init, ready: false, id: None, started: None },
    );
    pod
}

fn by_default(mode: Mode, namespaces: Option<&str>) -> Defaults {
    let namespaces = namespaces.map(|namespaces| namespaces.parse().unwrap());
    Defaults { namespace_annotations: false, selections: vec![Selection::of_mode(mode, namespaces)] }
}

/// What a namespace says with these labels and annotations.
fn says(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> NamespaceMeta {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    NamespaceMeta {
        labels: labels.iter().map(owned).collect(),
        annotations: annotations.iter().map(|(key, value)| owned(&(&*format!("conngate.io/{key}"), value))).collect(),
    }
}

fn gate(annotations: &[(&str, &str)]) -> PodAsk {
    match ask(&annotated(annotations), &Defaults::default()).unwrap() {
        Ask::Gate(gate) => *gate,
        other @ (Ask::None(_) | Ask::Cannot(..)) => panic!("no gate: {other:?}"),
    }
}

fn none(pod: &Pod, defaults: &Defaults) -> NotAsked {
    match ask(pod, defaults).unwrap() {
        Ask::None(why) => why,
        other @ (Ask::Gate(_) | Ask::Cannot(..)) => panic!("{other:?}"),
    }
}

fn cannot(pod: &Pod) -> NoGate {
    match ask(pod, &Defaults::default()).unwrap() {
        Ask::Cannot(why, AskedBy::Annotation) => why,
        other @ (Ask::Gate(_) | Ask::None(_) | Ask::Cannot(..)) => panic!("{other:?}"),
    }
}

/// A pod with these containers beside `app`.
fn beside(containers: &[&str], annotations: &[(&str, &str)]) -> Pod {
    let mut json = json_pod("shop", "web", &uid(1));
    let names = [&["app"], containers].concat();
    json["spec"]["containers"] = names.into_iter().map(|name| serde_json::json!({"name": name})).collect();
    let mut pod = parsed(json);
    pod.annotations = annotated(annotations).annotations;
    pod
}

fn bad(annotations: &[(&str, &str)]) -> String {
    ask(&annotated(annotations), &Defaults::default()).unwrap_err().to_string()
}

#[test]
fn ask_mode_alone_has_the_documented_defaults() {
    let gate = gate(&[("mode", "hold")]);
    assert_eq!(
        gate.spec.policy,
        Policy {
            mode: Mode::Hold,
            timeout: Duration::from_secs(60),
            on_timeout: OnTimeout::Release,
            readiness: Readiness::Probe,
            regate: None,
        }
    );
    assert_eq!(gate.spec.capture_ports, CapturePorts([15001, 15053, 0, 0, 0, 0, 0, 0]));
    assert_eq!(gate.spec.datagram_ports.0[..2], [15053, 0]);
    assert_eq!(gate.spec.exempt_uids, [1337, NO_UID, NO_UID, NO_UID]);
    assert_eq!(gate.spec.default_class, ContainerClass::Unknown);
    assert_eq!(gate.spec.ready_url.unwrap().to_string(), "http://localhost:15021/healthz/ready");
    assert_eq!((gate.proxy, gate.containers), (Some(Proxy::Istio), Containers::All));
}

#[test]
fn ask_every_annotation_is_taken() {
    let gate = gate(&[
        ("mode", "retry"),
        ("timeout", "2m30s"),
        ("on-timeout", "reset"),
        ("proxy", "linkerd"),
        ("ready-url", "http://localhost:9/r"),
        ("capture-ports", "4140,5353/udp"),
        ("containers", "app"),
        ("regate", "5s"),
    ]);
    let policy = gate.spec.policy;
    assert_eq!(
        (policy.mode, policy.timeout, policy.on_timeout),
        (Mode::Retry, Duration::from_secs(150), OnTimeout::Reset)
    );
    assert_eq!(policy.regate, Some(Duration::from_secs(5)));
    assert_eq!(gate.spec.ready_url.unwrap().to_string(), "http://localhost:9/r");
    assert_eq!((gate.spec.capture_ports.0[0], gate.spec.datagram_ports.0[0]), (4140, 5353));
    assert_eq!(gate.spec.exempt_uids[0], 2102);
    assert_eq!(gate.containers, Containers::Named(["app".to_owned()].into()));
}

#[test]
fn ask_queries_are_answered_as_truncated_only_where_tcp_is_captured_too_and_nobody_minds() {
    let truncates =
        |annotations: &[(&str, &str)]| gate(&[&[("mode", "hold")], annotations].concat()).spec.truncates(15053);
    assert!(truncates(&[]) && truncates(&[("dns-truncate", "on")]));
    assert!(!truncates(&[("dns-truncate", "off")]));
    assert!(!truncates(&[("proxy", "kuma")]), "it captures DNS over UDP only");
    assert!(!truncates(&[("capture-ports", "15001,15053/udp")]));
}

#[test]
fn ask_every_preset_gives_a_gate() {
    for proxy in Proxy::ALL {
        let gate = gate(&[("mode", "observe"), ("proxy", proxy.word())]);
        assert_eq!(gate.spec.capture_ports.0[0], proxy.preset().tcp_ports[0]);
        assert!(gate.spec.ready_url.is_some(), "{proxy}");
    }
}

#[test]
fn ask_annotation_wins_over_the_default() {
    let on = by_default(Mode::Observe, None);
    assert_eq!(none(&annotated(&[("mode", "off")]), &on), NotAsked::Off);
    assert_eq!(none(&annotated(&[]), &Defaults::default()), NotAsked::Default);
    let mode = |annotations: &[(&str, &str)]| match ask(&annotated(annotations), &on).unwrap() {
        Ask::Gate(gate) => gate.spec.policy.mode,
        other @ (Ask::None(_) | Ask::Cannot(..)) => panic!("{other:?}"),
    };
    assert_eq!(mode(&[]), Mode::Observe);
    assert_eq!(mode(&[("mode", "hold")]), Mode::Hold);
}

#[test]
fn ask_default_holds_for_selected_namespaces_only() {
    let defaults = by_default(Mode::Hold, Some("mesh=on"));
    let mut pod = annotated(&[]);
    assert_eq!(none(&pod, &defaults), NotAsked::NamespaceUnknown);
    pod.namespace_meta = Some(says(&[("mesh", "off")], &[]));
    assert_eq!(none(&pod, &defaults), NotAsked::NamespaceNotSelected);
    pod.namespace_meta = Some(says(&[("mesh", "on")], &[]));
    assert!(matches!(ask(&pod, &defaults), Ok(Ask::Gate(_))));
}

#[test]
fn ask_each_value_is_the_pods_then_its_namespaces_then_the_selections() {
    let selection = r#"{"name":"mesh","mode":"retry","timeout":"20s","onTimeout":"reset","proxy":"linkerd"}"#;
    let defaults = Defaults { namespace_annotations: true, selections: vec![selection.parse().unwrap()] };
    let mut pod = annotated(&[("proxy", "istio")]);
    assert_eq!(none(&pod, &defaults), NotAsked::NamespaceUnknown, "its namespace may say off");
    pod.namespace_meta = Some(says(&[], &[("mode", "hold"), ("timeout", "90s"), ("dns-truncate", "off")]));
    let Ok(Ask::Gate(gate)) = ask(&pod, &defaults) else { panic!("a gate") };
    let policy = gate.spec.policy;
    assert_eq!((policy.mode, policy.timeout), (Mode::Hold, Duration::from_secs(90)));
    assert!(!gate.spec.dns_truncate);
    assert_eq!((policy.on_timeout, gate.proxy), (OnTimeout::Reset, Some(Proxy::Istio)));
    let origin = |key: &str| gate.origins.get(key).map(ToString::to_string);
    assert_eq!(origin(MODE).as_deref(), Some("namespace shop"));
    assert_eq!(origin(ON_TIMEOUT).as_deref(), Some("the default mesh"));
    assert_eq!((origin(PROXY).as_deref(), origin(REGATE)), (Some("the pod"), None));
    pod.namespace_meta = Some(says(&[], &[("mode", "off")]));
    assert_eq!(none(&pod, &defaults), NotAsked::NamespaceOff);
    pod.annotations.insert(MODE.to_owned(), "observe".to_owned());
    assert!(matches!(ask(&pod, &defaults), Ok(Ask::Gate(gate)) if gate.spec.policy.mode == Mode::Observe));
    let unasked = Defaults { namespace_annotations: false, selections: Vec::new() };
    pod.annotations.clear();
    assert_eq!(none(&pod, &unasked), NotAsked::Default, "where they do not count, nobody reads them");
}

#[test]
fn ask_bad_value_of_a_namespace_is_named_as_its_own() {
    let defaults = Defaults { namespace_annotations: true, selections: Vec::new() };
    let mut pod = annotated(&[]);
    pod.namespace_meta = Some(says(&[], &[("mode", "hodl")]));
    let bad = ask(&pod, &defaults).unwrap_err().to_string();
    assert!(bad.starts_with("conngate.io/mode of namespace shop is `hodl`; allowed: hold, "), "{bad}");
}

#[test]
fn ask_host_network_is_never_gated() {
    let mut pod = annotated(&[("mode", "hold")]);
    pod.host_network = true;
    assert_eq!(cannot(&pod), NoGate::HostNetwork);
}

#[test]
fn ask_each_bad_value_is_named_with_key_value_and_what_is_allowed() {
    for (key, value, allowed) in [
        ("mode", "on", "hold, retry, observe, off"),
        ("mode", "", "hold, retry, observe, off"),
        ("timeout", "0s", "1s to 10m"),
        ("timeout", "11m", "1s to 10m"),
        ("timeout", "60", "1s to 10m"),
        ("on-timeout", "drop", "release, reset"),
        ("proxy", "envoy2", "istio, linkerd, consul, kuma, dapr, envoy"),
        ("ready-url", "http://10.0.0.1/", "127.x.x.x"),
        ("proxy", "none", "none beside conngate.io/capture-ports"),
        ("capture-ports", "0", "1 to 65535"),
        ("capture-ports", "1,2,3,4,5,6,7,8,9", "at most 8 of each"),
        ("dns-truncate", "yes", "on, off"),
        ("containers", "nobody", "app"),
        ("containers", "setup", "app"),
        ("containers", "istio-proxy", "app"),
        ("containers", "app,", "app"),
        ("regate", "on", "off, 1s to 10m"),
    ] {
        let text = if key == "mode" { bad(&[(key, value)]) } else { bad(&[("mode", "hold"), (key, value)]) };
        assert!(text.starts_with(&format!("conngate.io/{key} is `{value}`; allowed: ")), "{text}");
        assert!(text.contains(allowed), "{text}");
    }
}

/// Good and bad values of each key. The node tests ask the API server the same, where the chart's admission policy judges.
const VALUES: &str = include_str!("../annotation_values.json");

#[test]
fn ask_of_each_value_in_the_table_is_as_the_table_says() {
    let table: serde_json::Map<String, serde_json::Value> = serde_json::from_str(VALUES).unwrap();
    assert_eq!(
        table.keys().collect::<BTreeSet<_>>(),
        KEYS.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>().iter().collect()
    );
    for (key, values) in &table {
        for (kind, is_good) in [("good", true), ("bad", false)] {
            for value in values[kind].as_array().unwrap() {
                let value = value.as_str().unwrap();
                let mut pod = annotated(&[("mode", "hold")]);
                pod.annotations.insert(key.clone(), value.to_owned());
                assert_eq!(ask(&pod, &Defaults::default()).is_ok(), is_good, "{key}: {value:?}");
            }
        }
    }
}

#[test]
fn proxies_of_the_charts_admission_policy_are_those_that_there_are() {
    let policy = include_str!("../../../../deploy/helm/conngate/templates/admissionpolicy.yaml");
    let words = Proxy::ALL.map(|proxy| format!("'{}'", proxy.word())).join(", ");
    assert!(policy.contains(&format!("[{words}, 'none']")), "{words}");
}

#[test]
fn ask_several_bad_values_are_all_named() {
    let text = bad(&[("mode", "x"), ("timeout", "y"), ("proxy", "z"), ("regate", "w")]);
    for key in ["mode", "timeout", "proxy", "regate"] {
        assert!(text.contains(&format!("conngate.io/{key} is")), "{text}");
    }
}

#[test]
fn ask_value_beyond_the_bound_is_bad_even_if_its_beginning_is_good() {
    let text = bad(&[("mode", "hold"), ("capture-ports", &"15001,".repeat(1000))]);
    assert!(text.len() < 400 && text.contains("capture-ports is `15001,"), "{text}");
}

#[test]
fn ask_proxy_is_the_one_that_the_pod_has() {
    for (container, proxy) in [
        ("istio-proxy", Proxy::Istio),
        ("linkerd-proxy", Proxy::Linkerd),
        ("consul-dataplane-api", Proxy::Consul),
        ("kuma-sidecar", Proxy::Kuma),
        ("daprd", Proxy::Dapr),
    ] {
        let Ok(Ask::Gate(gate)) = ask(&beside(&[container], &[("mode", "hold")]), &Defaults::default()) else {
            panic!("{container}");
        };
        assert_eq!(gate.proxy, Some(proxy));
        assert_eq!(gate.spec.capture_ports.0[0], proxy.preset().tcp_ports[0]);
        assert_eq!(gate.class_of(container, ContainerKind::App), ContainerClass::Exempt, "{container}");
        assert_eq!(gate.class_of("app", ContainerKind::App), ContainerClass::Gated);
    }
}

#[test]
fn ask_pod_without_a_known_proxy_cannot_have_a_gate_in_any_mode() {
    for mode in ["hold", "retry", "observe"] {
        // `envoy` may be anything.
        assert_eq!(cannot(&beside(&["envoy"], &[("mode", mode)])), NoGate::NoProxy);
    }
    let on = by_default(Mode::Hold, None);
    assert_eq!(ask(&beside(&[], &[]), &on), Ok(Ask::Cannot(NoGate::NoProxy, AskedBy::Default)));
    assert_eq!(none(&beside(&[], &[("mode", "off")]), &on), NotAsked::Off);
    let text = ask(&beside(&[], &[("mode", "hold"), ("timeout", "x"), ("proxy", "y")]), &on).unwrap_err().to_string();
    assert!(text.contains("timeout is `x`") && text.contains("proxy is `y`"), "{text}");
}

#[test]
fn ask_pod_whose_namespace_may_still_say_its_proxy_is_undecided() {
    let defaults = Defaults { namespace_annotations: true, selections: Vec::new() };
    let mut pod = beside(&[], &[("mode", "hold")]);
    assert_eq!(none(&pod, &defaults), NotAsked::NamespaceUnknown);
    pod.namespace_meta = Some(says(&[], &[("proxy", "linkerd")]));
    assert!(matches!(ask(&pod, &defaults), Ok(Ask::Gate(gate)) if gate.proxy == Some(Proxy::Linkerd)));
    pod.namespace_meta = Some(says(&[], &[]));
    assert_eq!(ask(&pod, &defaults), Ok(Ask::Cannot(NoGate::NoProxy, AskedBy::Annotation)));
    pod.annotations.clear();
    pod.namespace_meta = Some(says(&[], &[("mode", "hold")]));
    assert_eq!(ask(&pod, &defaults), Ok(Ask::Cannot(NoGate::NoProxy, AskedBy::Default)));
    (pod.namespace_meta, pod.host_network) = (None, true);
    pod.annotations = annotated(&[("mode", "hold")]).annotations;
    assert_eq!(ask(&pod, &defaults), Ok(Ask::Cannot(NoGate::HostNetwork, AskedBy::Annotation)));
}

#[test]
fn ask_proxy_none_takes_the_capture_ports_of_its_namespace() {
    let defaults = Defaults { namespace_annotations: true, selections: Vec::new() };
    let mut pod = beside(&[], &[("mode", "hold"), ("proxy", "none")]);
    assert_eq!(none(&pod, &defaults), NotAsked::NamespaceUnknown);
    pod.namespace_meta = Some(says(&[], &[]));
    let bad = ask(&pod, &defaults).unwrap_err().to_string();
    assert!(bad.ends_with("or none beside conngate.io/capture-ports"), "{bad}");
    pod.namespace_meta = Some(says(&[], &[("capture-ports", "5432")]));
    assert!(matches!(ask(&pod, &defaults), Ok(Ask::Gate(gate)) if gate.spec.capture_ports.0[0] == 5432));
}

#[test]
fn ask_proxy_that_the_annotation_says_is_taken_whatever_the_pod_has() {
    let gate = |pod: &Pod| match ask(pod, &Defaults::default()) {
        Ok(Ask::Gate(gate)) => *gate,
        other => panic!("{other:?}"),
    };
    assert_eq!(gate(&beside(&[], &[("mode", "hold"), ("proxy", "linkerd")])).proxy, Some(Proxy::Linkerd));
    let envoy = gate(&beside(&["envoy"], &[("mode", "hold"), ("proxy", "envoy")]));
    assert_eq!(envoy.class_of("envoy", ContainerKind::App), ContainerClass::Exempt);
    let both = &["istio-proxy", "daprd"];
    assert_eq!(
        gate(&beside(both, &[("mode", "hold")])).proxy,
        Some(Proxy::Istio),
        "what Dapr sends goes through it too"
    );
    assert_eq!(gate(&beside(both, &[("mode", "hold"), ("proxy", "dapr")])).proxy, Some(Proxy::Dapr));
    let two = &["istio-proxy", "linkerd-proxy"];
    assert_eq!(cannot(&beside(two, &[("mode", "hold")])), NoGate::SeveralProxies);
    assert_eq!(gate(&beside(two, &[("mode", "hold"), ("proxy", "linkerd")])).proxy, Some(Proxy::Linkerd));
}

#[test]
fn ask_proxy_none_is_as_the_other_annotations_say() {
    let given = [("mode", "hold"), ("proxy", "none"), ("capture-ports", "5432"), ("containers", "app")];
    let Ok(Ask::Gate(gate)) = ask(&beside(&["cloud-sql-proxy"], &given), &Defaults::default()) else { panic!() };
    assert_eq!((gate.proxy, gate.spec.capture_ports.0[..2].to_vec()), (None, vec![5432, 0]));
    assert_eq!((gate.spec.policy.readiness, gate.spec.ready_url), (Readiness::Listener, None));
    assert_eq!(gate.spec.exempt_uids, [NO_UID; MAX_EXEMPT_UIDS]);
    let named = PodAsk { spec: self::gate(&given[..1]).spec, ..*gate };
    assert_eq!(named.class_of("cloud-sql-proxy", ContainerKind::App), ContainerClass::Exempt);
    let with_url = [&given[..], &[("ready-url", "http://localhost:9090/startup")]].concat();
    let Ok(Ask::Gate(gate)) = ask(&beside(&[], &with_url), &Defaults::default()) else { panic!() };
    assert_eq!(gate.spec.policy.readiness, Readiness::Probe);
}

#[test]
fn ask_more_upstreams_than_fit_are_refused_by_name_until_it_is_said_which_matter() {
    let mut pod = beside(&["consul-dataplane"], &[("mode", "hold")]);
    pod.sidecars[0].ports = None;
    let text = ask(&pod, &Defaults::default()).unwrap_err().to_string();
    assert!(
        text.starts_with("consul.hashicorp.com/connect-service-upstreams is `too many`; allowed: 8 ports"),
        "{text}"
    );
    pod.annotations.insert(CAPTURE_PORTS.to_owned(), "1234".to_owned());
    assert!(matches!(ask(&pod, &Defaults::default()), Ok(Ask::Gate(_))));
}

#[test]
fn ask_ambient_pod_is_left_to_its_ztunnel_unless_it_means_its_own_loopback() {
    let ambient = |containers: &[&str], annotations: &[(&str, &str)]| {
        let mut pod = beside(containers, &[&[("mode", "hold")], annotations].concat());
        pod.ambient = true;
        pod
    };
    assert_eq!(cannot(&ambient(&[], &[])), NoGate::Ambient);
    assert_eq!(cannot(&ambient(&[], &[("proxy", "istio")])), NoGate::Ambient);
    let gated = |pod: &Pod| matches!(ask(pod, &Defaults::default()), Ok(Ask::Gate(_)));
    assert!(gated(&ambient(&["daprd"], &[])));
    assert!(gated(&ambient(&[], &[("proxy", "none"), ("capture-ports", "5432")])));
}

#[test]
fn ask_pod_of_a_sandboxed_runtime_cannot_have_a_gate() {
    let mut pod = annotated(&[("mode", "hold"), ("proxy", "istio")]);
    pod.sandboxed = true;
    assert_eq!(cannot(&pod), NoGate::SandboxedRuntime);
}

#[test]
fn class_of_init_and_proxy_containers_is_exempt() {
    let gate = gate(&[("mode", "hold")]);
    for (name, kind, class) in [
        ("app", ContainerKind::App, ContainerClass::Gated),
        ("debug", ContainerKind::Ephemeral, ContainerClass::Gated),
        ("setup", ContainerKind::Init, ContainerClass::Exempt),
        ("logs", ContainerKind::NativeSidecar, ContainerClass::Exempt),
        ("istio-proxy", ContainerKind::App, ContainerClass::Exempt),
        ("istio-proxy", ContainerKind::NativeSidecar, ContainerClass::Exempt),
        ("linkerd-proxy", ContainerKind::App, ContainerClass::Gated),
    ] {
        assert_eq!(gate.class_of(name, kind), class, "{name}");
    }
    let named = self::gate(&[("mode", "hold"), ("containers", "app")]);
    assert_eq!(named.class_of("app", ContainerKind::App), ContainerClass::Gated);
    assert_eq!(named.class_of("other", ContainerKind::App), ContainerClass::Exempt);
}

#[test]
fn unknown_keys_are_reported_and_harm_nothing() {
    let pod = annotated(&[("mode", "hold"), ("time-out", "5s"), ("Mode", "off")]);
    assert_eq!(unknown_keys(&pod), ["conngate.io/Mode", "conngate.io/time-out"]);
    assert!(matches!(ask(&pod, &Defaults::default()), Ok(Ask::Gate(_))));
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{0,30}", any::<String>(), "(hold|off|5s|app|15001/udp,1|http://localhost:1/|istio)( |,)?",]
}

proptest! {
    #[test]
    fn ask_of_anything_ends_in_a_gate_a_reason_or_a_printable_message(
        values in prop::collection::vec(prop::option::of(any_value()), KEYS.len()),
    ) {
        let mut pod = annotated(&[]);
        let given = KEYS.iter().zip(values).filter_map(|(key, value)| Some(((*key).to_owned(), value?)));
        pod.annotations = given.collect();
        if let Err(bad) = ask(&pod, &Defaults::default()) {
            prop_assert!(!bad.0.is_empty());
            prop_assert!(!bad.to_string().chars().any(char::is_control));
            prop_assert!(bad.0.iter().all(|bad| pod.annotations.contains_key(bad.key)));
        }
    }
}
