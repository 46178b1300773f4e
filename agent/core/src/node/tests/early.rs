//! Pods that were there before anybody held, and what whoever was there before has held.

use conngate_common::{
    ABI_VERSION,
    gate::{AgentEntry, MAX_SHARED_PARENTS},
};

use super::kit::*;

const HOUR: u64 = 60 * 60 * 1_000;

/// What an agent, or the boot unit, that held at 2,000 s has said of itself.
fn earlier(stale_after: Duration, grace: Duration) -> Input {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap();
    Input::Earlier(AgentEntry {
        heartbeat: ms(2_000_000),
        stale_after_ns: nanos(stale_after),
        grace_ns: nanos(grace),
        abi: ABI_VERSION,
        shared_parents: [CgroupId(0); MAX_SHARED_PARENTS],
        epoch: 1,
        closed_gates: 1,
        hz: 1_000,
        syn_rto_jiffies: 0,
        syn_linear_timeouts: 0,
        pod_levels: [1, 2],
        capture_ports: ANNOUNCED,
    })
}

/// A pod whose application started then.
fn started(policy: Policy, at: MonoTime) -> Pod {
    let mut pod = asking(policy);
    pod.containers[0].started = Some(Started { at, id: Some("containerd://id-70".to_owned()) });
    pod
}

/// What is told of pods that nobody held for.
fn early(outputs: &[Output]) -> Vec<&str> {
    let container = |what: &&What| matches!(what, What::StartedBefore { .. });
    let told = facts(outputs).into_iter().filter(container);
    told.map(|what| if let What::StartedBefore { container } = what { &**container } else { unreachable!() }).collect()
}

/// What is told of `pod` on a node that begins to hold at 2 h.
fn told_of(pod: Pod) -> Vec<String> {
    let mut bench = Bench::new();
    bench.handle(ms(2 * HOUR), Input::Attached);
    bench.handle(ms(2 * HOUR), APPEARED());
    early(&bench.handle(ms(2 * HOUR + 1), told(pod))).into_iter().map(str::to_owned).collect()
}

#[test]
fn pod_whose_application_started_before_anybody_held_is_told_once() {
    let mut bench = Bench::new();
    bench.handle(ms(5_500), Input::Attached);
    bench.handle(ms(5_600), APPEARED());
    let outputs = bench.handle(ms(5_700), told(asking(POLICY)));
    assert_eq!(early(&outputs), [] as [&str; 0], "its status comes late");
    let outputs = bench.handle(ms(7_000), told(started(POLICY, ms(5_000))));
    assert_eq!(early(&outputs), ["app"]);
    let mut restarted = started(POLICY, ms(5_000));
    restarted.containers[0].id = Some("containerd://another".to_owned());
    assert_eq!(early(&bench.handle(ms(8_000), told(restarted))), [] as [&str; 0]);
}

#[test]
fn pod_that_started_later_or_long_ago_or_is_only_observed_is_not_told() {
    assert_eq!(told_of(started(POLICY, ms(2 * HOUR - 1))), ["app"]);
    assert_eq!(told_of(started(RETRY, ms(HOUR + 1))), ["app"]);
    assert_eq!(told_of(started(POLICY, ms(2 * HOUR))), [] as [&str; 0]);
    assert_eq!(told_of(started(POLICY, ms(HOUR))), [] as [&str; 0]);
    assert_eq!(told_of(started(Policy { mode: Mode::Observe, ..POLICY }, ms(2 * HOUR - 1))), [] as [&str; 0]);
    let mut proxy = asking(POLICY);
    proxy.containers[1].started = Some(Started { at: ms(2 * HOUR - 1), id: None });
    assert_eq!(told_of(proxy), [] as [&str; 0], "only applications are held");
}

