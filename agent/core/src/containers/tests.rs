//! The waiting room: one question per container, a share per pod, nobody forgotten.

use conngate_common::{
    hold::Connector,
    record::{RecordHeader, RecordKind, SYN_LEN, TCP},
};

use super::*;

const POD: CgroupId = CgroupId(7);
const CONTAINER: Container = (POD, CgroupId(70));
const GRACE: Duration = Duration::from_secs(10);

const fn ms(millis: u64) -> MonoTime {
    MonoTime(millis * 1_000_000)
}

fn record(gate: CgroupId, socket: u64, at: MonoTime) -> ParkedRecord {
    ParkedRecord {
        header: RecordHeader { at, gate, socket: SocketCookie(socket), kind: RecordKind::Parked.code(), protocol: TCP },
        first_drop: at,
        container: CONTAINER.1,
        connector: Connector::default(),
        reason: 0,
        syn_len: 0,
        uid: 0,
        mark: 0,
        device: 0,
        over_tcp: 1,
        dst_ip: [0; 16],
        dst_port: 0,
        capture_port: 0,
        ip_version: 4,
        src_port: 0,
        syn: [0; SYN_LEN],
    }
}

#[test]
fn container_of_many_connections_is_asked_for_once_and_then_ever_more_rarely() {
    let mut waiting = Unclassified::default();
    let asked = (0..100).filter(|socket| waiting.for_container(ms(0), record(POD, *socket, ms(0)))).count();
    assert_eq!((asked, waiting.count(), waiting.next_due()), (1, 100, None), "one question is open");
    let mut delays = Vec::new();
    let mut now = ms(0);
    for _ in 0..10 {
        assert_eq!(waiting.not_yet(now, CONTAINER), Some(ms(0)));
        let due = waiting.next_due().unwrap();
        delays.push(due.since(now) / 1_000_000);
        assert_eq!(waiting.due(MonoTime(due.0 - 1)), []);
        assert_eq!(waiting.due(due), [CONTAINER]);
        assert_eq!(waiting.next_due(), None);
        now = due;
    }
    assert_eq!(delays, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    assert_eq!(waiting.container_is_known(CONTAINER).len(), 100);
    assert_eq!(waiting.count(), 0);
    assert!(waiting.for_container(now, record(POD, 1, now)), "it is asked for anew");
}

#[test]
fn pod_has_its_share_of_the_room_and_no_more() {
    let mut waiting = Unclassified::default();
    for socket in 0..10_000 {
        waiting.for_container(ms(0), record(POD, socket, ms(0)));
        waiting.for_pod(record(POD, socket, ms(0)));
    }
    assert_eq!(waiting.count(), SHARE);
    let other = CgroupId(8);
    waiting.for_pod(record(other, 1, ms(0)));
    assert_eq!(waiting.pod_is_known(other).len(), 1);
}

#[test]
fn connection_that_ended_or_expired_waits_no_longer() {
    let mut waiting = Unclassified::default();
    for socket in 0..3 {
        waiting.for_container(ms(0), record(POD, socket, ms(0)));
        waiting.for_pod(record(POD, socket, ms(0)));
    }
    waiting.ended(POD, SocketCookie(1));
    assert_eq!(waiting.count(), 4);
    assert_eq!(waiting.expire(ms(9_999), GRACE, |_| false), BTreeMap::new());
    assert_eq!(waiting.expire(ms(10_000), GRACE, |_| false), BTreeMap::from([(POD, 2)]));
    assert_eq!((waiting.count(), waiting.not_yet(ms(10_000), CONTAINER)), (0, None), "nothing is left of it");
    waiting.ask(ms(0), CONTAINER);
    waiting.gone(POD);
    assert_eq!(waiting.not_yet(ms(1), CONTAINER), None);
}

#[test]
fn connection_of_an_undecided_pod_at_a_closed_gate_waits_beyond_the_grace() {
    let mut waiting = Unclassified::default();
    waiting.for_pod(record(POD, 1, ms(0)));
    waiting.for_pod(record(CgroupId(8), 1, ms(0)));
    assert_eq!(waiting.expire(ms(60_000), GRACE, |gate| gate == POD), BTreeMap::new());
    assert_eq!((waiting.pod_is_known(POD).len(), waiting.count()), (1, 0));
}
