//! Laws of the geometry, for clocks that do what they like; and the cases that the axis is made for.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::{
    super::samples::{at, connection, life},
    *,
};

fn span(since: f64, ended: Option<f64>) -> Span {
    let mut connection = connection(1);
    connection.since = at(since);
    Span { connection, ended: ended.map(at), outcome: ended.map(|_| "established".to_owned()) }
}

fn with(spans: &[(f64, Option<f64>)], listening: Option<f64>, opened: Option<f64>) -> Life {
    let connections: Vec<_> = spans.iter().map(|&(since, ended)| span(since, ended)).collect();
    Life { held: connections.len() as u64, connections, listening: listening.map(at), opened: opened.map(at), ..life() }
}

fn marks(timeline: &Timeline) -> Vec<(What, Lies)> {
    timeline.marks.iter().map(|mark| (mark.what, mark.lies)).collect()
}

#[test]
fn timeline_usual_life_is_shown_whole() {
    let timeline = Timeline::of(&with(&[(0.1, Some(3.0)), (1.5, Some(3.0))], Some(2.9), Some(3.0)), at(1000.0));
    assert_eq!(timeline.axis.from(), 0.0);
    assert!((3.0..3.3).contains(&timeline.axis.to()));
    assert_eq!(marks(&timeline), [(What::Listening, Lies::On), (What::Opened, Lies::On)]);
    assert!(timeline.bars[0].from < timeline.bars[1].from && timeline.bars[0].to == timeline.bars[1].to);
    assert_eq!(timeline.closed, (0.0, timeline.marks[1].x));
    assert!(!timeline.bars[0].open);
}

#[test]
fn timeline_waiting_connection_of_a_closed_gate_reaches_to_now() {
    let timeline = Timeline::of(&with(&[(0.1, None), (0.2, Some(0.203))], None, None), at(600.0));
    assert!((600.0..630.0).contains(&timeline.axis.to()));
    assert!(timeline.bars[0].open && (timeline.bars[0].held - 599.9).abs() < 1e-6);
    assert!(timeline.bars[0].to > 95.0 && timeline.bars[0].to < 100.0);
    assert_eq!(timeline.closed.1, 100.0);
}

#[test]
fn timeline_waiting_connection_of_an_open_gate_does_not_squeeze_the_rest() {
    let timeline = Timeline::of(&with(&[(0.1, None), (0.2, Some(3.0))], Some(2.9), Some(3.0)), at(86_400.0));
    assert!(timeline.axis.to() < 3.3);
    assert_eq!(timeline.bars[0].to, 100.0);
    let soon = Timeline::of(&with(&[(0.1, None), (0.2, Some(3.0))], Some(2.9), Some(3.0)), at(4.0));
    assert!(soon.axis.to() > 4.0);
}

#[test]
fn timeline_closed_gate_with_nothing_held_is_as_long_as_it_is_closed() {
    let timeline = Timeline::of(&with(&[], None, None), at(40.0));
    assert!(timeline.axis.to() > 40.0);
    assert!(timeline.bars.is_empty() && timeline.marks.is_empty());
    let long_quiet = Timeline::of(&with(&[(0.1, Some(0.4))], None, None), at(40_000.0));
    assert!(long_quiet.axis.to() < 1.0);
}

#[test]
fn timeline_pod_that_ended_first_has_a_mark_and_its_bars_end_there() {
    let gone = Life { gone: Some(at(5.0)), ..with(&[(1.0, None)], None, None) };
    let timeline = Timeline::of(&gone, at(5000.0));
    assert_eq!(marks(&timeline), [(What::Gone, Lies::On)]);
    assert_eq!(timeline.bars[0].to, timeline.marks[0].x);
    let later = Life { gone: Some(at(5000.0)), ..with(&[(1.0, Some(2.0))], None, Some(2.0)) };
    assert_eq!(marks(&Timeline::of(&later, at(6000.0))), [(What::Opened, Lies::On)]);
}

