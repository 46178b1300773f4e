//! Lives of gates and their containers, what fails and what an earlier agent left: one rule a test.

use super::kit::*;

const RESET: Policy = Policy { on_timeout: OnTimeout::Reset, timeout: Duration::from_secs(1), ..POLICY };
const SHORT: Policy = Policy { timeout: Duration::from_secs(1), ..POLICY };

fn inherited(policy: Policy, state: GateState, reason: Reason, containers: &[CgroupId]) -> Input {
    Input::Inherited { gates: vec![(GATE, entry(policy, state, reason))], containers: containers.to_vec() }
}

/// A node with a gate that timed out at 2 s, whose application waited in vain.
fn timed_out(policy: Policy) -> Bench {
    let mut bench = Bench::with(policy);
    bench.handle(ms(1_000), unclassified(parked(1, ms(1_000))));
    bench.handle(ms(1_000), named(APP, "app"));
    bench.handle(ms(1_001), probed(Answer::NotReady));
    bench.run(ms(2_000));
    bench
}

#[test]
fn container_that_starts_after_a_timeout_is_held_and_those_that_waited_in_vain_are_not() {
    let mut bench = timed_out(SHORT);
    assert_eq!(bench.state(), Some((GateState::Open, Reason::Timeout)));
    let outputs = bench.handle(ms(5_000), there([APP, PROXY, PAUSE, CgroupId(75)]));
    assert_eq!(classes(&outputs), [(APP, Some(ContainerClass::Exempt))]);
    assert_eq!(written(&outputs), [Some((GateState::Holding, Reason::NotReady))]);
    bench.handle(ms(5_001), unclassified(ParkedRecord { container: CgroupId(75), ..parked(2, ms(5_001)) }));
    assert_eq!(
        classes(&bench.handle(ms(5_002), named(CgroupId(75), "app"))),
        [(CgroupId(75), Some(ContainerClass::Gated))]
    );
    assert_eq!(bench.node.gates().gate(GATE).unwrap().timeout_at(), Some(ms(6_001)), "a cap of its own");
    let outputs = bench.handle(ms(5_003), probed(Answer::Ready));
    let outputs = if bench.is_open() { outputs } else { bench.handle(ms(5_004), probed(Answer::Ready)) };
    assert_eq!(classes(&outputs), [(APP, Some(ContainerClass::Gated))], "all are held again, if it closes again");
}

#[test]
fn container_that_starts_at_a_gate_that_is_open_for_its_proxy_closes_nothing() {
    let mut bench = Bench::with(SHORT);
    bench.handle(ms(1_001), probed(Answer::Ready));
    assert_eq!(bench.handle(ms(5_000), there([APP, PROXY, PAUSE, CgroupId(75)])), [Output::FindNetns(GATE)]);
    assert_eq!(bench.handle(ms(5_001), sandbox(seen(1))), []);
}

#[test]
fn container_that_ends_after_a_timeout_closes_nothing() {
    let mut bench = timed_out(SHORT);
    let outputs = bench.handle(ms(5_000), there([PROXY, PAUSE]));
    assert_eq!((classes(&outputs), written(&outputs)), (vec![(APP, None)], vec![]));
}

#[test]
fn reset_is_overtaken_by_nothing_of_its_gate() {
    let mut bench = Bench::with(RESET);
    bench.handle(ms(1_000), held(parked(1, ms(1_000))));
    bench.handle(ms(1_001), probed(Answer::NotReady));
    let outputs = bench.outputs_until(ms(2_000));
    assert!(outputs.contains(&Output::Reset(GATE, vec![parked(1, ms(1_000))])));
    assert_eq!(written(&outputs), [], "it would let them be made");
    let outputs = bench.handle(ms(2_001), Input::WasReset(GATE));
    assert_eq!(written(&outputs), [Some((GateState::Open, Reason::Timeout))]);
    assert!(facts(&outputs).iter().any(|what| matches!(what, What::Opened { .. })));
}

#[test]
fn container_that_starts_while_connections_are_reset_lets_nothing_pass_before_they_are() {
    let mut bench = Bench::with(RESET);
    bench.handle(ms(1_000), unclassified(parked(1, ms(1_000))));
    bench.handle(ms(1_000), named(APP, "app"));
    bench.handle(ms(1_001), probed(Answer::NotReady));
    bench.run(ms(2_000));
    let outputs = bench.handle(ms(2_001), there([APP, PROXY, PAUSE, CgroupId(75)]));
    assert_eq!((classes(&outputs), written(&outputs)), (vec![], vec![]));
    let outputs = bench.handle(ms(2_002), Input::WasReset(GATE));
    let (open, closed) = ((GateState::Open, Reason::Timeout), (GateState::Holding, Reason::NotReady));
    assert_eq!(written(&outputs), [Some(open), Some(closed)]);
    assert_eq!(classes(&outputs), [(APP, Some(ContainerClass::Exempt))]);
}

