//! The declared metrics and what is written: the same families, whatever pods call themselves; and docs/metrics.md.

use std::{collections::BTreeSet, time::Duration};

use conngate_common::{
    counter::Program,
    gate::{GateState, Mode},
};

use super::{
    snapshot::{MAX_CONTAINERS, PodGate},
    *,
};
use crate::{
    bpf::{attach::ProgramState, counters::Counted, maps::MapFill},
    clock,
    metrics::declared::{self, Metric},
    pods::{
        no_gate::{AskedBy, NoGate},
        source::SourceName,
    },
};

fn snapshot() -> Snapshot {
    Snapshot {
        counted: Some(Counted::nothing()),
        maps: vec![MapFill { map: "GATES", entries: 1, capacity: 4096 }],
        programs: vec![ProgramState { program: Program::Egress, attached: Some("/".into()), why: None }],
        waiting: 3,
        gates: vec![(GateState::Holding, 1)],
        without_gate: vec![((NoGate::NoProxy, AskedBy::Default), 2)],
        sources: vec![(SourceName::File, true)],
        pods: vec![pod("web", vec![("app".to_owned(), 5, 3)])],
        series: PodSeries::Limit(10),
    }
}

fn pod(name: &str, containers: Vec<(String, u64, u64)>) -> PodGate {
    let (namespace, pod) = ("shop".to_owned(), name.to_owned());
    PodGate { namespace, pod, mode: Mode::Hold, state: GateState::Holding, containers }
}

fn written(snapshot: Option<&Snapshot>) -> String {
    let conditions = Conditions::new(clock::now());
    let recorded = Recorded::new();
    recorded.beat(clock::now());
    String::from_utf8(text(&recorded, &conditions, Time::now(), snapshot).unwrap()).unwrap()
}

/// Names and types in the order of the text.
fn families(text: &str) -> Vec<(String, String)> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

#[test]
fn text_has_every_declared_family_and_no_other() {
    let declared = declared::all().map(|metric| (metric.name.to_owned(), metric.kind.word().to_owned()));
    let declared: BTreeSet<_> = declared.collect();
    let families = families(&written(Some(&snapshot())));
    assert!(families.is_sorted(), "{families:?}");
    assert_eq!(families.into_iter().collect::<BTreeSet<_>>(), declared);
}

#[test]
fn text_without_a_snapshot_says_nothing_of_what_it_does_not_know() {
    let text = written(None);
    assert!(text.contains("conngate_condition_met{condition=\"programs\"} 0\n"), "{text}");
    assert!(!text.contains("conngate_connections_held_total") && !text.contains("conngate_gates{"), "{text}");
    let mut snapshot = snapshot();
    snapshot.counted = None;
    let text = written(Some(&snapshot));
    assert!(!text.contains("conngate_connections_held_total") && text.contains("conngate_gates{"), "{text}");
}

#[test]
fn text_of_hostile_names_keeps_one_sample_a_line() {
    let mut snapshot = snapshot();
    let name = "a\"} 1\nconngate_gates{state=\"open\"} 99\\ \u{202e}";
    snapshot.pods = vec![pod(name, vec![(name.to_owned(), 1, 0)])];
    let text = written(Some(&snapshot));
    assert!(!text.contains("\nconngate_gates{state=\"open\"} 99"), "{text}");
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("conngate_pod_connections_held_total{")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(r#"pod="a\"} 1\nconngate_gates{state=\"open\"} 99\\ "#), "{lines:?}");
}

#[test]
fn series_of_pods_are_bounded_and_switched_off() {
    let mut snapshot = snapshot();
    snapshot.pods = (0..12).map(|number| pod(&format!("web-{number:02}"), vec![("app".to_owned(), 1, 1)])).collect();
    let text = written(Some(&snapshot));
    assert_eq!(text.matches("conngate_pod_gate{").count(), 10);
    assert!(text.contains("conngate_pods_without_series 2\n"), "{text}");
    assert!(text.contains("web-09") && !text.contains("web-10"), "those that were there first keep theirs");
    snapshot.series = PodSeries::Off;
    assert!(!written(Some(&snapshot)).contains("web-0"));
}

#[test]
fn series_of_one_pods_containers_are_bounded() {
    let mut snapshot = snapshot();
    let containers = (0..MAX_CONTAINERS + 5).map(|number| (format!("c{number:03}"), 2, 1)).collect();
    snapshot.pods = vec![pod("web", containers)];
    let text = written(Some(&snapshot));
    assert_eq!(text.matches("conngate_pod_connections_held_total{").count(), MAX_CONTAINERS + 1);
    assert!(text.contains("conngate_pod_connections_held_total{namespace=\"shop\",pod=\"web\",container=\"\"} 10\n"));
}

#[test]
fn probes_opened_gates_and_events_are_counted_by_their_words() {
    let recorded = Recorded::new();
    recorded.opened(conngate_common::reason::Reason::Operator);
    recorded.probed(crate::net::probe::Answer::Ready.word(), Duration::from_millis(3));
    recorded.replayed(4, 1);
    recorded.truncated(2);
    let conditions = Conditions::new(clock::now());
    let text = String::from_utf8(text(&recorded, &conditions, Time::now(), None).unwrap()).unwrap();
    for line in [
        "conngate_gates_opened_total{reason=\"operator\"} 1",
        "conngate_gates_opened_total{reason=\"timeout\"} 0",
        "conngate_probe_duration_seconds_bucket{result=\"ready\",le=\"0.004\"} 1",
        "conngate_probe_duration_seconds_count{result=\"ready\"} 1",
        "conngate_syns_replayed_total{result=\"failed\"} 1",
        "conngate_syns_replayed_total{result=\"sent\"} 4",
        "conngate_dns_queries_truncated_total 2",
    ] {
        assert!(text.lines().any(|there| there == line), "{line}: {text}");
    }
}

/// The reference in docs/metrics.md.
fn reference() -> String {
    let row = |metric: &Metric| {
        let labels = metric.labels.iter().map(|label| match label.values {
            "" => format!("`{}`", label.name),
            values => format!("`{}`: {values}", label.name),
        });
        let labels = labels.collect::<Vec<_>>().join("; ");
        format!("| `{}` | {} | {labels} | {} |\n", metric.name, metric.kind.word(), metric.help)
    };
    let head = "| metric | type | labels | meaning |\n|---|---|---|---|\n";
    let table = |title: &str, metrics: &[&Metric]| {
        format!("## {title}\n\n{head}{}\n", metrics.iter().map(|metric| row(metric)).collect::<String>())
    };
    let words = |holds: bool| {
        let reasons = conngate_common::reason::Reason::ALL.iter().filter(|reason| reason.holds() == holds);
        reasons.map(|reason| format!("`{reason}`")).collect::<Vec<_>>().join(", ")
    };
    format!(
        "{}{}{}{}## Reasons\n\nReasons to hold: {}.\nReasons to pass: {}.\n",
        table("Counted in the kernel", declared::KERNEL),
        table("The agent and its node", declared::NODE),
        table("Pods with a gate", declared::PODS),
        table("The agent's process", declared::PROCESS),
        words(true),
        words(false),
    )
}

#[test]
fn metrics_reference_is_what_is_declared() {
    crate::testing::assert_reference("docs/metrics.md", &reference());
}
