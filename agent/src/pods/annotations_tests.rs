//! One test per rule of the annotations, and anything for values.

use conngate_common::gate::CapturePorts;
use proptest::prelude::*;

use super::*;
use crate::pods::{pod::Container, testing::pod};

fn annotated(annotations: &[(&str, &str)]) -> Pod {
    let mut pod = pod("shop", "web");
    pod.annotations =
        annotations.iter().map(|(key, value)| (format!("conngate.io/{key}"), (*value).to_owned())).collect();
    pod.containers.insert(0, Container { name: "setup".to_owned(), kind: ContainerKind::Init, ready: false, id: None });
    pod
}

fn gate(annotations: &[(&str, &str)]) -> PodAsk {
    match ask(&annotated(annotations), &Defaults::default()).unwrap() {
        Ask::Gate(gate) => *gate,
        Ask::None(why) => panic!("no gate: {why}"),
    }
}

fn none(pod: &Pod, defaults: &Defaults) -> NotAsked {
    match ask(pod, defaults).unwrap() {
        Ask::None(why) => why,
        Ask::Gate(gate) => panic!("a gate: {gate:?}"),
    }
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
    assert_eq!(gate.spec.ready_url.unwrap().to_string(), "http://127.0.0.1:15021/healthz/ready");
    assert_eq!((gate.proxy, gate.containers), (Proxy::Istio, Containers::All));
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
    let on = Defaults { mode: Some(Mode::Observe), namespaces: None };
    assert_eq!(none(&annotated(&[("mode", "off")]), &on), NotAsked::Off);
    assert_eq!(none(&annotated(&[]), &Defaults::default()), NotAsked::Default);
    let mode = |annotations: &[(&str, &str)]| match ask(&annotated(annotations), &on).unwrap() {
        Ask::Gate(gate) => gate.spec.policy.mode,
        Ask::None(why) => panic!("{why}"),
    };
    assert_eq!(mode(&[]), Mode::Observe);
    assert_eq!(mode(&[("mode", "hold")]), Mode::Hold);
}

#[test]
fn ask_default_holds_for_selected_namespaces_only() {
    let defaults = Defaults { mode: Some(Mode::Hold), namespaces: Some("mesh=on".parse().unwrap()) };
    let mut pod = annotated(&[]);
    assert_eq!(none(&pod, &defaults), NotAsked::NamespaceUnknown);
    pod.namespace_labels = Some([("mesh".to_owned(), "off".to_owned())].into());
    assert_eq!(none(&pod, &defaults), NotAsked::NamespaceNotSelected);
    pod.namespace_labels = Some([("mesh".to_owned(), "on".to_owned())].into());
    assert!(matches!(ask(&pod, &defaults), Ok(Ask::Gate(_))));
}

#[test]
fn ask_host_network_is_never_gated() {
    let mut pod = annotated(&[("mode", "hold")]);
    pod.host_network = true;
    assert_eq!(none(&pod, &Defaults::default()), NotAsked::HostNetwork);
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
        ("proxy", "envoy2", "istio, linkerd, consul, kuma, envoy"),
        ("ready-url", "http://10.0.0.1/", "127.x.x.x"),
        ("capture-ports", "0", "1 to 65535"),
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