/// A19
#[test]
fn pod_that_goes_while_its_connections_are_reset_is_told_of_no_more() {
    let mut bench = Bench::with(RESET);
    bench.handle(ms(1_000), held(parked(1, ms(1_000))));
    bench.handle(ms(1_001), probed(Answer::NotReady));
    bench.run(ms(2_000));
    let outputs = bench.handle(ms(2_001), VANISHED());
    assert!(
        matches!(facts(&outputs)[..], [What::Changed { .. }, What::Opened { .. }, What::Gone(None)]),
        "{outputs:?}"
    );
    assert_eq!(written(&outputs).last(), Some(&None));
    assert_eq!(bench.handle(ms(2_002), Input::WasReset(GATE)), []);
    let later = bench.outputs_until(ms(5_000));
    assert!(later.iter().all(|output| matches!(output, Output::Beat { .. })), "{later:?}");
}

#[test]
fn reset_that_takes_too_long_holds_its_gate_up_for_a_second() {
    let mut bench = Bench::with(RESET);
    bench.handle(ms(1_000), held(parked(1, ms(1_000))));
    bench.handle(ms(1_001), probed(Answer::NotReady));
    let outputs = bench.run(ms(3_500));
    let opened = outputs.iter().find(|(_, output)| matches!(output, Output::WriteGate(..))).unwrap();
    assert_eq!(opened.0, ms(3_000));
    assert!(outputs.iter().any(|(_, output)| matches!(output, Output::Fact(Fact { what: What::ResetLate, .. }))));
    assert_eq!(written(&bench.handle(ms(3_501), Input::WasReset(GATE))), []);
}

#[test]
fn gates_whose_connections_are_reset_hold_nobody_else_up() {
    let mut bench = Bench::with(RESET);
    bench.handle(ms(1_000), held(parked(1, ms(1_000))));
    bench.handle(ms(1_001), probed(Answer::NotReady));
    bench.run(ms(2_000));
    bench.handle(ms(2_001), Input::PodAppeared { uid: uid(2), gate: CgroupId(8) });
    let outputs = bench.handle(ms(2_001), told(pod(2, Ask::Gate(Box::new(spec(POLICY))))));
    assert_eq!(written(&outputs), [Some((GateState::Holding, Reason::NotReady))]);
}

#[test]
fn pod_being_deleted_lets_what_waits_go_on() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), held(parked(1, ms(1_001))));
    let outputs = bench.handle(ms(1_002), told(Pod { ending: true, ..asking(POLICY) }));
    assert_eq!(written(&outputs), [Some((GateState::Open, Reason::Terminating))]);
    assert_eq!((facts(&outputs)[0], replayed(&outputs)), (&What::Terminating, vec![1]));
}

/// A19
#[test]
fn nothing_of_a_gate_is_left_or_told_after_it_is_gone() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), held(parked(1, ms(1_001))));
    bench.handle(ms(1_001), unclassified(ParkedRecord { container: CgroupId(75), ..parked(2, ms(1_001)) }));
    let outputs = bench.handle(ms(1_002), VANISHED());
    assert!(outputs.contains(&Output::WriteGate(GATE, None)) && outputs.contains(&Output::Release(GATE)));
    assert_eq!(*facts(&outputs)[0], What::Gone(Some((Reason::NotReady, 1))));
    let late = [
        probed(Answer::Ready),
        looked(Answer::NotReady, Why::First),
        named(APP, "app"),
        sandbox(seen(2)),
        Input::WasReset(GATE),
        Input::Open(GATE),
        there([APP]),
        listening(1, PORT, true),
    ];
    for input in late {
        assert_eq!(bench.handle(ms(1_003), input.clone()), [], "{input:?}");
    }
    let later = bench.run(ms(20_000));
    assert!(later.iter().all(|(_, output)| *output == Output::Beat { closed_gates: 0 }), "{later:?}");
    assert!(bench.node.workload(GATE).is_none() && bench.node.unclassified() == 0);
}

