//! DNS queries at gates: one rule a test.

use super::kit::*;

/// A query of a resolver that goes on over TCP, at the port where the mesh captures DNS.
fn query(socket: u64, at: MonoTime) -> Datagram {
    let to = SocketAddr::from(([127, 0, 0, 1], DNS_PORT));
    datagram(ParkedRecord { over_tcp: 1, ..parked_at(GATE, APP, socket, at, to) }, 1)
}

fn asked(socket: u64, at: MonoTime) -> Input {
    Input::Datagram(query(socket, at))
}

fn delivered(bound: bool) -> Input {
    Input::Delivered { gate: GATE, bound }
}

/// The sockets of each batch that is sent, and where somebody has to be bound for that.
fn deliveries(outputs: &[Output]) -> Vec<(Vec<u64>, Option<u16>)> {
    let delivery = |output: &Output| {
        let Output::Deliver { queries, look, .. } = output else { return None };
        Some((queries.iter().map(|query| query.record.header.socket.0).collect(), *look))
    };
    outputs.iter().filter_map(delivery).collect()
}

/// The datagram ports of each entry that is written.
fn datagram_ports(outputs: &[Output]) -> Vec<u16> {
    let ports = |output: &Output| {
        let Output::WriteGate(_, entry) = output else { return None };
        Some(entry.as_ref()?.datagram_ports.0[0])
    };
    outputs.iter().filter_map(ports).collect()
}

fn outcomes(outputs: &[Output]) -> Vec<(u64, Outcome)> {
    let facts = facts(outputs).into_iter();
    let ended = |what: &What| {
        let What::Ended { record, outcome, .. } = what else { return None };
        Some((record.header.socket.0, *outcome))
    };
    facts.filter_map(ended).collect()
}

fn truncated(outputs: &[Output]) -> Vec<(usize, u32)> {
    let answer = |output: &Output| {
        let Output::Truncate { queries, uid, .. } = output else { return None };
        Some((queries.len(), *uid))
    };
    outputs.iter().filter_map(answer).collect()
}

fn asking_for(change: impl FnOnce(&mut GateSpec)) -> Bench {
    let mut spec = spec(POLICY);
    change(&mut spec);
    let mut bench = Bench::new();
    for input in [APPEARED(), there([APP, PROXY]), told(pod(1, Ask::Gate(Box::new(spec)))), sandbox(seen(1))] {
        bench.handle(ms(1_000), input);
    }
    bench
}

#[test]
fn query_waits_no_longer_than_its_resolver() {
    let mut bench = asking_for(|spec| spec.dns_truncate = false);
    bench.handle(ms(1_001), asked(1, ms(1_001)));
    bench.run(ms(7_000));
    assert_eq!(bench.waiting(), [1]);
    let outputs = bench.outputs_until(ms(7_500));
    assert!(bench.waiting().is_empty() && outputs.contains(&Output::Release(GATE)));
    assert_eq!(outcomes(&outputs), [(1, Outcome::Abandoned)]);
}

#[test]
fn query_of_a_gate_that_opens_is_sent_once_somebody_is_bound_and_held_by_the_kernel_until_then() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), asked(1, ms(1_001)));
    let opened = bench.handle(ms(1_002), probed(Answer::Ready));
    assert_eq!(deliveries(&opened), [(vec![1], Some(DNS_PORT))]);
    assert_eq!(datagram_ports(&opened), [DNS_PORT]);
    assert_eq!(bench.node.closed_gates(), 1, "the programs go on looking for datagrams");
    let again = bench.handle(ms(1_003), delivered(false));
    assert_eq!((deliveries(&again), bench.waiting()), (vec![], vec![1]));
    assert_eq!(deliveries(&bench.outputs_until(ms(1_200))), [(vec![1], Some(DNS_PORT))]);
    let bound = bench.handle(ms(1_201), delivered(true));
    assert_eq!((datagram_ports(&bound), outcomes(&bound)), (vec![0], vec![(1, Outcome::Established)]));
    assert!(bound.contains(&Output::Beat { closed_gates: 0 }) && bound.contains(&Output::Release(GATE)));
    assert_eq!(deliveries(&bench.outputs_until(ms(20_000))), []);
}

