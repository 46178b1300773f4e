//! /metrics: every declared metric is moved by something that really happens, and a pod's own series go with the pod.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use conngate_testbed::{
    lab::{Agent, KubePod, Node, Qos, kubelet::KUBEPODS, wait_until},
    report::{Connection, Summary},
};
use conngate_view::Time;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    agent_dns::{Dns, look_up},
    agent_world::{PATIENCE, holding, initializing, on_node},
    world::{CAPTURED_V4, assert_reached},
};

/// Say what is so and never move: that they are there is what is to be seen.
const CONSTANT: [&str; 4] =
    ["conngate_build_info", "conngate_map_capacity", "process_max_fds", "process_start_time_seconds"];

/// Moved by tests of their own: `operate::…` of the node tests, which have an API server, and
/// `agent_log_that_nobody_reads_stops_nothing`.
const ELSEWHERE: [&str; 2] = ["conngate_kubernetes_events_total", "conngate_log_lines_dropped_total"];

/// What must be held for the smallest ring buffer to overflow: 64 KiB have room for 264 parked SYNs.
const TOO_MANY: usize = 600;

/// Those, the first one, and the lookup's.
const HELD: usize = TOO_MANY + 2;

type Metrics = BTreeMap<String, f64>;

/// The names of the reference, which is what the agent declares.
fn declared() -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let reference = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let names = reference.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).map(|(name, _)| name);
    let names: Vec<_> = names.filter(|name| name.contains('_') && !name.contains('(')).map(str::to_owned).collect();
    anyhow::ensure!(names.len() > 30, "docs/metrics.md has no reference: {names:?}");
    Ok(names)
}

/// The samples of a family.
fn family<'a>(metrics: &'a Metrics, name: &str) -> Vec<(&'a str, f64)> {
    let suffixes = ["", "_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}"));
    let of_it = |sample: &str| suffixes.iter().any(|whole| sample.split('{').next() == Some(whole));
    metrics.iter().filter(|(sample, _)| of_it(sample)).map(|(sample, value)| (sample.as_str(), *value)).collect()
}

