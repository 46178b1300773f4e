//! Queries in virtual time: when they are sent, answered as truncated, given up; and that nobody's flood takes another's room.

use conngate_common::{
    hold::Connector,
    record::{RecordKind, SYN_LEN, UDP},
};

use super::*;

const GATE: CgroupId = CgroupId(7);
const SOCKET: SocketCookie = SocketCookie(70);

const fn ms(millis: u64) -> MonoTime {
    MonoTime(millis * 1_000_000)
}

/// A query with this id, to the nameserver with this number.
fn query(socket: SocketCookie, at: MonoTime, id: u8, server: u8) -> Datagram {
    let record = ParkedRecord {
        header: RecordHeader { at, gate: GATE, socket, kind: RecordKind::Datagram.code(), protocol: UDP },
        first_drop: at,
        container: CgroupId(8),
        connector: Connector::default(),
        uid: 0,
        mark: 0,
        device: 0,
        over_tcp: 1,
        reason: 0,
        syn_len: 0,
        dst_ip: [server; 16],
        dst_port: 53,
        capture_port: 15053,
        ip_version: 4,
        src_port: 40_000,
        syn: [0; SYN_LEN],
    };
    let mut packet = vec![0; 20 + 8 + 12];
    // What the kernel numbers, and sums: of no two packets the same.
    packet[4..12].copy_from_slice(&at.0.to_be_bytes());
    (packet[0], packet[28]) = (0x45, id);
    Datagram { record, packet: packet.into() }
}

/// Everything that is to be done now, in a word each.
fn effects(queries: &mut Queries, now: MonoTime) -> Vec<String> {
    queries.tick(now);
    let ids = |queries: &[Arc<Datagram>]| queries.iter().map(|query| query.packet[28]).collect::<Vec<_>>();
    let word = |effect| match effect {
        Effect::Send { queries, look, .. } => {
            format!("send {:?}{}", ids(&queries), if look { " if bound" } else { "" })
        }
        Effect::Truncate { queries, .. } => format!("truncate {:?}", ids(&queries)),
        Effect::Ended { outcome, .. } => format!("ended {outcome}"),
        Effect::Settled { .. } => "settled".to_owned(),
    };
    std::iter::from_fn(|| queries.poll_effect()).map(word).collect()
}

/// Both families, asked at 0 s, at a gate that is closed.
fn held(truncates: bool) -> Queries {
    let mut queries = Queries::default();
    for id in [1, 2] {
        queries.keep(ms(0), query(SOCKET, ms(0), id, 1));
        assert!(queries.hold(SOCKET, truncates));
    }
    queries
}

#[test]
fn queries_of_a_gate_that_opens_are_sent_once_somebody_is_bound() {
    let mut queries = held(true);
    assert_eq!(effects(&mut queries, ms(999)), [""; 0]);
    queries.opened(ms(1000), GATE);
    queries.release(ms(1000), &[SOCKET]);
    assert_eq!(effects(&mut queries, ms(1000)), ["send [1, 2] if bound"]);
    assert_eq!(effects(&mut queries, ms(1000)), [""; 0], "one look at a time");
    queries.sent(ms(1001), GATE, false);
    assert_eq!(queries.late(), 1);
    let due = queries.next_deadline().unwrap();
    assert_eq!(effects(&mut queries, due), ["send [1, 2] if bound"]);
    queries.sent(due, GATE, true);
    assert_eq!(effects(&mut queries, due), ["settled", "ended established"]);
    assert_eq!(queries.late(), 0);
}

#[test]
fn queries_that_were_sent_are_let_go_of() {
    let mut queries = held(false);
    queries.release(ms(0), &[SOCKET]);
    assert_eq!(effects(&mut queries, ms(0)), ["send [1, 2]"]);
    queries.sent(ms(0), GATE, true);
    assert_eq!(effects(&mut queries, ms(0)), ["ended established"]);
    assert_eq!((queries.next_deadline(), queries.shares.of(GATE)), (None, 0), "nothing is left");
}

#[test]
fn gate_whose_dns_never_comes_waits_for_it_no_longer_than_a_resolver() {
    let mut queries = Queries::default();
    queries.opened(ms(0), GATE);
    let mut now = ms(0);
    let mut looks = 0;
    while queries.late() != 0 {
        assert_eq!(effects(&mut queries, now), ["send [] if bound"]);
        queries.sent(now, GATE, false);
        looks += 1;
        now = queries.next_deadline().unwrap_or(now);
    }
    assert_eq!(effects(&mut queries, now), ["settled"]);
    assert!((10_000..10_500).contains(&(now.0 / 1_000_000)) && looks < 15, "{now:?} {looks}");
}

#[test]
fn query_that_waits_for_half_of_its_patience_is_answered_as_truncated() {
    let mut queries = held(true);
    assert_eq!(queries.next_deadline(), Some(ms(2500)));
    assert_eq!(effects(&mut queries, ms(2499)), [""; 0]);
    assert_eq!(effects(&mut queries, ms(2500)), ["truncate [1, 2]", "ended truncated"]);
    assert_eq!(queries.next_deadline(), None);
}

#[test]
fn query_that_its_resolver_asks_again_is_answered_as_truncated_at_once() {
    let mut queries = held(true);
    queries.keep(ms(1000), query(SOCKET, ms(1000), 1, 2));
    assert_eq!(effects(&mut queries, ms(1000)), [""; 0], "another server is asked");
    queries.keep(ms(1000), query(SOCKET, ms(1000), 1, 1));
    assert_eq!(effects(&mut queries, ms(1000)), ["truncate [1]"]);
}

