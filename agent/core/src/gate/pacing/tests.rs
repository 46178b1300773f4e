//! Laws of pacing, for any order of events.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Push(u64),
    Remove(u64),
    /// Milliseconds.
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..40u64).prop_map(Op::Push),
        2 => (0..40u64).prop_map(Op::Remove),
        1 => prop_oneof![Just(0), 1..30u64, 200..400u64].prop_map(Op::Wait),
    ]
}

/// What an onlooker knows.
#[derive(Default)]
struct Onlooker {
    /// Pushed, and neither removed nor given up.
    live: BTreeSet<SocketCookie>,
    /// How often each of them was sent, and when last.
    sent: HashMap<SocketCookie, (u32, MonoTime)>,
}

impl Onlooker {
    fn pump(&mut self, pacer: &mut Pacer, window: usize, now: MonoTime) {
        let batch = pacer.pump(now);
        for &socket in &batch.given_up {
            assert_eq!(self.sent.remove(&socket).map(|(times, _)| times), Some(RESENDS + 1), "given up too early");
            assert!(self.live.remove(&socket));
        }
        for &socket in &batch.replay {
            assert!(self.live.contains(&socket), "replayed though not waiting");
            let (times, last) = self.sent.entry(socket).or_insert((0, now));
            if *times > 0 {
                assert!(Duration::from_nanos(now.since(*last)) >= REPLAY.delay(*times - 1), "repeated too early");
            }
            (*times, *last) = (*times + 1, now);
            assert!(*times <= RESENDS + 1, "repeated too often");
        }
        assert!(self.sent.len() <= window, "more outstanding than the window");
        assert!(
            2 * self.sent.len() > window || self.sent.len() == self.live.len(),
            "somebody waits though half the window is free"
        );
        assert_eq!(pacer.deadline().is_some(), !self.live.is_empty());
        assert!(pacer.deadline().is_none_or(|due| due > now), "something due was left");
        assert_eq!(pacer.sockets().collect::<BTreeSet<_>>(), self.live);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pacer_any_order_of_events_keeps_its_laws(window in 1..6usize, ops in prop::collection::vec(op(), 0..120)) {
        let (mut pacer, mut onlooker, mut now) = (Pacer::new(window), Onlooker::default(), MonoTime(0));
        for op in ops {
            match op {
                Op::Push(socket) => {
                    pacer.push(SocketCookie(socket));
                    onlooker.live.insert(SocketCookie(socket));
                }
                Op::Remove(socket) => {
                    let socket = SocketCookie(socket);
                    prop_assert_eq!(pacer.remove(socket), onlooker.live.remove(&socket));
                    onlooker.sent.remove(&socket);
                }
                Op::Wait(millis) => now = after(now, Duration::from_millis(millis)),
            }
            onlooker.pump(&mut pacer, window, now);
        }
    }

    #[test]
    fn pacer_nobody_answers_sends_all_and_terminates(window in 1..6usize, sockets in 0..30u64) {
        let (mut pacer, mut onlooker) = (Pacer::new(window), Onlooker::default());
        for socket in (0..sockets).map(SocketCookie) {
            pacer.push(socket);
            onlooker.live.insert(socket);
        }
        let (mut seen, mut rounds) = (BTreeSet::new(), 0);
        onlooker.pump(&mut pacer, window, MonoTime(0));
        seen.extend(onlooker.sent.keys().copied());
        while let Some(due) = pacer.deadline() {
            onlooker.pump(&mut pacer, window, due);
            seen.extend(onlooker.sent.keys().copied());
            rounds += 1;
            prop_assert!(rounds <= sockets * u64::from(RESENDS + 1), "no end in sight");
        }
        prop_assert_eq!(seen.len() as u64, sockets);
        prop_assert!(onlooker.live.is_empty());
    }

    #[test]
    fn pacer_everybody_answers_sends_each_once_in_order(window in 1..6usize, sockets in 0..30u64) {
        let mut pacer = Pacer::new(window);
        (0..sockets).map(SocketCookie).for_each(|socket| pacer.push(socket));
        let mut order = Vec::new();
        loop {
            let batch = pacer.pump(MonoTime(0));
            if batch.replay.is_empty() {
                break;
            }
            for socket in batch.replay {
                order.push(socket);
                prop_assert!(pacer.remove(socket));
            }
        }
        prop_assert_eq!(order, (0..sockets).map(SocketCookie).collect::<Vec<_>>());
    }
}