#[test]
fn agent_every_declared_metric_is_moved() -> Result<()> {
    conngate_testbed::lab::run(|| {
        let node = Node::before_kubelet()?;
        let options = ["--ring-buffer", "65536", "--pod-metrics-limit", "1"];
        let agent = Agent::begin(&node, &options)?;
        let mut scrapes = vec![agent.metrics()?];
        node.make_kubepods(KUBEPODS)?;
        on_node(
            &node,
            |node, netns| KubePod::new(node, netns, Qos::Burstable),
            |world| {
                agent.wait_readyz("ok", |status, _| status == 200)?;
                let mut observed = KubePod::new(world.node, world.netns, Qos::BestEffort)?;
                observed.annotate("mode", Some("observe"));
                observed.tell()?;
                let started = Time(SystemTime::now() - Duration::from_secs(60));
                let status = json!({ "name": "app", "state": { "running": { "startedAt": started } } });
                world.pod.manifest()["status"] = json!({ "containerStatuses": [status] });
                world.pod.tell()?;
                agent.wait_for("gated", 2)?;
                let other = observed.container("app")?;
                other.connect(CAPTURED_V4, &[])?.report::<Connection>()?;

                let (app, many) = (world.pod.container("app")?, world.pod.container("worker")?);
                let mut one = app.connect(CAPTURED_V4, &[])?;
                agent.wait_for("connection held", 1)?;
                let _dns = Dns::start(world)?;
                let mut lookup = look_up(&app)?;
                agent.wait_for("connection held", 2)?;
                agent.signal(Signal::SIGSTOP)?;
                let count = TOO_MANY.to_string();
                let mut flood = many.connect(CAPTURED_V4, &["--count", &count, "--threads", "2"])?;
                let sockets = || fs::read_to_string("/proc/thread-self/net/sockstat").unwrap_or_default();
                wait_until(PATIENCE, "all of them connect", || {
                    let text = world.netns.enter(sockets);
                    let in_use = text.lines().find_map(|line| line.strip_prefix("TCP: inuse ")?.split(' ').next());
                    (in_use?.parse::<usize>().ok()? > TOO_MANY).then_some(())
                })?;
                agent.signal(Signal::SIGCONT)?;
                wait_until(PATIENCE, "all are announced", || {
                    (agent.metric("conngate_connections_waiting").ok()? > TOO_MANY as f64).then_some(())
                })?;
                assert!(agent.metric("conngate_records_lost_total")? > 0.0, "the ring buffer was full");
                wait_until(PATIENCE, "the lookup goes on over TCP, which is held too", || {
                    (agent.metric("conngate_dns_queries_truncated_total").ok()? > 0.0).then_some(())
                })?;
                scrapes.push(agent.metrics()?);
                world.control_plane.release();
                assert_reached(&one.report()?, CAPTURED_V4);
                lookup.line()?;
                let summary: Summary = flood.report()?;
                assert_eq!(summary.connected(), TOO_MANY, "a full ring buffer refuses nobody: {summary:?}");

                assert_reached(&app.connect(CAPTURED_V4, &[])?.report()?, CAPTURED_V4);

                // No room for a socket's storage (the limit is the namespace's own since 6.8): what cannot be held goes on.
                world.netns.set_sysctl("core/optmem_max", "0")?;
                world.pod.annotate("mode", None);
                world.pod.tell()?;
                wait_until(PATIENCE, "it has no gate", || {
                    (agent.metric("conngate_gates{state=\"not-enrolled\"}").ok()? == 1.0).then_some(())
                })?;
                world.pod.annotate("mode", Some("hold"));
                world.pod.annotate("ready-url", Some("http://127.0.0.1:1/"));
                world.pod.tell()?;
                agent.wait_for("gated", 3)?;
                assert_reached(&app.connect(CAPTURED_V4, &[])?.report()?, CAPTURED_V4);
                wait_until(PATIENCE, "nothing waits", || {
                    (agent.metric("conngate_connections_waiting").ok()? == 0.0).then_some(())
                })?;
                observed.annotate("mode", Some("hodl"));
                observed.tell()?;
                agent.wait_for("not gated", 1)?;
                scrapes.push(agent.metrics()?);
                let last = scrapes.last().expect("just pushed");
                for name in declared()? {
                    let there = family(last, &name);
                    if ELSEWHERE.contains(&name.as_str()) {
                        continue;
                    }
                    assert!(!there.is_empty(), "{name} is declared, and there is none");
                    let value = |scrape: &Metrics, sample: &str| scrape.get(sample).copied().unwrap_or_default();
                    let moves =
                        |(sample, now): &(&str, f64)| scrapes.iter().any(|scrape| value(scrape, sample) != *now);
                    let moved = there.iter().any(moves);
                    assert!(moved || CONSTANT.contains(&name.as_str()), "nothing moves {name}: {there:?}");
                }
                let counted = |sample: &str| last.get(sample).copied().unwrap_or_default();
                assert_eq!(counted("conngate_connections_held_total"), HELD as f64);
                assert_eq!(counted("conngate_connections_released_total{reason=\"ready\"}"), HELD as f64);
                assert_eq!(counted("conngate_connections_ended_total{outcome=\"established\"}"), HELD as f64);
                assert_eq!(counted("conngate_hold_duration_seconds_count"), HELD as f64);
                assert!(counted("conngate_hold_duration_seconds_sum") > 0.0);
                assert_eq!(counted("conngate_gates_opened_total{reason=\"ready\"}"), 2.0);
                for hook in ["connect4", "egress"] {
                    let failed =
                        format!("conngate_helper_errors_total{{program=\"{hook}\",helper=\"sk_storage_get\"}}");
                    assert!(counted(&failed) > 0.0, "{failed}");
                }
                Ok(())
            },
        )
    })
}

#[test]
fn agent_series_of_a_pod_are_there_with_it_and_go_with_it() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let (agent, _app, mut client) = holding(world)?;
        let path = world.pod.path();
        let (namespace, pod) = path.split_once('/').context("a path")?;
        let labels = format!("namespace=\"{namespace}\",pod=\"{pod}\"");
        let waiting = format!("conngate_pod_connections_waiting{{{labels},container=\"app\"}}");
        let gate = |state: &str| format!("conngate_pod_gate{{{labels},mode=\"hold\",state=\"{state}\"}}");
        assert_eq!((agent.metric(&waiting)?, agent.metric(&gate("holding"))?), (1.0, 1.0));
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        wait_until(PATIENCE, "the gate is open", || (agent.metric(&gate("open")).ok()? == 1.0).then_some(()))?;
        let metrics = agent.metrics()?;
        assert_eq!(metrics.get(&gate("holding")), None, "a gate is in one state");
        assert_eq!(metrics.get(&waiting.replace("waiting", "held_total")), Some(&1.0));
        world.pod.delete()?;
        wait_until(PATIENCE, "its series are gone", || {
            agent.metrics().ok()?.keys().all(|sample| !sample.contains(&labels)).then_some(())
        })
    })
}