#[test]
fn write_that_failed_is_made_again_with_every_heartbeat_as_it_should_be_by_then() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), Input::GateUnwritten(GATE));
    assert_eq!(bench.node.unwritten(), [1, 0]);
    let entry = |state, reason| Output::WriteGate(GATE, Some(entry(POLICY, state, reason)));
    let again = bench.outputs_until(ms(1_250));
    assert!(again.contains(&entry(GateState::Holding, Reason::NotReady)));
    bench.handle(ms(1_251), Input::GateUnwritten(GATE));
    bench.handle(ms(1_252), probed(Answer::Ready));
    bench.handle(ms(1_252), Input::Delivered { gate: GATE, bound: true });
    assert_eq!(bench.node.unwritten(), [0, 0], "it was written since");
    bench.handle(ms(1_253), Input::GateUnwritten(GATE));
    let again = bench.outputs_until(ms(1_500));
    assert!(again.contains(&entry(GateState::Open, Reason::Ready)));
    let quiet = bench.run(ms(3_000));
    assert!(quiet.iter().all(|(_, output)| matches!(output, Output::Beat { .. })), "{quiet:?}");
}

#[test]
fn removal_that_failed_is_made_again() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), unclassified(parked(1, ms(1_001))));
    bench.handle(ms(1_002), named(APP, "app"));
    bench.handle(ms(1_003), VANISHED());
    bench.handle(ms(1_004), Input::GateUnwritten(GATE));
    bench.handle(ms(1_004), Input::ContainerUnwritten(APP));
    let again = bench.outputs_until(ms(1_250));
    assert!(again.contains(&Output::WriteGate(GATE, None)) && again.contains(&Output::WriteContainer(APP, None)));
}

#[test]
fn container_entry_that_failed_is_made_again() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), unclassified(parked(1, ms(1_001))));
    bench.handle(ms(1_002), named(APP, "app"));
    bench.handle(ms(1_003), Input::ContainerUnwritten(APP));
    let again = bench.outputs_until(ms(1_250));
    assert_eq!(classes(&again), [(APP, Some(ContainerClass::Gated))]);
}

#[test]
fn heartbeat_comes_four_times_a_second() {
    let mut bench = Bench::new();
    let beats = bench.run(ms(2_000)).len();
    assert_eq!(beats, 5);
}

#[test]
fn inherited_open_gate_stays_open_for_its_reason() {
    let mut bench = Bench::new();
    bench.handle(ms(1_000), inherited(POLICY, GateState::Open, Reason::Timeout, &[]));
    bench.handle(ms(1_000), APPEARED());
    let outputs = bench.handle(ms(1_000), told(asking(POLICY)));
    assert_eq!(written(&outputs), [Some((GateState::Open, Reason::Timeout))]);
    assert_eq!(probes(&outputs), 0);
}

#[test]
fn inherited_gate_that_timed_out_is_closed_by_a_container_that_starts_and_not_by_those_that_are_there() {
    let mut bench = Bench::new();
    bench.handle(ms(1_000), inherited(POLICY, GateState::Open, Reason::Timeout, &[]));
    for input in [told(asking(POLICY)), APPEARED()] {
        bench.handle(ms(1_001), input);
    }
    assert_eq!(written(&bench.handle(ms(1_002), there([APP, PROXY]))), []);
    let outputs = bench.handle(ms(1_003), there([APP, PROXY, CgroupId(75)]));
    assert_eq!(written(&outputs), [Some((GateState::Holding, Reason::NotReady))]);
}

#[test]
fn inherited_closed_gate_stays_closed_is_counted_and_asked() {
    let mut bench = Bench::new();
    let outputs = bench.handle(ms(1_000), inherited(POLICY, GateState::Holding, Reason::NotReady, &[]));
    assert_eq!(outputs, [Output::Beat { closed_gates: 1 }]);
    bench.handle(ms(1_000), APPEARED());
    let outputs = bench.handle(ms(1_000), told(asking(POLICY)));
    assert_eq!(written(&outputs), [Some((GateState::Holding, Reason::NotReady))]);
}

#[test]
fn inherited_gates_and_containers_that_are_gone_go_once_all_is_known() {
    let mut bench = Bench::new();
    bench.handle(ms(1_000), inherited(POLICY, GateState::Holding, Reason::NotReady, &[APP]));
    assert_eq!(written(&bench.handle(ms(1_001), Input::Walked)), []);
    assert!(!bench.node.is_reconciled());
    let outputs = bench.handle(ms(1_002), Input::Synced);
    assert_eq!((written(&outputs), classes(&outputs)), (vec![None], vec![(APP, None)]));
    assert!(bench.node.is_reconciled());
    assert_eq!(outputs.last(), Some(&Output::Beat { closed_gates: 0 }));
}

