//! When gates open and whom they ask, one rule a test.

use super::kit::*;

const OPEN_READY: Option<(GateState, Reason)> = Some((GateState::Open, Reason::Ready));

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A pod that asks for `policy`, whose last status calls the proxy's container `id` ready.
fn ready_by_status(policy: Policy, id: &str) -> Input {
    let mut pod = asking(policy);
    (pod.containers[1].is_ready_proxy, pod.containers[1].id) = (true, Some(format!("containerd://{id}")));
    told(pod)
}

#[test]
fn gate_opens_when_its_proxy_is_ready_and_replays_what_waits() {
    let mut bench = Bench::with(POLICY);
    assert_eq!(bench.state(), Some((GateState::Holding, Reason::NotReady)));
    let outputs = bench.handle(ms(1_001), held(parked(1, ms(1_001))));
    assert_eq!(outputs[0], Output::Prepare(GATE, Box::new(parked(1, ms(1_001)))));
    let outputs = bench.handle(ms(1_002), probed(Answer::Ready));
    assert_eq!((written(&outputs), replayed(&outputs)), (vec![OPEN_READY], vec![1]));
    let outputs = bench.handle(ms(1_003), ended(1, ms(1_003), ms(1_001), Outcome::Established));
    assert!(outputs.contains(&Output::Release(GATE)));
    let after = Some(Duration::from_millis(1));
    assert!(
        facts(&outputs).iter().any(|what| matches!(what, What::Ended { after_ready, .. } if *after_ready == after))
    );
}

/// A1
#[test]
fn status_of_a_container_that_is_not_there_opens_nothing_whoever_listens() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), probed(Answer::Unanswered));
    let outputs = bench.handle(ms(1_002), ready_by_status(POLICY, "before-the-reboot"));
    assert_eq!((probes(&outputs), looks(&outputs, Why::Probe)), (0, vec![]));
    bench.run(ms(1_100));
    let outputs = bench.handle(ms(1_100), probed(Answer::Unanswered));
    assert_eq!((looks(&outputs, Why::Probe), bench.is_open()), (vec![], false));
}

/// A1
#[test]
fn status_of_a_container_that_is_there_counts_where_the_proxy_cannot_be_asked_and_somebody_listens() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), probed(Answer::Unanswered));
    let outputs = bench.handle(ms(1_002), ready_by_status(POLICY, "id-71"));
    assert_eq!((probes(&outputs), bench.is_open()), (1, false), "it only makes the gate ask");
    let outputs = bench.handle(ms(1_003), probed(Answer::Unanswered));
    assert_eq!(looks(&outputs, Why::Probe), [vec![]], "on the proxy's port, for nobody waits");
    bench.handle(ms(1_004), looked(Answer::Listening, Why::Probe));
    assert_eq!(bench.state(), Some((GateState::Open, Reason::KubeletReady)));
}

/// A2
#[test]
fn listener_makes_a_retry_gate_look_and_opens_nothing() {
    let mut bench = Bench::with(RETRY);
    bench.handle(ms(1_001), looked(Answer::NotReady, Why::Probe));
    let outputs = bench.handle(ms(1_002), listening(1, PORT, true));
    assert_eq!((looks(&outputs, Why::Probe), bench.is_open()), (vec![vec![]], false));
    bench.handle(ms(1_003), looked(Answer::Listening, Why::Probe));
    assert_eq!(bench.state(), Some((GateState::Open, Reason::Listening)));
}

#[test]
fn listener_that_comes_and_goes_is_told_ten_times_a_second_at_most() {
    let mut bench = Bench::with(RETRY);
    let is_told = |output: &Output| matches!(output, Output::Fact(fact) if fact.what == What::Listening);
    let mut told =
        |now| bench.handle(ms(now), listening(1, PORT, true)).iter().filter(|output| is_told(output)).count();
    assert_eq!([1_002, 1_002, 1_050, 1_101, 1_102, 1_150, 1_202].map(&mut told), [1, 0, 0, 0, 1, 0, 1]);
}

/// A2
#[test]
fn listener_in_another_namespace_or_at_another_port_is_nobodys_business() {
    let mut bench = Bench::with(RETRY);
    bench.handle(ms(1_001), looked(Answer::NotReady, Why::Probe));
    for input in [listening(2, PORT, true), listening(1, 4140, true), listening(0, 4140, true), listening(1, 0, true)] {
        assert_eq!(bench.handle(ms(1_002), input), []);
    }
}

