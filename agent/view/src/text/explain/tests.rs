//! What is said of one pod.

use super::*;
use crate::{
    Time,
    event::{Connection, Process},
    explain::{Container, Decision, Policy},
    status::Gate,
};

fn time(text: &str) -> Time {
    serde_json::from_value(text.into()).unwrap()
}

fn explanation() -> Explanation {
    let at = time("2026-11-26T08:05:23.5Z");
    let gate = Gate {
        pod: "shop/web-0".to_owned(),
        uid: "u".to_owned(),
        cgroup: 42,
        state: "holding".to_owned(),
        reason: "not-ready".to_owned(),
        mode: Some("hold".to_owned()),
        held: 3,
        waiting: 1,
        since: at,
    };
    let connection = Connection {
        socket: 9,
        reason: "no-listener".to_owned(),
        destination: "198.51.100.10:80".to_owned(),
        capture_port: 15001,
        container: Some("app".to_owned()),
        process: Some(Process { pid: 4711, uid: 1000, name: "cu\u{1b}[2Jrl".to_owned() }),
        since: at,
    };
    Explanation {
        version: 1,
        gate,
        not_gated: None,
        policy: Some(Policy {
            mode: "hold".to_owned(),
            timeout_seconds: 60.0,
            on_timeout: "release".to_owned(),
            proxy: Some("istio".to_owned()),
            native_sidecar: true,
            ready_url: Some("http://127.0.0.1:15021/healthz/ready".to_owned()),
            capture_ports: vec![15001, 15053],
            dns_truncate: true,
            regate_seconds: None,
            origins: [("mode".to_owned(), "the pod".to_owned())].into(),
        }),
        waits_for: Some(WaitsFor {
            what: "2xx of http://127.0.0.1:15021/healthz/ready".to_owned(),
            answer: Some("503 INITIALIZING".to_owned()),
            asked: Some(at),
            until: Some(time("2026-11-26T08:06:23Z")),
        }),
        containers: vec![Container { name: "app".to_owned(), class: "gated".to_owned() }],
        connections: vec![Held { connection, held_seconds: 1.25 }],
        dns_truncated: 2,
        decisions: vec![Decision {
            at,
            what: "gate holding, mode hold".to_owned(),
            reason: Some("not-ready".to_owned()),
        }],
    }
}

#[test]
fn text_says_who_connects_where_and_what_is_waited_for() {
    assert_eq!(
        text(&explanation()),
        r"Pod:       shop/web-0 (uid u, cgroup 42)
Gate:      holding (not-ready), since 2026-11-26T08:05:23.500000Z
Asks for:  mode hold, timeout 60 s, then release; proxy istio (native sidecar), captured on 15001, 15053
Waits for: 2xx of http://127.0.0.1:15021/healthz/ready; last answer at 08:05:23.500: 503 INITIALIZING; opens at 08:06:23.000 at the latest
Containers: app gated

Held now: 1 (since this gate was closed: 3)
  app -> 198.51.100.10:80 (port 15001), cu\u{1b}[2Jrl (pid 4711, uid 1000), for 1.250 s, no-listener
DNS queries answered as truncated: 2; their lookups continue over TCP

Decisions:
  08:05:23.500  gate holding, mode hold (not-ready)
"
    );
}

#[test]
fn text_of_values_from_elsewhere_says_from_where() {
    let mut explanation = explanation();
    let origins = [
        ("mode", "namespace shop"),
        ("timeout", "the default mesh"),
        ("on-timeout", "the pod"),
        ("proxy", "the default mesh"),
        ("capture-ports", "namespace shop"),
        ("dns-truncate", "namespace shop"),
    ];
    let policy = explanation.policy.as_mut().unwrap();
    policy.origins = origins.map(|(key, origin)| (key.to_owned(), origin.to_owned())).into();
    policy.dns_truncate = false;
    let text = text(&explanation);
    let line = "Asks for:  mode hold (from namespace shop), timeout 60 s (from the default mesh), then release; \
                proxy istio (native sidecar) (from the default mesh), captured on 15001, 15053 (from namespace shop), \
                dns-truncate off (from namespace shop)\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn text_of_a_pod_without_a_gate_says_why() {
    let mut explanation = explanation();
    explanation.not_gated = Some("conngate.io/mode is off".to_owned());
    (explanation.policy, explanation.waits_for) = (None, None);
    explanation.connections[0].connection.process = None;
    (explanation.gate.state, explanation.gate.reason) = ("not-enrolled".to_owned(), "not-enrolled".to_owned());
    explanation.decisions[0].what = "gate not-enrolled".to_owned();
    explanation.decisions[0].reason = Some("not-enrolled".to_owned());
    let text = text(&explanation);
    assert!(text.contains("Gate:      not-enrolled, since 2026"), "a word is said once: {text}");
    assert!(text.ends_with("  gate not-enrolled\n"), "{text}");
    assert!(text.contains("No gate:   conngate.io/mode is off\n"), "{text}");
    assert!(text.contains("unknown process") && !text.contains("Waits for"), "{text}");
}
