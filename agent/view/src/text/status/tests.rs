//! The status as people see it: within 100 columns whatever pods are called, and whatever is missing is named.

use super::*;
use crate::{
    status::{Agent, Condition, Source, Totals},
    text::WIDTH,
};

fn at(seconds: u64) -> Time {
    Time(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn gate(pod: &str) -> Gate {
    Gate {
        pod: pod.to_owned(),
        uid: "0a1b2c3d-4e5f-6071-8293-000000000001".to_owned(),
        cgroup: 4242,
        state: "holding".to_owned(),
        reason: "not-ready".to_owned(),
        mode: Some("hold".to_owned()),
        held: 12_345,
        waiting: 678,
        since: at(95),
    }
}

fn status(gates: Vec<Gate>) -> Status {
    Status {
        version: 1,
        agent: Agent {
            version: "0.1.0".to_owned(),
            abi: 4,
            node: Some("node-1".to_owned()),
            pid: 17,
            started: at(10),
            heartbeat_age_seconds: Some(0.2),
        },
        ready: true,
        conditions: vec![Condition { name: "pods".to_owned(), unmet: None }],
        degraded: None,
        live: Some(Live {
            programs: vec![Program {
                name: "egress".to_owned(),
                hook: "cgroup_skb/egress".to_owned(),
                attached: Some("/sys/fs/cgroup/kubepods.slice".to_owned()),
                why: None,
            }],
            sources: vec![Source { name: "apiserver".to_owned(), down: None }],
            totals: Totals {
                held: 12_345,
                waiting: 678,
                not_enrolled: 20,
                without_gate: 0,
                unknown: 1,
                lost_records: 0,
                helper_errors: 0,
            },
            gates,
        }),
    }
}

#[test]
fn text_of_a_closed_gate_is_one_row_of_a_narrow_table() {
    let text = text(&status(vec![gate("shop/web-0")]), at(100));
    assert!(
        text.starts_with("conngate 0.1.0 on node-1: ready, for 1m 30s (pid 17)\n  pods from apiserver up\n"),
        "{text}"
    );
    let row: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(row, ["shop/web-0", "holding", "not-ready", "hold", "12345", "678", "5s"]);
    assert!(text.contains("Pods: 1 holding, 0 open, 20 without a gate, 1 not known yet\n"), "{text}");
}

#[test]
fn text_of_long_and_hostile_names_fits_and_moves_nothing() {
    let names = ["x".repeat(253), "a\u{1b}[2J\n\u{202e}b".to_owned(), "漢".repeat(100), "\t".repeat(50)];
    let mut status = status(names.iter().map(|name| gate(name)).collect());
    status.agent.node = Some(names[1].clone());
    let text = text(&status, at(100));
    for line in text.lines() {
        assert!(line.chars().count() <= usize::from(WIDTH), "{line}");
        assert!(!line.chars().any(|letter| letter.is_control() || letter == '\u{202e}'), "{line:?}");
    }
}

#[test]
fn text_of_an_agent_that_waits_says_for_what() {
    let mut status = status(Vec::new());
    (status.ready, status.live, status.agent.heartbeat_age_seconds) = (false, None, Some(61.0));
    status.conditions[0].unmet = Some("the API server cannot be reached".to_owned());
    let text = text(&status, at(100));
    assert!(text.contains(": NOT READY, for"), "{text}");
    assert!(text.contains("  waits for pods: the API server cannot be reached\n"), "{text}");
    assert!(text.contains("has not started") && text.contains("heartbeat is 61 s old"), "{text}");
}

#[test]
fn text_of_losses_and_missing_hooks_names_them() {
    let mut status = status(Vec::new());
    status.degraded = Some("kubelet: refused".to_owned());
    let live = status.live.as_mut().unwrap();
    (live.totals.lost_records, live.totals.helper_errors) = (3, 4);
    live.totals.without_gate = 2;
    (live.programs[0].attached, live.programs[0].why) = (None, Some("/ holds cgroup/connect4 for itself".to_owned()));
    live.sources[0].down = Some("away".to_owned());
    let text = text(&status, at(100));
    for words in [
        "Lost records: 3, helper errors: 4",
        "20 without a gate (2 ask for one), 1 not known yet",
        "not attached: / holds cgroup/connect4 for itself",
        "degraded: kubelet: refused",
        "apiserver DOWN",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn text_of_programs_at_one_long_cgroup_says_it_once() {
    let mut status = status(Vec::new());
    let place = format!("/sys/fs/cgroup/{}", "a-slice-within-another.slice/".repeat(4));
    let program = |name: &str, place: &str| Program {
        name: name.to_owned(),
        hook: "cgroup_skb/egress".to_owned(),
        attached: Some(place.to_owned()),
        why: None,
    };
    status.live.as_mut().unwrap().programs =
        vec![program("egress", &place), program("connect4", &place), program("listen", "/sys/fs/cgroup")];
    let text = text(&status, at(100));
    assert!(text.contains(&format!("\nPrograms at {place}:\n")), "{text}");
    assert_eq!(text.matches("slice/a-slice-within").count(), 3, "four parts, once: {text}");
    assert!(text.lines().any(|line| line.trim_end().ends_with("attached to /sys/fs/cgroup")), "{text}");
    assert!(text.lines().all(|line| line.contains(&place) || line.chars().count() <= usize::from(WIDTH)), "{text}");
}

#[test]
fn age_has_one_unit() {
    let ages = [3, 119, 120, 7199, 7200, 172_799, 172_800].map(|seconds| age(Duration::from_secs(seconds)));
    assert_eq!(ages, ["3s", "119s", "2m", "119m", "2h", "47h", "2d"]);
    assert_eq!(age(Duration::from_millis(42)), "42ms");
}