/// A2
#[test]
fn listener_of_a_kernel_that_cannot_tell_where_makes_the_gate_look_and_opens_nothing() {
    let mut bench = Bench::with(RETRY);
    bench.handle(ms(1_001), looked(Answer::NotReady, Why::Probe));
    let outputs = bench.handle(ms(1_002), listening(0, PORT, true));
    assert_eq!((looks(&outputs, Why::Probe).len(), bench.is_open()), (1, false));
}

/// A2
#[test]
fn listener_while_the_namespace_is_not_known_is_nobodys_business_and_the_gate_asks_once_it_is() {
    let mut bench = Bench::new();
    bench.handle(ms(1_000), APPEARED());
    assert!(bench.handle(ms(1_000), told(asking(RETRY))).contains(&Output::FindNetns(GATE)));
    bench.handle(ms(1_002), sandbox(Sandbox::Nobody));
    assert_eq!(bench.handle(ms(1_003), listening(2, PORT, true)), [], "it may be another pod's");
    let outputs = bench.handle(ms(1_004), sandbox(seen(1)));
    assert_eq!((looks(&outputs, Why::Probe).len(), bench.is_open()), (1, false), "it asks by itself");
}

/// A8
#[test]
fn sandbox_made_anew_before_the_first_was_listed_is_noticed_with_the_first_list() {
    let mut bench = Bench::new();
    for input in [APPEARED(), told(asking(POLICY)), sandbox(seen(1))] {
        bench.handle(ms(1_000), input);
    }
    assert!(bench.handle(ms(1_500), there([APP, PROXY, PAUSE])).contains(&Output::FindNetns(GATE)));
    let outputs = bench.handle(ms(1_501), sandbox(seen(2)));
    assert!(facts(&outputs).contains(&&What::Renewed));
}

/// A3
#[test]
fn retry_gate_looks_exactly_where_its_connections_wait() {
    let mut bench = Bench::with(RETRY);
    bench.handle(ms(1_001), looked(Answer::NotReady, Why::Probe));
    let addresses = [local(PORT), "[::1]:15053".parse().unwrap()];
    for (socket, at) in [(1, addresses[0]), (2, addresses[1]), (3, addresses[0])] {
        bench.handle(ms(1_002), held(parked_at(GATE, APP, socket, ms(1_002), at)));
    }
    let outputs = bench.handle(ms(1_003), listening(1, DNS_PORT, true));
    assert_eq!(looks(&outputs, Why::Probe), [addresses]);
    bench.handle(ms(1_004), looked(Answer::NotReady, Why::Probe));
    assert!(!bench.is_open(), "one of its ports is not all");
}

/// A3
#[test]
fn retry_gate_whose_namespace_is_seen_with_a_container_looks_where_that_ones_connections_wait() {
    let mut bench = Bench::new();
    let at = "[::1]:15053".parse().unwrap();
    for input in [APPEARED(), told(asking(RETRY)), unclassified(parked_at(GATE, APP, 1, ms(1_000), at))] {
        bench.handle(ms(1_000), input);
    }
    let found = Found::Named("app".to_owned());
    let outputs = bench.handle(ms(1_001), Input::Identified { gate: GATE, container: APP, found, sandbox: seen(1) });
    assert_eq!(looks(&outputs, Why::Probe), [vec![at]]);
}

#[test]
fn gate_without_a_namespace_is_told_that_nobody_answers_and_asks_for_the_namespace_once() {
    let mut bench = Bench::new();
    bench.handle(ms(1_000), APPEARED());
    let outputs = bench.handle(ms(1_000), told(asking(POLICY)));
    assert_eq!(outputs.iter().filter(|output| **output == Output::FindNetns(GATE)).count(), 1);
    assert_eq!(bench.node.workload(GATE).unwrap().found.as_ref().unwrap().1, "no process yet");
    let later = bench.run(ms(3_000));
    assert_eq!(
        later.iter().filter(|(_, output)| matches!(output, Output::FindNetns(_) | Output::Probe { .. })).count(),
        0
    );
    let outputs = bench.handle(ms(3_000), sandbox(seen(1)));
    assert_eq!((probes(&outputs), looks(&outputs, Why::First).len()), (1, 1), "whoever asked before had nobody to ask");
}

/// A8
#[test]
fn sandbox_made_anew_closes_an_open_gate_and_asks_in_the_new_namespace() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), probed(Answer::Ready));
    assert_eq!(bench.handle(ms(2_000), there([APP, PROXY, PAUSE])), []);
    let outputs = bench.handle(ms(2_001), there([CgroupId(73)]));
    assert!(outputs.contains(&Output::FindNetns(GATE)));
    assert_eq!(bench.handle(ms(2_002), sandbox(seen(1))), [], "it is the same");
    bench.handle(ms(2_003), there([CgroupId(74)]));
    let outputs = bench.handle(ms(2_004), sandbox(seen(2)));
    assert_eq!(written(&outputs), [Some((GateState::Holding, Reason::NotReady))]);
    assert!(facts(&outputs).contains(&&What::Renewed) && outputs.contains(&Output::Release(GATE)));
    let asked =
        outputs.iter().find_map(|output| if let Output::Probe { netns, .. } = output { Some(*netns) } else { None });
    assert_eq!(asked, Some(netns(2)));
}

