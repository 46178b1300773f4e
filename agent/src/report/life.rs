//! One life of a gate: what it was in a line, and its connections, each with its lane of the timeline.
//!
//! Knows nothing of the page around it.

use maud::{Markup, html};

use super::{
    axis::Axis,
    moment, name,
    svg::{self, Bars, Lane},
    timeline::{Bar, Lies, Mark, Timeline, What, seconds},
    words::{Outcome, Tone, counted, length},
};
use crate::{
    printable::printable,
    view::{
        Time,
        event::{Connection, Process},
        report::{Life, Span},
    },
};

/// How much of a container's or process' name is shown, and of a destination. Kubernetes allows 63 for a container, the
/// kernel 15 for a process; an IPv6 address with its port has 47.
const NAME: usize = 64;

/// How much of a word is shown.
pub(super) const WORD: usize = 32;

/// A life with at most so many connections listed is not divided between two printed pages.
const SHORT: usize = 20;

/// The bars in the rows of the table.
const BARS: Bars = Bars { middle: 11.0, height: 9.0 };

/// How a life ended, if it did.
pub(super) fn end(life: &Life) -> (String, Tone) {
    match (&life.opened, &life.gone) {
        (Some(_), _) => {
            let reason = life.reason.as_deref().filter(|reason| !reason.is_empty());
            (reason.map_or_else(|| "unknown reason".to_owned(), |reason| printable(reason, WORD)), Tone::of(reason))
        }
        (None, Some(_)) => ("pod ended first".to_owned(), Tone::Plain),
        (None, None) => ("still closed".to_owned(), Tone::Pending),
    }
}

/// How many connections `life` held, listed or not.
pub(super) fn held(life: &Life) -> u64 {
    life.held.max(listed(life))
}

fn listed(life: &Life) -> u64 {
    u64::try_from(life.connections.len()).unwrap_or(u64::MAX)
}

/// The section of the life number `number`.
pub(super) fn section(number: usize, life: &Life, made: Time) -> Markup {
    let timeline = Timeline::of(life, made);
    let (reason, tone) = end(life);
    let marks: Vec<_> = timeline.marks.iter().map(|mark| marked(&timeline.axis, mark, &reason, tone)).collect();
    html! {
        section.life.short[life.connections.len() <= SHORT] id={ "life-" (number) } {
            h2 { (name(&life.pod, super::POD)) }
            p.facts {
                @for (index, fact) in facts(life, made).iter().enumerate() {
                    @if index > 0 { " \u{b7} " }
                    span { (fact) }
                }
            }
            table.connections {
                caption.unseen { "Held connections of " (printable(&life.pod, super::POD)) ", the oldest first" }
                colgroup { col.who; col.process; col.destination; col.plot; col.held; col.outcome; }
                thead {
                    tr {
                        th.who scope="col" { "Container" }
                        th.process scope="col" { "Process" }
                        th.destination scope="col" { "Destination" }
                        th.plot scope="col" {
                            span.unseen { "Held, in time from the gate\u{2019}s closing. " }
                            (svg::axis(number, &timeline.axis, timeline.closed, &marks))
                        }
                        th.number.held scope="col" { "Held for" }
                        th.outcome scope="col" { "Outcome" }
                    }
                }
                tbody {
                    @for (span, bar) in life.connections.iter().zip(&timeline.bars) {
                        (row(number, life, span, bar))
                    }
                    @if life.connections.is_empty() {
                        tr.note { td colspan="6" { (none_listed(life)) } }
                    } @else if held(life) > listed(life) {
                        tr.note { td colspan="6" { (held(life) - listed(life)) " more, which are only counted" } }
                    }
                }
            }
        }
    }
}

fn none_listed(life: &Life) -> String {
    match held(life) {
        0 => "No connection was held.".to_owned(),
        held => format!("{}, which are only counted", counted(held, "connection")),
    }
}

