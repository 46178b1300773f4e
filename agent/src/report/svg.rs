//! Timelines as SVG: the axis with its marks, and one lane for each connection.
//!
//! Knows nothing of what stands beside them, nor of gates. Horizontal places are percentages, so that a drawing is as wide as its
//! column while letters and signs keep their size; ids and references stay within the document.

use maud::{Markup, html};

use super::{
    axis::Axis,
    words::{Outcome, length},
};

/// A line of text in the axis, in pixels.
pub(super) const LINE: f64 = 17.0;

/// The ticks below the lines of the axis, in pixels.
const TICKS: f64 = 6.0;

/// The bars of a legend.
const SAMPLE: Bars = Bars { middle: 8.0, height: 9.0 };

/// Right of here, words stand left of their place.
const RIGHT_HALF: f64 = 50.0;

/// A moment that the axis names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    pub(super) x: f64,
    /// Its class in the style sheet.
    pub(super) class: &'static str,
    pub(super) words: String,
}

/// A part of a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    /// Its class in the style sheet.
    pub(super) class: &'static str,
    pub(super) from: f64,
    pub(super) to: f64,
}

/// How a lane's bars lie in it, in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bars {
    pub(super) middle: f64,
    pub(super) height: f64,
}

/// A connection in its lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane<'a> {
    /// What was before it.
    pub(super) before: &'a [Part],
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) outcome: Outcome,
    /// What the lane shows, in words.
    pub(super) words: &'a str,
}

/// The signs at the ends of bars, which the lanes refer to; once for each document.
pub(super) fn signs() -> Markup {
    html! {
        svg.signs aria-hidden="true" width="0" height="0" {
            defs {
                @for outcome in Outcome::ALL {
                    g id=(sign(outcome)) {
                        @if outcome == Outcome::Waiting {
                            path.sign-waiting d="M-4 -7 L4.5 0 L-4 7 Z" {}
                        } @else {
                            circle.{ "sign-" (class(outcome)) } r="6.5" {}
                            path.sign d=(strokes(outcome)) {}
                        }
                    }
                }
            }
        }
    }
}

/// A bar with its sign, for the legend.
pub(super) fn sample(outcome: Outcome) -> Markup {
    html! {
        svg.sample aria-hidden="true" width="30" height="16" {
            (shape(class(outcome), ("0", "23"), SAMPLE))
            (end(outcome, "23", SAMPLE.middle))
        }
    }
}

/// A part of a lane, for the legend.
pub(super) fn sample_part(class: &str) -> Markup {
    html! { svg.sample aria-hidden="true" width="30" height="16" { (shape(class, ("0", "23"), SAMPLE)) } }
}

/// A mark, for the legend.
pub(super) fn sample_mark(class: &str) -> Markup {
    html! {
        svg.sample aria-hidden="true" width="6" height="16" {
            line.{ "mark " (class) } x1="3" x2="3" y1="0" y2="16" {}
        }
    }
}

/// How high the axis is with so many marks, in pixels.
pub(super) fn height(marks: usize) -> f64 {
    LINE * f64::from(u32::try_from(marks).unwrap_or(0)) + LINE + TICKS
}

/// The axis above the lanes that have the grid number `grid`: its marks in words, its ticks, and that grid. From one place to
/// another the gate, or what it waits for, was `closed`.
pub(super) fn axis(grid: usize, axis: &Axis, closed: (f64, f64), marks: &[Mark]) -> Markup {
    let lines = in_lines(marks);
    let ticks: Vec<_> = axis.ticks().into_iter().map(|tick| (axis.x(tick), axis.label(tick))).collect();
    let bottom = height(marks.len());
    html! {
        svg.axis role="img" width="100%" height=(px(bottom)) {
            title { (description(axis, marks)) }
            defs {
                g id={ "grid-" (grid) } {
                    rect.closed x={ (place(closed.0)) } width=(place(closed.1 - closed.0)) y="0" height="100%" {}
                    @for &(x, _) in &ticks {
                        (vertical("tick", x, "0", "100%"))
                    }
                    @for mark in marks {
                        (vertical(&format!("mark {}", mark.class), mark.x, "0", "100%"))
                    }
                }
            }
            @for (line, mark) in (0_u32..).zip(&lines) {
                @let y = LINE * f64::from(line);
                (vertical(&format!("mark {}", mark.class), mark.x, &px(y + 1.0), &px(bottom)))
            }
            @for (x, label) in &ticks {
                (vertical("tick", *x, &px(bottom - 5.0), &px(bottom)))
                text.tick-label x=(place(*x)) y=(px(bottom - 8.0)) text-anchor=(tick_anchor(*x)) { (label) }
            }
            @for (line, mark) in (0_u32..).zip(&lines) {
                @let y = LINE * f64::from(line) + LINE - 5.0;
                @let right = mark.x > RIGHT_HALF;
                text.{ "mark-label " (mark.class) } x=(place(mark.x)) y=(px(y))
                    dx=(if right { "-6" } else { "6" }) text-anchor=(if right { "end" } else { "start" }) {
                    (mark.words)
                }
            }
        }
    }
}