#[test]
fn timeline_listener_long_before_the_closing_lies_before_the_axis() {
    let timeline = Timeline::of(&with(&[(0.1, Some(0.2))], Some(-9000.0), Some(0.2)), at(1.0));
    assert_eq!(marks(&timeline), [(What::Listening, Lies::Before), (What::Opened, Lies::On)]);
    assert_eq!(timeline.marks[0].x, 0.0);
    let shortly = Timeline::of(&with(&[(0.1, Some(0.2))], Some(-0.1), Some(0.2)), at(1.0));
    assert_eq!(marks(&shortly)[0], (What::Listening, Lies::On));
    let behind = Timeline::of(&with(&[(0.1, Some(0.2))], Some(60.0), Some(0.2)), at(61.0));
    assert_eq!(marks(&behind)[0], (What::Listening, Lies::Behind));
}

#[test]
fn timeline_first_connection_long_after_the_closing_leaves_the_lead_out() {
    let timeline = Timeline::of(&with(&[(600.0, Some(602.0))], Some(601.9), Some(602.0)), at(700.0));
    assert!(timeline.axis.from() > 599.0 && timeline.axis.from() < 600.0);
    assert_eq!(timeline.closed.0, 0.0);
}

#[test]
fn timeline_end_before_the_beginning_has_no_length() {
    let timeline = Timeline::of(&with(&[(5.0, Some(1.0))], None, Some(6.0)), at(7.0));
    assert_eq!(timeline.bars[0].from, timeline.bars[0].to);
    assert!((timeline.bars[0].held + 4.0).abs() < 1e-6);
}

/// Moments from µs to days, on both sides of the closing.
fn moment() -> impl Strategy<Value = f64> {
    (any::<bool>(), -6.0..5.5_f64)
        .prop_map(|(before, exponent)| if before { -1.0 } else { 1.0 } * 10_f64.powf(exponent))
}

proptest! {
    #[test]
    fn timeline_of_anything_keeps_its_laws(
        spans in prop::collection::vec((moment(), prop::option::of(moment())), 0..5),
        listening in prop::option::of(moment()),
        opened in prop::option::of(moment()),
        gone in prop::option::of(moment()),
        made in moment(),
    ) {
        let life = Life { gone: gone.map(at), ..with(&spans, listening, opened) };
        let timeline = Timeline::of(&life, at(made));
        let place = 0.0..=100.0;
        prop_assert_eq!(timeline.bars.len(), spans.len());
        prop_assert!(timeline.closed.0 <= timeline.closed.1 && place.contains(&timeline.closed.1));
        for (bar, (_, ended)) in timeline.bars.iter().zip(&spans) {
            prop_assert!(place.contains(&bar.from) && place.contains(&bar.to) && bar.from <= bar.to);
            prop_assert!(bar.since >= timeline.axis.from() - 1e-6 && bar.since <= timeline.axis.to());
            prop_assert!(ended.is_none_or(|ended| ended <= timeline.axis.to()));
            prop_assert_eq!(bar.open, ended.is_none());
        }
        for mark in &timeline.marks {
            prop_assert!(place.contains(&mark.x));
            prop_assert!(mark.lies == Lies::On || mark.what == What::Listening, "{mark:?}");
        }
        let marked = |what| timeline.marks.iter().any(|mark| mark.what == what);
        prop_assert_eq!(marked(What::Listening), listening.is_some());
        prop_assert_eq!(marked(What::Opened), opened.is_some());
        prop_assert_eq!(marked(What::Gone), gone.is_some() && opened.is_none());
    }
}

#[test]
fn seconds_both_directions_are_signed() {
    let [early, late] = [UNIX_EPOCH, UNIX_EPOCH + Duration::from_millis(1500)].map(Time);
    assert_eq!(seconds(early, late), 1.5);
    assert_eq!(seconds(late, early), -1.5);
}