/// A8
#[test]
fn answer_out_of_the_namespace_before_is_worth_nothing() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(2_000), there([CgroupId(73)]));
    let outputs = bench.handle(ms(2_001), sandbox(seen(2)));
    assert_eq!(probes(&outputs), 0, "one question is open");
    let outputs = bench.handle(ms(2_002), probed(Answer::Ready));
    assert_eq!((bench.is_open(), probes(&outputs)), (false, 1));
    bench.handle(ms(2_003), probed(Answer::Ready));
    assert!(bench.is_open());
}

/// A8
#[test]
fn pod_whose_processes_are_all_gone_has_a_closed_gate_until_they_come_back() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), probed(Answer::Ready));
    bench.handle(ms(2_000), there([]));
    let outputs = bench.handle(ms(2_001), sandbox(Sandbox::Nobody));
    assert_eq!(written(&outputs), [Some((GateState::Holding, Reason::NotReady))]);
    assert_eq!(probes(&bench.handle(ms(2_500), sandbox(seen(1)))), 1);
}

/// A8
#[test]
fn namespace_is_looked_for_by_one_at_a_time_and_again_after_a_look_that_may_have_come_too_early() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), probed(Answer::Ready));
    assert_eq!(bench.handle(ms(2_000), there([APP, PROXY])), [Output::FindNetns(GATE)]);
    assert_eq!(bench.handle(ms(2_001), there([APP])), []);
    assert_eq!(bench.handle(ms(2_002), sandbox(seen(1))), [Output::FindNetns(GATE)]);
    let outputs = bench.handle(ms(2_003), sandbox(seen(2)));
    assert_eq!(written(&outputs), [Some((GateState::Holding, Reason::NotReady))]);
    assert!(!outputs.contains(&Output::FindNetns(GATE)));
}

#[test]
fn container_seen_in_its_namespace_answers_no_look_for_it() {
    let mut bench = Bench::new();
    for input in [APPEARED(), told(asking(POLICY)), unclassified(parked(1, ms(1_000)))] {
        bench.handle(ms(1_000), input);
    }
    bench.handle(ms(1_001), named(APP, "app"));
    let outputs = bench.outputs_until(ms(2_000));
    assert!(!outputs.contains(&Output::FindNetns(GATE)), "it is being looked for");
    let found = Found::Named("istio-proxy".to_owned());
    bench.handle(ms(2_001), Input::Identified { gate: GATE, container: PROXY, found, sandbox: seen(1) });
    assert_eq!(bench.node.workload(GATE).unwrap().netns(), Some(netns(1)));
}

/// A8
#[test]
fn namespace_that_could_not_be_seen_is_looked_for_again() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), probed(Answer::Ready));
    bench.handle(ms(2_000), there([APP]));
    bench.handle(ms(2_001), sandbox(Sandbox::Unknown));
    assert!(bench.is_open() && bench.outputs_until(ms(6_000)).contains(&Output::FindNetns(GATE)));
    bench.handle(ms(6_001), sandbox(seen(2)));
    assert!(!bench.is_open() && !bench.outputs_until(ms(12_000)).contains(&Output::FindNetns(GATE)));
}

/// A8
#[test]
fn sandbox_made_anew_closes_a_gate_that_an_earlier_agent_left_open() {
    let mut bench = Bench::new();
    let gates = vec![(GATE, entry(POLICY, GateState::Open, Reason::Ready))];
    bench.handle(ms(1_000), Input::Inherited { gates, containers: Vec::new() });
    bench.handle(ms(1_000), APPEARED());
    bench.handle(ms(1_000), there([APP, PROXY, PAUSE]));
    assert!(bench.handle(ms(1_000), told(asking(POLICY))).contains(&Output::FindNetns(GATE)));
    bench.handle(ms(1_001), sandbox(seen(1)));
    assert!(bench.is_open());
    bench.handle(ms(2_000), there([CgroupId(73)]));
    bench.handle(ms(2_001), sandbox(seen(2)));
    assert_eq!(bench.state(), Some((GateState::Holding, Reason::NotReady)));
}

