//! What is remembered of gates, and that it is bounded.

use std::time::Duration;

use super::*;
use crate::view::event::Connection;

const GATE: CgroupId = CgroupId(7);

fn at(seconds: u64) -> Time {
    Time(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn changed(state: &str, reason: &str) -> What {
    What::Changed { state: state.to_owned(), reason: reason.to_owned(), mode: Some("hold".to_owned()) }
}

fn held(socket: u64, container: &str) -> What {
    What::Held(Connection {
        socket,
        reason: "no-listener".to_owned(),
        destination: "198.51.100.10:80".to_owned(),
        capture_port: 15001,
        container: Some(container.to_owned()),
        process: None,
        since: at(1),
    })
}

fn ended(socket: u64) -> What {
    What::Ended { socket, outcome: "established".to_owned(), attempts: 1, held_seconds: 2.0 }
}

fn journal(story: impl IntoIterator<Item = (u64, What)>) -> Journal {
    let mut journal = Journal::new();
    story.into_iter().for_each(|(second, what)| journal.happened(GATE, "shop/web", at(second), what));
    journal
}

#[test]
fn lives_of_a_gate_that_opened_has_its_connections_and_marks() {
    let journal = journal([
        (0, changed("holding", "not-ready")),
        (1, held(1, "app")),
        (2, What::Listening),
        (3, What::Listening),
        (4, changed("open", "ready")),
        (5, ended(1)),
        (6, changed("open", "terminating")),
    ]);
    let [life] = &journal.lives()[..] else { panic!("one life: {:?}", journal.lives()) };
    assert_eq!((life.listening, life.opened, life.reason.as_deref()), (Some(at(2)), Some(at(4)), Some("ready")));
    assert_eq!((life.held, life.connections.len()), (1, 1));
    assert_eq!((life.connections[0].ended, life.connections[0].outcome.as_deref()), (Some(at(5)), Some("established")));
    assert_eq!(journal.since(GATE), Some(at(6)));
    assert_eq!(journal.held(GATE), [("app".to_owned(), 1)].into());
}

#[test]
fn lives_of_a_gate_that_closed_again_are_two_and_end_with_the_pod() {
    let mut journal = journal([
        (0, changed("holding", "not-ready")),
        (1, changed("open", "ready")),
        (2, changed("holding", "not-ready")),
        (3, held(1, "app")),
    ]);
    assert!(journal.gates.contains_key(&GATE));
    journal.happened(GATE, "shop/web", at(4), What::Gone);
    let lives = journal.lives();
    assert_eq!(
        lives.iter().map(|life| (life.closed, life.opened, life.gone)).collect::<Vec<_>>(),
        [(at(2), None, Some(at(4))), (at(0), Some(at(1)), None),]
    );
    journal.happened(GATE, "shop/web", at(5), ended(1));
    assert!(!journal.gates.contains_key(&GATE), "what comes late makes no new gate");
    assert!(journal.held(GATE).is_empty() && journal.decisions(GATE).is_empty());
}

#[test]
fn journal_of_endless_events_stays_bounded() {
    let gates = 0..3 * u64::try_from(LIVES).unwrap();
    let mut journal = Journal::new();
    for gate in gates {
        journal.happened(CgroupId(gate), "shop/web", at(gate), changed("holding", "not-ready"));
        (0..300).for_each(|socket| journal.happened(CgroupId(gate), "shop/web", at(gate), held(socket, "app")));
        journal.happened(CgroupId(gate), "shop/web", at(gate), What::Gone);
    }
    assert_eq!((journal.gates.len(), journal.over.len(), journal.recent.len()), (0, LIVES, EVENTS));
    let lives = journal.lives();
    assert!(lives.iter().all(|life| life.held == 300 && life.connections.len() == SPANS));
    assert!(lives.is_sorted_by(|one, other| one.closed >= other.closed));
}

#[test]
fn decisions_are_the_last_ten_with_their_reasons() {
    let mut story = vec![(0, changed("holding", "not-ready"))];
    story.extend((1..20).map(|second| (second, changed("open", "ready"))));
    story.push((20, What::Container { container: "app".to_owned(), class: "gated".to_owned() }));
    let decisions = journal(story).decisions(GATE);
    assert_eq!(decisions.len(), DECISIONS);
    assert_eq!(decisions[0].at, at(11));
    assert_eq!((decisions[0].what.as_str(), decisions[0].reason.as_deref()), ("gate open, mode hold", Some("ready")));
    assert_eq!(decisions[9].what, "container \"app\" identified: gated");
}

#[test]
fn events_that_nobody_reads_are_there_for_who_comes_later() {
    let mut journal = journal([(0, changed("holding", "not-ready"))]);
    let (recent, mut coming) = journal.events();
    assert_eq!(recent.len(), 1);
    journal.happened(GATE, "shop/web", at(1), held(1, "app"));
    assert_eq!(coming.try_recv().unwrap().what, held(1, "app"));
}
