//! Whose a held connection is, one rule a test.

use super::kit::*;

fn untold(id: Option<&str>, not_yet: bool) -> Found {
    Found::Untold { id: id.map(str::to_owned), not_yet, why: "its mounts name none".to_owned() }
}

fn identifies(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Identify { .. })).count()
}

#[test]
fn connection_of_a_cgroup_that_nobody_knows_makes_the_node_look_for_its_pod() {
    let mut bench = Bench::new();
    assert_eq!(bench.handle(ms(1_001), unclassified(parked(1, ms(1_001)))), [Output::FindPod(GATE)]);
    let outputs = bench.handle(ms(1_002), APPEARED());
    assert!(outputs.contains(&Output::AskFor(uid(1))), "{outputs:?}");
    let outputs = bench.handle(ms(1_003), told(asking(POLICY)));
    assert_eq!(identifies(&outputs), 1);
    let outputs = bench.handle(ms(1_004), named(APP, "app"));
    assert_eq!(classes(&outputs), [(APP, Some(ContainerClass::Gated))]);
    assert_eq!((bench.waiting(), bench.node.unclassified()), (vec![1], 0));
}

#[test]
fn connections_of_a_container_ask_for_it_once() {
    let mut bench = Bench::with(POLICY);
    let asked = (1..=100).map(|socket| identifies(&bench.handle(ms(1_001), unclassified(parked(socket, ms(1_001))))));
    assert_eq!(asked.sum::<usize>(), 1);
    bench.handle(ms(1_002), named(APP, "app"));
    assert_eq!(bench.waiting().len(), 100);
    assert_eq!(identifies(&bench.handle(ms(1_003), unclassified(parked(101, ms(1_003))))), 0, "it is known");
    assert_eq!(bench.waiting().len(), 101);
}

#[test]
fn connection_of_an_exempt_container_is_sent_on_and_does_not_wait() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), unclassified(parked(1, ms(1_001))));
    let outputs = bench.handle(ms(1_002), named(APP, "istio-proxy"));
    assert_eq!(classes(&outputs), [(APP, Some(ContainerClass::Exempt))]);
    assert_eq!((replayed(&outputs), bench.waiting(), bench.is_open()), (vec![1], vec![], false));
    let outputs = bench.handle(ms(1_003), unclassified(parked(2, ms(1_003))));
    assert_eq!(replayed(&outputs), [2], "the kernel was late to hear of it");
}

#[test]
fn container_that_cannot_be_told_is_asked_for_again_and_named_by_its_status_after_a_second() {
    let mut bench = Bench::with(POLICY);
    let mut pod = asking(POLICY);
    pod.containers[0].id = Some("containerd://id-70".to_owned());
    bench.handle(ms(1_000), told(pod));
    bench.handle(ms(1_001), unclassified(parked(1, ms(1_001))));
    let outputs = bench.handle(ms(1_002), identified(APP, untold(Some("id-70"), true)));
    assert_eq!((classes(&outputs), bench.node.unclassified()), (vec![], 1), "the status may be the last one's");
    let again = bench.outputs_until(ms(2_050));
    assert_eq!(identifies(&again), 1);
    let outputs = bench.handle(ms(2_050), identified(APP, untold(Some("id-70"), true)));
    assert_eq!((classes(&outputs), bench.waiting()), (vec![(APP, Some(ContainerClass::Gated))], vec![1]));
}

#[test]
fn container_whose_mounts_never_tell_is_named_by_its_status_at_once_and_by_no_other_id() {
    let mut bench = Bench::with(POLICY);
    let mut pod = asking(POLICY);
    pod.containers[0].id = Some("containerd://id-70".to_owned());
    bench.handle(ms(1_000), told(pod));
    bench.handle(ms(1_001), unclassified(parked(1, ms(1_001))));
    for id in [None, Some("id-7"), Some("")] {
        assert_eq!(classes(&bench.handle(ms(1_002), identified(APP, untold(id, false)))), []);
    }
    let outputs = bench.handle(ms(1_003), identified(APP, untold(Some("id-70"), false)));
    assert_eq!(classes(&outputs), [(APP, Some(ContainerClass::Gated))]);
}

#[test]
fn container_that_is_gone_leaves_no_entry_behind() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), unclassified(parked(1, ms(1_001))));
    bench.handle(ms(1_002), there([PROXY, PAUSE]));
    let outputs = bench.handle(ms(1_003), identified(APP, Found::Gone));
    assert_eq!((classes(&outputs), bench.node.unclassified(), replayed(&outputs)), (vec![], 0, vec![1]));
    let outputs = bench.handle(ms(1_004), VANISHED());
    assert_eq!(classes(&outputs), []);
}