/// A8
#[test]
fn sandbox_made_anew_while_the_pod_asked_for_no_gate_is_noticed_when_it_asks() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(2_000), told(pod(1, Ask::None("it does not ask".to_owned()))));
    bench.handle(ms(2_001), there([CgroupId(73), CgroupId(74)]));
    assert!(bench.handle(ms(2_002), told(asking(POLICY))).contains(&Output::FindNetns(GATE)));
    let outputs = bench.handle(ms(2_003), sandbox(seen(2)));
    assert!(facts(&outputs).contains(&&What::Renewed));
}

#[test]
fn proxy_vouched_for_before_its_new_namespace_was_seen_is_vouched_for_there() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), probed(Answer::Unanswered));
    bench.handle(ms(2_000), there([CgroupId(73), CgroupId(74)]));
    bench.handle(ms(2_001), ready_by_status(POLICY, "id-74"));
    bench.handle(ms(2_002), sandbox(seen(2)));
    let mut outputs = bench.handle(ms(2_003), probed(Answer::Unanswered));
    outputs.extend(bench.handle(ms(2_004), probed(Answer::Unanswered)));
    assert_eq!(looks(&outputs, Why::Probe).len(), 1, "the kubelet's word counts");
}

#[test]
fn quiet_proxy_is_asked_but_once_a_second_and_at_once_when_somebody_listens() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_000), held(parked(1, ms(1_000))));
    bench.handle(ms(1_000), looked(Answer::NotReady, Why::First));
    let mut asked = Vec::new();
    let mut now = ms(1_000);
    bench.handle(now, probed(Answer::Unanswered));
    while now < ms(10_000) {
        now = bench.node.next_deadline();
        if probes(&bench.handle(now, Input::Tick)) > 0 {
            asked.push(now.0 / 1_000_000);
            bench.handle(now, probed(Answer::Unanswered));
        }
    }
    let steady = asked.windows(2).map(|pair| pair[1] - pair[0]).skip(6);
    assert!(asked.len() > 8 && steady.into_iter().all(|apart| apart == 1_000), "{asked:?}");
    assert_eq!(probes(&bench.handle(ms(10_001), listening(1, DNS_PORT, true))), 0, "it is not the proxy's own port");
    let last = bench.node.next_deadline();
    assert_eq!(probes(&bench.handle(ms(10_001), listening(1, PORT, true))), 1, "due only at {last:?}");
    let mut outputs = bench.handle(ms(10_002), probed(Answer::NotReady));
    outputs.extend(bench.outputs_until(ms(10_007)));
    assert_eq!(probes(&outputs), 1, "within 5 ms: it is quiet no longer");
}

#[test]
fn kernel_that_tells_of_no_listeners_makes_no_proxy_quiet() {
    let mut bench = Bench::new();
    bench.handle(ms(1_000), Input::Hooks(Hooks { listeners: CapturePorts::default(), ends: true }));
    for input in [APPEARED(), told(asking(POLICY))] {
        bench.handle(ms(1_000), input);
    }
    let outputs = bench.handle(ms(1_000), sandbox(seen(1)));
    assert_eq!((probes(&outputs), looks(&outputs, Why::First).len()), (1, 0));
    bench.handle(ms(1_000), probed(Answer::Unanswered));
    assert_eq!(probes(&bench.outputs_until(ms(1_005))), 1);
}

#[test]
fn probe_of_a_proxy_that_is_late_has_longer_up_to_three_seconds() {
    let mut bench = Bench::with(POLICY);
    let mut deadlines = Vec::new();
    let mut now = ms(1_000);
    for _ in 0..6 {
        let late = Input::Probed { gate: GATE, answer: Answer::NotReady, found: "late".to_owned(), is_late: true };
        let mut outputs = bench.handle(now, late);
        while probes(&outputs) == 0 {
            now = bench.node.next_deadline();
            outputs = bench.handle(now, Input::Tick);
        }
        deadlines.extend(outputs.iter().filter_map(|output| {
            if let Output::Probe { deadline, .. } = output { Some(deadline.as_millis()) } else { None }
        }));
    }
    assert_eq!(deadlines, [500, 1_000, 2_000, 3_000, 3_000, 3_000]);
}

