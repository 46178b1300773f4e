//! Timelines as inline SVG: the axis with its marks, and one lane for each connection.
//!
//! Knows nothing of the columns beside them. Horizontal places are percentages, so that a drawing is as wide as its
//! column while letters and signs keep their size; ids and references stay within the page.

use maud::{Markup, html};

use super::{
    axis::Axis,
    timeline::{Bar, Lies, Mark, Timeline, What},
    words::{Outcome, Tone, length},
};

/// A line of text in the axis, in pixels.
const LINE: f64 = 17.0;

/// The middle of a lane's bar, in pixels.
const MIDDLE: f64 = 11.0;

/// The height of a bar, in pixels.
const BAR: f64 = 9.0;

/// Right of here, words stand left of their place.
const RIGHT_HALF: f64 = 50.0;

/// The signs at the ends of bars, which the lanes refer to; once for each page.
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
            (shape(outcome, ("0", "23"), 8.0))
            (end(outcome, "23", 8.0))
        }
    }
}

/// A mark, for the legend.
pub(super) fn sample_mark(what: What, tone: Tone) -> Markup {
    html! {
        svg.sample aria-hidden="true" width="6" height="16" {
            line.{ "mark " (mark_class(what, tone)) } x1="3" x2="3" y1="0" y2="16" {}
        }
    }
}

/// The axis above the lanes of the life number `number`: its marks in words, its ticks, and the grid that [`lane`]
/// repeats.
pub(super) fn axis(number: usize, timeline: &Timeline, reason: &str, tone: Tone) -> Markup {
    let marks = in_lines(&timeline.marks);
    let ticks = timeline.axis.ticks();
    let top = LINE * f64::from(u32::try_from(marks.len()).unwrap_or(0));
    let bottom = top + LINE + 6.0;
    html! {
        svg.axis role="img" width="100%" height=(px(bottom)) {
            title { (description(timeline, reason)) }
            defs {
                g id={ "grid-" (number) } {
                    rect.closed x={ (place(timeline.closed.0)) } width=(place(timeline.closed.1 - timeline.closed.0))
                        y="0" height="100%" {}
                    @for &tick in &ticks {
                        (vertical("tick", timeline.axis.x(tick), "0", "100%"))
                    }
                    @for mark in &timeline.marks {
                        (vertical(&format!("mark {}", mark_class(mark.what, tone)), mark.x, "0", "100%"))
                    }
                }
            }
            @for (line, mark) in (0_u32..).zip(&marks) {
                @let y = LINE * f64::from(line);
                (vertical(&format!("mark {}", mark_class(mark.what, tone)), mark.x, &px(y + 1.0), &px(bottom)))
            }
            @for &tick in &ticks {
                (vertical("tick", timeline.axis.x(tick), &px(bottom - 5.0), &px(bottom)))
                text.tick-label x=(place(timeline.axis.x(tick))) y=(px(bottom - 8.0))
                    text-anchor=(tick_anchor(timeline.axis.x(tick))) { (timeline.axis.label(tick)) }
            }
            @for (line, mark) in (0_u32..).zip(&marks) {
                @let y = LINE * f64::from(line) + LINE - 5.0;
                @let right = mark.x > RIGHT_HALF;
                text.{ "mark-label " (mark_class(mark.what, tone)) } x=(place(mark.x)) y=(px(y))
                    dx=(if right { "-6" } else { "6" }) text-anchor=(if right { "end" } else { "start" }) {
                    (mark_words(&timeline.axis, mark, reason))
                }
            }
        }
    }
}

/// One connection of the life number `number`.
pub(super) fn lane(number: usize, bar: &Bar, outcome: Outcome, words: &str) -> Markup {
    let (from, to) = (place(bar.from), place(bar.to));
    html! {
        svg.lane role="img" width="100%" height="100%" {
            title { (words) }
            use href={ "#grid-" (number) } {}
            (shape(outcome, (&from, &place(bar.to - bar.from)), MIDDLE))
            line.{ "start " (class(outcome)) } x1=(from) x2=(from) y1=(px(MIDDLE - 8.0)) y2=(px(MIDDLE + 8.0)) {}
            (end(outcome, &to, MIDDLE))
        }
    }
}

/// A bar from `x` on, `width` wide. Its edges lie in the middle of pixels.
fn shape(outcome: Outcome, (x, width): (&str, &str), middle: f64) -> Markup {
    html! {
        rect.{ "bar " (class(outcome)) } x=(x) width=(width) y=(px(middle - BAR / 2.0)) height=(px(BAR)) {}
    }
}

fn end(outcome: Outcome, x: &str, middle: f64) -> Markup {
    html! { use href={ "#" (sign(outcome)) } x=(x) y=(px(middle)) {} }
}

fn vertical(class: &str, x: f64, from: &str, to: &str) -> Markup {
    html! { line class=(class) x1=(place(x)) x2=(place(x)) y1=(from) y2=(to) {} }
}

/// The marks from the top down, so that few of their lines cross the words of another.
fn in_lines(marks: &[Mark]) -> Vec<Mark> {
    let mut marks = marks.to_vec();
    marks.sort_by(|a, b| a.x.total_cmp(&b.x));
    if marks.last().is_some_and(|last| last.x > RIGHT_HALF) {
        marks.reverse();
    }
    marks
}

fn mark_words(axis: &Axis, mark: &Mark, reason: &str) -> String {
    let what = match mark.what {
        What::Listening => "somebody listens",
        What::Opened => "opened",
        What::Gone => "pod ended",
    };
    let reason = if mark.what == What::Opened { format!(": {reason}") } else { String::new() };
    match mark.lies {
        Lies::On => format!("{what}{reason}, {}", axis.moment(mark.at)),
        Lies::Before => format!("\u{25c2} {what}{reason}, {}", length(mark.at)),
        Lies::Behind => format!("{what}{reason}, {} \u{25b8}", length(mark.at)),
    }
}

fn description(timeline: &Timeline, reason: &str) -> String {
    let axis = &timeline.axis;
    let marks = timeline.marks.iter().map(|mark| format!("; {}", mark_words(axis, mark, reason)));
    format!("Time from {} to {}{}", length(axis.from()), length(axis.to()), marks.collect::<String>())
}

fn mark_class(what: What, tone: Tone) -> &'static str {
    match what {
        What::Listening => "listening",
        What::Opened => tone.class(),
        What::Gone => "gone",
    }
}

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
        let mark = |x| Mark { what: What::Listening, at: 0.0, x, lies: Lies::On };
        assert_eq!(in_lines(&[mark(90.0), mark(95.0)]), [mark(95.0), mark(90.0)]);
        assert_eq!(in_lines(&[mark(5.0), mark(9.0)]), [mark(5.0), mark(9.0)]);
    }
}