#[test]
fn query_without_tcp_or_of_a_resolver_that_would_lose_by_it_is_never_answered_as_truncated() {
    let mut impatient = Queries::default();
    let mut asked = query(SOCKET, ms(0), 1, 1);
    asked.record.over_tcp = 0;
    impatient.keep(ms(0), asked);
    assert!(impatient.hold(SOCKET, true));
    for mut queries in [held(false), impatient] {
        assert_eq!(effects(&mut queries, ms(5999)), [""; 0]);
        assert_eq!(effects(&mut queries, ms(6000)), ["ended abandoned"]);
    }
}

#[test]
fn query_of_which_nobody_says_whose_it_is_ends_unseen_and_one_that_passes_is_given_away() {
    let mut queries = Queries::default();
    queries.keep(ms(0), query(SOCKET, ms(0), 1, 1));
    assert_eq!(effects(&mut queries, ms(6000)), [""; 0]);
    queries.keep(ms(7000), query(SOCKET, ms(7000), 1, 1));
    assert_eq!(queries.take(SOCKET).len(), 1);
    assert_eq!(queries.next_deadline(), None);
}

#[test]
fn query_that_comes_after_its_gate_was_opened_is_sent_at_once() {
    let mut queries = held(true);
    queries.release(ms(10), &[SOCKET]);
    assert_eq!(effects(&mut queries, ms(10)), ["send [1, 2]"]);
    queries.keep(ms(11), query(SOCKET, ms(9), 3, 1));
    assert_eq!(effects(&mut queries, ms(11)), [""; 0], "one job of a gate at a time");
    queries.sent(ms(12), GATE, true);
    let due = queries.next_deadline().unwrap();
    assert_eq!(effects(&mut queries, due), ["send [3]"]);
}

#[test]
fn job_that_the_hand_refuses_is_asked_for_again() {
    let mut queries = held(false);
    queries.release(ms(0), &[SOCKET]);
    assert_eq!(effects(&mut queries, ms(0)), ["send [1, 2]"]);
    queries.sent(ms(0), GATE, false);
    assert_eq!(effects(&mut queries, ms(1000)), ["send [1, 2]"]);
}

#[test]
fn flood_of_one_pod_fills_its_own_share_and_what_it_took_is_given_back() {
    let mut queries = Queries::default();
    for socket in 0..3 * SHARE as u64 {
        queries.keep(ms(0), query(SocketCookie(socket), ms(0), 1, 1));
    }
    for id in 0..255 {
        queries.keep(ms(0), query(SocketCookie(0), ms(0), id, 1));
    }
    assert_eq!((queries.sockets.len(), queries.shares.of(GATE)), (SHARE, SHARE));
    let mut other = query(SOCKET, ms(0), 1, 1);
    other.record.header.gate = CgroupId(9);
    other.record.header.socket = SocketCookie(u64::MAX);
    queries.keep(ms(0), other.clone());
    assert_eq!(queries.take(SocketCookie(u64::MAX)).len(), 1);
    queries.keep(ms(0), other);
    assert!(queries.hold(SocketCookie(u64::MAX), true));
    queries.forget(CgroupId(9));
    assert_eq!(effects(&mut queries, ms(6000)), [""; 0]);
    assert_eq!((queries.sockets.len(), queries.due.len(), queries.shares.of(GATE)), (0, 0, 0));
    for id in 0..=255 {
        queries.keep(ms(7000), query(SOCKET, ms(7000), id, 1));
    }
    assert_eq!(queries.shares.of(GATE), MOST);
    queries.forget(GATE);
    assert!(queries.sockets.is_empty() && queries.due.is_empty());
}

#[test]
fn queries_that_a_gate_holds_are_not_given_away() {
    let mut queries = Queries::default();
    queries.keep(ms(0), query(SOCKET, ms(0), 1, 1));
    assert!(queries.hold(SOCKET, true));
    assert!(queries.take(SOCKET).is_empty() && queries.holds(SOCKET));
}

#[test]
fn query_that_is_kept_no_longer_is_not_held() {
    let mut queries = Queries::default();
    queries.keep(ms(0), query(SOCKET, ms(0), 1, 1));
    queries.tick(ms(6000));
    assert!(!queries.hold(SOCKET, true));
}

#[test]
fn gate_that_closes_again_sends_nothing_that_it_had_let_go() {
    let mut queries = held(false);
    queries.opened(ms(10), GATE);
    queries.release(ms(10), &[SOCKET]);
    assert_eq!(effects(&mut queries, ms(10)), ["send [1, 2] if bound"]);
    queries.closed(GATE);
    queries.sent(ms(20), GATE, false);
    assert_eq!(effects(&mut queries, ms(9_000)), ["ended abandoned"]);
    assert_eq!(queries.next_deadline(), None);
}

#[test]
fn gate_that_opens_while_queries_are_sent_looks_afterwards() {
    let mut queries = held(false);
    queries.release(ms(0), &[SOCKET]);
    assert_eq!(effects(&mut queries, ms(0)), ["send [1, 2]"]);
    queries.opened(ms(1), GATE);
    assert!(queries.next_deadline() > Some(ms(1)), "nobody is asked before the answer");
    queries.sent(ms(2), GATE, true);
    assert_eq!(effects(&mut queries, ms(2)), ["ended established", "send [] if bound"]);
}