#[test]
fn container_that_was_seen_to_come_is_not_told_although_its_status_is_rounded_down() {
    let told_of = |comes_first: bool, status: u64| {
        let mut bench = Bench::new();
        bench.handle(ms(5_300), Input::Attached);
        bench.handle(ms(5_300), APPEARED());
        let (first, then) = if comes_first { (Input::Walked, there([APP])) } else { (there([APP]), Input::Walked) };
        bench.handle(ms(5_310), first);
        bench.handle(ms(5_700), then);
        !early(&bench.handle(ms(7_000), told(started(POLICY, ms(status))))).is_empty()
    };
    assert!(!told_of(true, 5_000), "it came after all were looked for");
    assert!(told_of(false, 5_000), "it was there when all were looked for");
    assert!(told_of(true, 4_000), "of that second there is no doubt");
}

#[test]
fn pod_that_asks_only_later_or_that_an_earlier_agent_knew_is_not_told() {
    let mut bench = Bench::new();
    bench.handle(ms(5_000), Input::Attached);
    bench.handle(ms(5_000), APPEARED());
    bench.handle(ms(5_000), told(pod(1, Ask::None("no mode".to_owned()))));
    assert_eq!(early(&bench.handle(ms(9_000), told(started(POLICY, ms(4_000))))), [] as [&str; 0]);

    let mut bench = Bench::new();
    let entry = spec(POLICY).entry(GateState::Holding, Reason::NotReady, ms(1_000));
    bench.handle(ms(5_000), Input::Inherited { gates: vec![(GATE, entry)], containers: Vec::new() });
    bench.handle(ms(5_000), Input::Attached);
    bench.handle(ms(5_000), APPEARED());
    assert_eq!(early(&bench.handle(ms(5_001), told(started(POLICY, ms(4_000))))), [] as [&str; 0]);
}

#[test]
fn pod_that_started_while_somebody_else_held_is_not_told_unless_that_is_over() {
    for (now, expected) in [(2_119_000, &[][..]), (2_121_000, &["app"])] {
        let mut bench = Bench::new();
        bench.handle(ms(now), earlier(Duration::from_secs(120), Duration::from_secs(120)));
        bench.handle(ms(now), Input::Attached);
        bench.handle(ms(now), APPEARED());
        assert_eq!(early(&bench.handle(ms(now), told(started(POLICY, ms(2_001_000))))), expected);
    }
}

#[test]
fn grace_of_whoever_held_before_counts_until_its_end_and_at_least_until_connections_are_told_apart() {
    let (ours, boots) = (Duration::from_secs(10), Duration::from_secs(120));
    let succeeded = |now: u64| {
        let mut bench = Bench::new();
        bench.handle(ms(now), earlier(boots, boots));
        bench
    };
    let mut bench = succeeded(2_030_000);
    assert_eq!(bench.node.grace(), boots);
    bench.handle(ms(2_119_999), Input::Tick);
    assert_eq!(bench.node.grace(), boots);
    bench.handle(ms(2_120_000), Input::Tick);
    assert_eq!(bench.node.grace(), ours);

    let mut bench = succeeded(2_119_000);
    bench.handle(ms(2_128_999), Input::Tick);
    assert_eq!(bench.node.grace(), boots, "what is held is told apart first");
    bench.handle(ms(2_129_000), Input::Tick);
    assert_eq!(bench.node.grace(), ours);

    assert_eq!(succeeded(2_121_000).node.grace(), ours, "nobody held until now");
}

#[test]
fn connection_that_the_boot_unit_held_is_held_until_its_pod_is_known() {
    let mut bench = Bench::new();
    bench.handle(ms(2_030_000), earlier(Duration::from_secs(120), Duration::from_secs(120)));
    bench.handle(ms(2_030_000), APPEARED());
    bench.handle(ms(2_030_001), unclassified(parked(1, ms(2_001_000))));
    bench.run(ms(2_060_000));
    bench.handle(ms(2_060_000), told(asking(POLICY)));
    let outputs = bench.handle(ms(2_060_001), named(APP, "app"));
    assert_eq!(bench.waiting(), [1], "{outputs:?}");
}