/// A4
#[test]
fn undecided_pod_is_not_declined_and_what_is_held_waits_for_the_grace() {
    let mut bench = Bench::new();
    bench.handle(ms(1_000), APPEARED());
    bench.handle(ms(1_000), told(pod(1, Ask::Undecided("its namespace is not known yet".to_owned()))));
    bench.handle(ms(1_001), unclassified(parked(1, ms(1_001))));
    let outputs = bench.outputs_until(ms(11_000));
    assert_eq!((written(&outputs), replayed(&outputs), bench.node.unclassified()), (vec![], vec![], 1));
    bench.handle(ms(11_000), told(asking(POLICY)));
    bench.handle(ms(11_000), named(APP, "app"));
    assert_eq!((bench.waiting(), bench.is_open()), (vec![1], false));
}

/// A4
#[test]
fn undecided_pod_that_does_not_ask_after_all_lets_what_is_held_go_on() {
    let mut bench = Bench::new();
    bench.handle(ms(1_000), APPEARED());
    bench.handle(ms(1_001), unclassified(parked(1, ms(1_001))));
    let outputs = bench.handle(ms(1_002), told(pod(1, Ask::None("it does not ask".to_owned()))));
    assert_eq!(written(&outputs), [Some((GateState::NotEnrolled, Reason::NotEnrolled))]);
    assert_eq!(replayed(&outputs), [1]);
}

#[test]
fn undecided_pod_keeps_the_kernels_connect_hooks_at_work() {
    let mut bench = Bench::new();
    let beat = |closed_gates| Output::Beat { closed_gates };
    assert_eq!(bench.handle(ms(1_000), APPEARED()), [beat(1)]);
    let outputs = bench.handle(ms(1_001), told(pod(1, Ask::None("it does not ask".to_owned()))));
    assert_eq!(outputs.last(), Some(&beat(0)));
    let outputs = bench.handle(ms(1_002), told(asking(POLICY)));
    assert_eq!(outputs.last(), Some(&beat(1)), "it is closed");
}

/// A17
#[test]
fn connection_that_ended_while_nobody_knew_its_pod_is_not_admitted_later() {
    let mut bench = Bench::new();
    for socket in 1..=8 {
        bench.handle(ms(1_001), unclassified(parked(socket, ms(1_001))));
        if socket != 8 {
            bench.handle(ms(1_002), ended(socket, ms(1_002), ms(1_001), Outcome::Abandoned));
        }
    }
    assert_eq!(bench.node.unclassified(), 1);
    bench.handle(ms(1_003), APPEARED());
    bench.handle(ms(1_003), told(asking(POLICY)));
    bench.handle(ms(1_003), named(APP, "app"));
    assert_eq!((bench.waiting(), bench.node.gates().gate(GATE).unwrap().held()), (vec![8], 1));
}

#[test]
fn connections_whose_container_nobody_could_tell_are_let_go_of_after_the_grace_and_that_is_told() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), unclassified(parked(1, ms(1_001))));
    bench.handle(ms(1_002), identified(APP, untold(None, false)));
    let outputs = bench.outputs_until(ms(16_500));
    assert!(facts(&outputs).contains(&&What::Unclassified(1)));
    assert_eq!(bench.node.unclassified(), 0);
}

/// A27
#[test]
fn pod_that_no_source_knows_is_asked_for_again_while_connections_wait() {
    let mut bench = Bench::new();
    bench.handle(ms(1_000), APPEARED());
    for (socket, now) in [(1, ms(1_001)), (2, ms(5_000)), (3, ms(60_000))] {
        assert!(bench.handle(now, unclassified(parked(socket, now))).contains(&Output::AskFor(uid(1))));
    }
}

#[test]
fn pod_that_nobody_tells_of_for_a_minute_is_overdue() {
    let mut bench = Bench::new();
    bench.handle(ms(1_000), APPEARED());
    bench.run(ms(66_000));
    assert_eq!(bench.node.overdue(), 0);
    bench.run(ms(71_000));
    assert_eq!(bench.node.overdue(), 1);
}

#[test]
fn socket_that_connects_again_waits_once_with_its_second_packet() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), held(parked(1, ms(1_001))));
    bench.node.handle(ms(1_002), ended(1, ms(1_002), ms(1_001), Outcome::Abandoned));
    bench.handle(ms(1_003), held(parked(1, ms(1_003))));
    assert_eq!((bench.waiting(), bench.node.waiting(GATE)[0].first_drop), (vec![1], ms(1_003)));
}