/// One lane on the grid number `grid`.
pub(super) fn lane(grid: usize, lane: Lane<'_>, bars: Bars) -> Markup {
    let (from, to) = (place(lane.from), place(lane.to));
    let class = class(lane.outcome);
    let stroke = bars.height / 2.0 + 3.5;
    html! {
        svg.lane role="img" width="100%" height="100%" {
            title { (lane.words) }
            use href={ "#grid-" (grid) } {}
            @for part in lane.before {
                (shape(part.class, (&place(part.from), &place(part.to - part.from)), bars))
            }
            (shape(class, (&from, &place(lane.to - lane.from)), bars))
            line.{ "start " (class) } x1=(from) x2=(from) y1=(px(bars.middle - stroke)) y2=(px(bars.middle + stroke)) {}
            (end(lane.outcome, &to, bars.middle))
        }
    }
}

/// A bar from `x` on, `width` wide. Its edges lie in the middle of pixels.
fn shape(class: &str, (x, width): (&str, &str), bars: Bars) -> Markup {
    html! {
        rect.{ "bar " (class) } x=(x) width=(width) y=(px(bars.middle - bars.height / 2.0)) height=(px(bars.height)) {}
    }
}

fn end(outcome: Outcome, x: &str, middle: f64) -> Markup {
    html! { use href={ "#" (sign(outcome)) } x=(x) y=(px(middle)) {} }
}

fn vertical(class: &str, x: f64, from: &str, to: &str) -> Markup {
    html! { line class=(class) x1=(place(x)) x2=(place(x)) y1=(from) y2=(to) {} }
}

/// The marks from the top down, so that few of their lines cross the words of another.
fn in_lines(marks: &[Mark]) -> Vec<&Mark> {
    let mut marks: Vec<_> = marks.iter().collect();
    marks.sort_by(|a, b| a.x.total_cmp(&b.x));
    if marks.last().is_some_and(|last| last.x > RIGHT_HALF) {
        marks.reverse();
    }
    marks
}

fn description(axis: &Axis, marks: &[Mark]) -> String {
    let marks = marks.iter().map(|mark| format!("; {}", mark.words));
    format!("Time from {} to {}{}", length(axis.from()), length(axis.to()), marks.collect::<String>())
}

/// An outcome's class in the style sheet.
fn class(outcome: Outcome) -> &'static str {
    if outcome == Outcome::Other { "other" } else { outcome.word() }
}

fn sign(outcome: Outcome) -> String {
    format!("end-{}", class(outcome))
}

/// The strokes in an outcome's sign: check, cross, clock hands, dash, question mark.
fn strokes(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Established => "M-3 0.2 L-0.8 2.4 L3.1 -2.2",
        Outcome::Refused => "M-2.4 -2.4 L2.4 2.4 M2.4 -2.4 L-2.4 2.4",
        Outcome::Expired => "M0 -3.6 L0 0.3 L2.6 1.9",
        Outcome::Abandoned | Outcome::Waiting => "M-3 0 L3 0",
        Outcome::Other => "M-1.7 -1.6 C-1.7 -4 1.9 -4 1.9 -1.6 C1.9 -0.2 0 -0.2 0 1.2 M0 3 L0 3.4",
    }
}

fn tick_anchor(x: f64) -> &'static str {
    if x < 3.0 {
        "start"
    } else if x > 93.0 {
        "end"
    } else {
        "middle"
    }
}

/// A place on the axis.
fn place(x: f64) -> String {
    let number = format!("{x:.3}");
    format!("{}%", number.trim_end_matches('0').trim_end_matches('.'))
}

fn px(length: f64) -> String {
    format!("{length}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_has_no_needless_digits() {
        assert_eq!(place(0.0), "0%");
        assert_eq!(place(100.0), "100%");
        assert_eq!(place(12.5), "12.5%");
        assert_eq!(place(33.333_33), "33.333%");
    }

    #[test]
    fn in_lines_words_that_point_left_stand_above_the_marks_on_their_left() {
        let mark = |x| Mark { x, class: "listening", words: String::new() };
        assert_eq!(in_lines(&[mark(90.0), mark(95.0)]), [&mark(95.0), &mark(90.0)]);
        assert_eq!(in_lines(&[mark(5.0), mark(9.0)]), [&mark(5.0), &mark(9.0)]);
    }
}