#[test]
fn gate_that_opens_because_nobody_waits_any_longer_looks_for_no_dns() {
    let mut bench = Bench::with(Policy { timeout: Duration::from_secs(1), ..POLICY });
    bench.handle(ms(1_001), asked(1, ms(1_001)));
    let outputs = bench.outputs_until(ms(2_002));
    assert_eq!(bench.state(), Some((GateState::Open, Reason::Timeout)));
    assert_eq!((deliveries(&outputs), datagram_ports(&outputs)), (vec![(vec![1], None)], vec![0]));
}

#[test]
fn query_that_waits_for_long_is_answered_as_truncated_as_the_proxys_user() {
    for (exempt, uid) in [(1337, 1337), (NO_UID, 0)] {
        let mut bench = asking_for(|spec| spec.exempt_uids[0] = exempt);
        bench.handle(ms(1_001), asked(1, ms(1_001)));
        assert_eq!(truncated(&bench.outputs_until(ms(3_500))), []);
        let outputs = bench.outputs_until(ms(3_501));
        assert_eq!((truncated(&outputs), outcomes(&outputs)), (vec![(1, uid)], vec![(1, Outcome::Truncated)]));
        assert!(facts(&outputs).contains(&&What::Truncated(1)) && bench.waiting().is_empty());
        assert_eq!(bench.node.workload(GATE).unwrap().dns_truncated, 1);
    }
}

#[test]
fn query_is_not_answered_as_truncated_where_nobody_wants_it_or_tcp_is_not_captured() {
    let refuses = |spec: &mut GateSpec| spec.dns_truncate = false;
    let without_tcp = |spec: &mut GateSpec| spec.capture_ports = CapturePorts([PORT, 0, 0, 0, 0, 0, 0, 0]);
    for mut bench in [asking_for(refuses), asking_for(without_tcp)] {
        bench.handle(ms(1_001), asked(1, ms(1_001)));
        assert_eq!(truncated(&bench.outputs_until(ms(9_000))), []);
    }
}

#[test]
fn queries_of_an_unknown_container_wait_for_who_it_is_and_pass_when_it_is_exempt() {
    let mut bench = Bench::with(POLICY);
    for number in [1, 2] {
        let query = query(1, ms(1_001));
        let record = ParkedRecord { reason: Reason::Unclassified.code(), ..query.record };
        bench.handle(ms(1_001), Input::Datagram(datagram(record, number)));
    }
    assert!(bench.waiting().is_empty());
    let outputs = bench.handle(ms(1_002), named(APP, "istio-proxy"));
    let passed =
        outputs.iter().filter_map(|output| if let Output::Pass(_, queries) = output { Some(queries) } else { None });
    assert_eq!(passed.map(Vec::len).collect::<Vec<_>>(), [2], "both, once");
}

#[test]
fn query_that_its_resolver_has_given_up_before_it_was_known_whose_it_is_does_not_wait() {
    let mut bench = Bench::with(POLICY);
    let query = query(1, ms(1_001));
    let record = ParkedRecord { reason: Reason::Unclassified.code(), ..query.record };
    bench.handle(ms(1_001), Input::Datagram(datagram(record, 1)));
    bench.run(ms(8_000));
    bench.handle(ms(8_000), named(APP, "app"));
    assert!(bench.waiting().is_empty());
}