fn facts(life: &Life, made: Time) -> Vec<String> {
    let at = |time: Time| seconds(life.closed, time);
    let since = |what: &str, time: Time| match at(time) {
        before if before < 0.0 => format!("{what} {} before", length(-before)),
        after => format!("{what} after {}", length(after)),
    };
    let mut facts =
        vec![format!("mode {}", printable(&life.mode, WORD)), format!("closed {} UTC", moment(life.closed, made))];
    facts.extend(life.listening.map(|time| since("listener", time)));
    match (life.opened, life.gone) {
        (Some(opened), gone) => {
            facts.push(format!("{}: {}", since("opened", opened), end(life).0));
            facts.extend(gone.map(|gone| since("pod ended", gone)));
        }
        (None, Some(gone)) => facts.push(format!("{}, with the gate closed", since("pod ended", gone))),
        (None, None) => facts.push(since("still closed", made)),
    }
    facts.push(format!("{} held", counted(held(life), "connection")));
    facts
}

fn marked(axis: &Axis, mark: &Mark, reason: &str, tone: Tone) -> svg::Mark {
    let what = match mark.what {
        What::Listening => "listener".to_owned(),
        What::Opened => format!("opened: {reason}"),
        What::Gone => "pod ended".to_owned(),
    };
    let words = match mark.lies {
        Lies::On => format!("{what}, {}", axis.moment(mark.at)),
        Lies::Before => format!("\u{25c2} {what}, {}", length(mark.at)),
        Lies::Behind => format!("{what}, {} \u{25b8}", length(mark.at)),
    };
    svg::Mark { x: mark.x, class: mark.what.class(tone), words }
}

fn row(number: usize, life: &Life, span: &Span, bar: &Bar) -> Markup {
    let outcome = Outcome::of(span, life);
    let connection = &span.connection;
    let words = description(span, bar, &word(span, outcome));
    let lane = Lane { before: &[], from: bar.from, to: bar.to, outcome, words: &words };
    html! {
        tr {
            td.who { (container(connection)) }
            td.process { (process(connection.process.as_ref())) }
            td.destination { (name(&connection.destination, NAME)) }
            td.plot { (svg::lane(number, lane, BARS)) }
            td.number.held {
                @if bar.open { "\u{2265} " }
                (length(bar.held))
            }
            td.outcome { (word(span, outcome)) }
        }
    }
}

fn container(connection: &Connection) -> Markup {
    match connection.container.as_deref() {
        Some(container) if !container.is_empty() => name(container, NAME),
        Some(_) | None => html! { span.unknown { "not known" } },
    }
}

fn process(process: Option<&Process>) -> Markup {
    match process {
        Some(process) => html! { (name(&process.name, NAME)) " " span.pid { (process.pid) } },
        None => html! { span.unknown { "not known" } },
    }
}

/// The outcome's word, the report's own where this page knows no other.
fn word(span: &Span, outcome: Outcome) -> String {
    let own = span.outcome.as_deref().filter(|own| outcome == Outcome::Other && !own.is_empty());
    own.map_or_else(|| outcome.word().to_owned(), |own| printable(own, WORD))
}

/// What a lane shows, and what is in no column.
fn description(span: &Span, bar: &Bar, outcome: &str) -> String {
    let connection = &span.connection;
    let from = length(bar.since);
    let times = match bar.open {
        true => format!("Held from {from} on, for at least {}", length(bar.held)),
        false if bar.held < 0.0 => format!("Held from {from}, ended {} before: the clock was set", length(-bar.held)),
        false => format!("Held from {from} to {}, for {}", length(bar.since + bar.held), length(bar.held)),
    };
    let user = connection.process.as_ref().map_or_else(String::new, |process| format!(", user {}", process.uid));
    format!(
        "{times}; {outcome}. Held because {}, for capture port {}; socket {}{user}.",
        printable(&connection.reason, WORD),
        connection.capture_port,
        connection.socket
    )
}