#[test]
fn proxies_are_asked_within_the_budget() {
    let mut node = Bench { node: Node::new(ms(1_000), NonZeroU32::new(10).unwrap()) };
    let outputs: Vec<_> = (1..=30)
        .flat_map(|number| {
            let gate = CgroupId(number);
            let pod = pod(number, Ask::Gate(Box::new(spec(POLICY))));
            let mut outputs = node.handle(ms(1_000), Input::PodAppeared { uid: uid(number), gate });
            outputs.extend(node.handle(ms(1_000), told(pod)));
            outputs.extend(node.handle(ms(1_000), Input::Sandbox { gate, sandbox: seen(number) }));
            outputs
        })
        .collect();
    let first = probes(&outputs);
    let second = probes(&node.outputs_until(ms(2_000)));
    assert!(first <= 3 && (9..=11).contains(&second), "{first} at once, {second} in the next second");
}

#[test]
fn listener_does_not_make_its_proxy_be_asked_before_its_turn() {
    let mut node = Bench { node: Node::new(ms(1_000), NonZeroU32::new(10).unwrap()) };
    for number in 1..=30 {
        let gate = CgroupId(number);
        node.handle(ms(1_000), Input::PodAppeared { uid: uid(number), gate });
        node.handle(ms(1_000), told(pod(number, Ask::Gate(Box::new(spec(POLICY))))));
        node.handle(ms(1_000), Input::Sandbox { gate, sandbox: seen(number) });
    }
    let asked = |outputs: Vec<Output>| {
        outputs.iter().filter(|output| matches!(output, Output::Probe { gate: CgroupId(30), .. })).count()
    };
    let early = (0..100).map(|_| asked(node.handle(ms(1_001), listening(30, PORT, true)))).sum::<usize>();
    assert_eq!((early, asked(node.outputs_until(ms(3_500)))), (0, 0), "29 others ask before");
    assert_eq!(asked(node.outputs_until(ms(4_000))), 1);
}

#[test]
fn proxy_of_a_gate_that_was_opened_before_its_turn_is_not_asked() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), looked(Answer::NotReady, Why::First));
    bench.handle(ms(1_001), probed(Answer::Unanswered));
    assert_eq!(probes(&bench.outputs_until(ms(1_010))), 0, "it is quiet, and asked later");
    bench.handle(ms(1_011), Input::Open(GATE));
    assert_eq!(probes(&bench.outputs_until(ms(5_000))), 0);
    bench.handle(ms(5_001), there([CgroupId(73)]));
    let outputs = bench.handle(ms(5_002), sandbox(seen(2)));
    assert_eq!(probes(&outputs), 1, "no question is left open");
}

#[test]
fn timeout_opens_the_gate_and_says_what_the_proxy_said_last() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), held(parked(1, ms(1_001))));
    bench.handle(ms(1_002), probed(Answer::NotReady));
    let outputs = bench.outputs_until(ms(61_001));
    assert_eq!((bench.state(), replayed(&outputs)), (Some((GateState::Open, Reason::Timeout)), vec![1]));
    let found = facts(&outputs).into_iter().find_map(|what| {
        let What::Opened { summary, found } = what else { return None };
        Some((summary.held, summary.waiting, found.as_ref()?.1.clone()))
    });
    assert_eq!(found, Some((1, 1, "NotReady".to_owned())));
}

#[test]
fn operator_opens_a_closed_gate_and_what_waits_goes_on() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), held(parked(1, ms(1_001))));
    let outputs = bench.handle(ms(1_002), Input::Open(GATE));
    assert_eq!(written(&outputs), [Some((GateState::Open, Reason::Operator))]);
    assert_eq!(replayed(&outputs), [1]);
    assert_eq!(bench.handle(ms(1_003), Input::Open(GATE)), [], "it is open");
    assert_eq!(bench.handle(ms(1_003), Input::Open(CgroupId(8))), [], "it is nobody's");
}

#[test]
fn regated_gate_closes_when_nobody_listens_any_longer_and_one_look_is_under_way_at_a_time() {
    let mut bench = Bench::with(Policy { regate: Some(Duration::from_secs(10)), ..POLICY });
    bench.handle(ms(1_001), probed(Answer::Ready));
    assert_eq!(looks(&bench.handle(ms(2_000), listening(1, PORT, false)), Why::Silence).len(), 1);
    assert_eq!(bench.handle(ms(2_001), listening(1, PORT, false)), []);
    let outputs = bench.handle(ms(2_002), looked(Answer::NotReady, Why::Silence));
    assert_eq!((looks(&outputs, Why::Silence).len(), bench.is_open()), (1, true), "there was news meanwhile");
    bench.handle(ms(2_003), looked(Answer::Unanswered, Why::Silence));
    assert!(bench.is_open(), "nobody could look");
    bench.handle(ms(2_004), listening(1, PORT, false));
    let outputs = bench.handle(ms(2_005), looked(Answer::NotReady, Why::Silence));
    assert_eq!(written(&outputs), [Some((GateState::Holding, Reason::NotReady))]);
}