#[test]
fn queries_are_given_up_with_the_connections_of_a_gate_that_resets() {
    let reset = Policy { on_timeout: OnTimeout::Reset, timeout: Duration::from_secs(1), ..POLICY };
    let mut bench = Bench::with(reset);
    bench.handle(ms(1_001), asked(1, ms(1_001)));
    let outputs = bench.outputs_until(ms(2_001));
    assert_eq!((outcomes(&outputs), deliveries(&outputs)), (vec![(1, Outcome::Abandoned)], vec![]));
    assert!(outputs.contains(&Output::Reset(GATE, Vec::new())));
    bench.handle(ms(2_002), Input::WasReset(GATE));
    assert_eq!(bench.state(), Some((GateState::Open, Reason::Timeout)));
    assert_eq!(deliveries(&bench.outputs_until(ms(9_000))), []);
}

#[test]
fn gate_remembers_when_it_was_closed_also_what_an_earlier_agent_closed() {
    let closed_at = |bench: &Bench| bench.node.workload(GATE).unwrap().entry().unwrap().closed_at;
    let mut bench = Bench::with(Policy { regate: Some(Duration::from_secs(2)), ..POLICY });
    assert_eq!(closed_at(&bench), ms(1_000));
    bench.handle(ms(1_500), told(asking(Policy { regate: Some(Duration::from_secs(3)), ..POLICY })));
    assert_eq!(closed_at(&bench), ms(1_000), "it is closed since");
    // The question that was open when the pod asked for another gate counts for nothing.
    bench.handle(ms(1_900), probed(Answer::Ready));
    bench.handle(ms(2_000), probed(Answer::Ready));
    assert!(bench.is_open());
    bench.handle(ms(3_000), listening(1, PORT, false));
    bench.handle(ms(3_001), looked(Answer::NotReady, Why::Silence));
    assert_eq!((bench.is_open(), closed_at(&bench)), (false, ms(3_001)));

    let mut bench = Bench::new();
    let entry = GateEntry { closed_at: ms(7), ..entry(POLICY, GateState::Holding, Reason::NotReady) };
    bench.handle(ms(1_000), Input::Inherited { gates: vec![(GATE, entry)], containers: Vec::new() });
    bench.handle(ms(1_000), APPEARED());
    bench.handle(ms(1_001), told(asking(POLICY)));
    assert_eq!((bench.is_open(), closed_at(&bench)), (false, ms(7)));
}

#[test]
fn gate_that_an_earlier_agent_left_open_without_its_dns_goes_on_looking_for_that() {
    for (port, looks) in [(DNS_PORT, 1), (0, 0)] {
        let mut bench = Bench::new();
        let mut entry = entry(POLICY, GateState::Open, Reason::Ready);
        entry.datagram_ports.0[0] = port;
        bench.handle(ms(1_000), Input::Inherited { gates: vec![(GATE, entry)], containers: Vec::new() });
        bench.handle(ms(1_000), APPEARED());
        let outputs = bench.handle(ms(1_001), told(asking(POLICY)));
        assert_eq!((datagram_ports(&outputs), deliveries(&outputs).len()), (vec![port], looks));
    }
}

#[test]
fn gate_that_closes_again_lets_no_query_through_that_it_had_let_go() {
    let mut bench = Bench::with(POLICY);
    bench.handle(ms(1_001), asked(1, ms(1_001)));
    bench.handle(ms(1_002), probed(Answer::Ready));
    bench.handle(ms(1_003), delivered(false));
    let closed = bench.handle(ms(1_004), sandbox(seen(2)));
    assert_eq!((bench.is_open(), outcomes(&closed)), (false, vec![(1, Outcome::Abandoned)]));
    assert_eq!(deliveries(&bench.outputs_until(ms(9_000))), []);
}

#[test]
fn look_for_listeners_does_not_look_where_queries_go() {
    let mut bench = Bench::with(Policy { readiness: Readiness::Listener, ..POLICY });
    bench.handle(ms(1_001), asked(1, ms(1_001)));
    bench.handle(ms(1_001), held(parked(2, ms(1_001))));
    bench.handle(ms(1_001), looked(Answer::NotReady, Why::Probe));
    let looks = looks(&bench.outputs_until(ms(3_000)), Why::Probe);
    assert_eq!(looks[0], [SocketAddr::from(([127, 0, 0, 1], PORT))]);
}