/// A20
#[test]
fn inherited_containers_of_declined_pods_go_and_those_of_gated_ones_are_told_apart_again() {
    for (ask, identifies, goes) in [
        (Ask::Gate(Box::new(spec(POLICY))), true, vec![]),
        (Ask::None("it does not ask".to_owned()), false, vec![(APP, None)]),
    ] {
        let mut bench = Bench::new();
        bench.handle(ms(1_000), inherited(POLICY, GateState::Holding, Reason::NotReady, &[APP]));
        for input in [APPEARED(), there([APP]), Input::Walked, told(pod(1, ask))] {
            bench.handle(ms(1_001), input);
        }
        let outputs = bench.handle(ms(1_002), Input::Synced);
        let asked = outputs.contains(&Output::Identify { gate: GATE, container: APP });
        assert_eq!((asked, classes(&outputs)), (identifies, goes));
    }
}

/// A20
#[test]
fn inherited_containers_of_a_pod_that_is_decided_later_go_or_are_told_apart_then() {
    for (ask, identifies, goes) in [
        (Ask::Gate(Box::new(spec(POLICY))), true, vec![]),
        (Ask::None("it does not ask".to_owned()), false, vec![(APP, None)]),
    ] {
        let mut bench = Bench::new();
        bench.handle(ms(1_000), inherited(POLICY, GateState::Holding, Reason::NotReady, &[APP]));
        let undecided = told(pod(1, Ask::Undecided("its namespace is not known yet".to_owned())));
        for input in [APPEARED(), there([APP]), undecided, Input::Walked] {
            bench.handle(ms(1_001), input);
        }
        assert_eq!(classes(&bench.handle(ms(1_002), Input::Synced)), [], "nobody can say");
        bench.handle(ms(1_003), told(pod(1, ask)));
        let outputs = bench.outputs_until(ms(6_000));
        let asked = outputs.contains(&Output::Identify { gate: GATE, container: APP });
        assert_eq!((asked, classes(&outputs)), (identifies, goes));
    }
}

/// A20
#[test]
fn inherited_container_that_ends_before_it_is_told_apart_goes() {
    let mut bench = Bench::new();
    bench.handle(ms(1_000), inherited(POLICY, GateState::Holding, Reason::NotReady, &[APP, PROXY]));
    for input in [APPEARED(), there([APP, PROXY]), told(asking(POLICY)), Input::Walked, Input::Synced] {
        bench.handle(ms(1_001), input);
    }
    bench.handle(ms(1_002), named(PROXY, "istio-proxy"));
    bench.handle(ms(1_003), there([PROXY]));
    assert_eq!(classes(&bench.outputs_until(ms(6_000))), [(APP, None)]);
    assert_eq!(classes(&bench.handle(ms(6_001), VANISHED())), [(PROXY, None)]);
}

/// A18
#[test]
fn adopted_gate_takes_in_what_waits_and_opens_for_a_listener() {
    let mut bench = Bench::new();
    bench.handle(ms(1_000), inherited(POLICY, GateState::Holding, Reason::NotReady, &[]));
    for input in [APPEARED(), there([APP, PROXY]), Input::Walked, Input::Synced] {
        bench.handle(ms(1_001), input);
    }
    bench.handle(ms(1_002), held(parked(1, ms(1_002))));
    assert_eq!((bench.node.unclassified(), bench.state()), (1, None), "its pod may yet be told of");
    let outputs = bench.outputs_until(ms(6_000));
    assert!(facts(&outputs).contains(&&What::Adopted));
    assert_eq!((bench.waiting(), bench.node.unclassified()), (vec![1], 0));
    bench.handle(ms(6_001), held(parked(2, ms(6_001))));
    assert_eq!(bench.waiting(), [1, 2]);
    let outputs = bench.handle(ms(6_002), sandbox(seen(1)));
    assert_eq!((looks(&outputs, Why::Probe).len(), probes(&outputs)), (1, 0));
    let outputs = bench.handle(ms(6_003), looked(Answer::Listening, Why::Probe));
    assert_eq!((bench.state(), replayed(&outputs)), (Some((GateState::Open, Reason::Listening)), vec![1, 2]));
}

/// A18
#[test]
fn adopted_gate_whose_pod_is_told_of_after_all_is_what_its_pod_asks_for() {
    let mut bench = Bench::new();
    bench.handle(ms(1_000), inherited(POLICY, GateState::Holding, Reason::NotReady, &[]));
    bench.handle(ms(1_001), APPEARED());
    bench.run(ms(6_000));
    let outputs = bench.handle(ms(6_001), told(asking(POLICY)));
    assert_eq!(written(&outputs), [Some((GateState::Holding, Reason::NotReady))]);
    bench.handle(ms(6_002), sandbox(seen(1)));
    let ready = probes(&bench.handle(ms(6_003), probed(Answer::Ready)));
    assert_eq!((bench.is_open(), ready), (true, 0));
}
