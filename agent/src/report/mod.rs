//! `report` as a page: one HTML file that needs nothing else, with the last gates and their connections in time; and the same
//! drawings as a [`picture`].
//!
//! Knows nothing of where the report comes from or where the page goes.
//!
//! Invariants: the page asks for nothing from anywhere and runs no script; whatever pods, containers and commands are
//! called, its elements are the same, and no character of a name is unseen; nothing is told by colour alone.

mod axis;
mod life;
pub mod picture;
mod svg;
mod timeline;
mod words;

pub use self::{
    axis::Axis,
    words::{Outcome, Tone},
};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::{
    timeline::{What, held, seconds},
    words::{REASONS, counted, length},
};
use crate::{
    printable::printable,
    view::{
        Time,
        report::{Life, Report},
    },
};

/// What the page says when there is nothing to show.
const NO_GATES: &str = "No gate was closed yet. A pod gets one when it opts in (annotation conngate.io/mode).";

const STYLE: &str = concat!(include_str!("drawings.css"), include_str!("style.css"));

/// What a browser may do with the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// How much of a pod's namespace and name is shown: as much as Kubernetes allows (63, a slash, 253).
const POD: usize = 317;

/// How much of a node's name is shown: as much as Kubernetes allows.
const NODE: usize = 253;

/// How much of a version is shown.
const VERSION: usize = 64;

/// How much of a text that was cut is shown when the pointer rests on it.
const HINT: usize = 1000;

/// The page of `report`.
#[must_use]
pub fn page(report: &Report) -> String {
    let node = report.node.as_deref().map_or_else(|| "this node".to_owned(), |node| printable(node, NODE));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { "conngate report: " (node) ", " (date(report.made)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (svg::signs())
                header {
                    h1 { "conngate report" }
                    (about(report, &node))
                }
                main {
                    @if report.lives.is_empty() {
                        p.empty { (NO_GATES) }
                    } @else {
                        (summary(report))
                        (legend())
                        @for (number, life) in (1..).zip(&report.lives) {
                            (life::section(number, life, report.made))
                        }
                        (glossary())
                    }
                }
            }
        }
    };
    page.into_string()
}

fn about(report: &Report, node: &str) -> Markup {
    let gates = u64::try_from(report.lives.len()).unwrap_or(u64::MAX);
    let connections = report.lives.iter().fold(0, |sum: u64, life| sum.saturating_add(life::held(life)));
    let closed = report.lives.iter().filter(|life| life.opened.is_none() && life.gone.is_none()).count();
    html! {
        dl.about {
            div { dt { "Node" } dd { bdi { (node) } } }
            div { dt { "Made" } dd { time datetime=(report.made) { (date(report.made)) } } }
            div { dt { "Agent" } dd { (name(&report.agent, VERSION)) } }
            div {
                dt { "Shown" }
                dd {
                    (counted(gates, "gate"))
                    @if closed > 0 { " (" (closed) " still closed)" }
                    ", " (counted(connections, "held connection"))
                }
            }
        }
    }
}

fn summary(report: &Report) -> Markup {
    html! {
        table.summary {
            caption.unseen { "The gates, the last one first" }
            thead {
                tr {
                    th scope="col" { "Pod" }
                    th scope="col" { "Mode" }
                    th.number scope="col" { "Closed, UTC" }
                    th scope="col" { "Opened" }
                    th.number scope="col" { "After" }
                    th.number scope="col" { "Held" }
                    th.number scope="col" { "Longest hold" }
                    th.number scope="col" { "Listener to ready" }
                }
            }
            tbody {
                @for (number, life) in (1_usize..).zip(&report.lives) {
                    (summary_row(number, life, report.made))
                }
            }
        }
    }
}

fn summary_row(number: usize, life: &Life, made: Time) -> Markup {
    let (reason, tone) = life::end(life);
    let after = life.opened.or(life.gone).map(|end| length(seconds(life.closed, end)));
    html! {
        tr {
            th scope="row" { a href={ "#life-" (number) } { (name(&life.pod, POD)) } }
            td.mode data-label="Mode" { (name(&life.mode, life::WORD)) }
            td.number.when data-label="Closed" { (moment(life.closed, made)) }
            td.why data-label="Opened" { span.{ "reason " (tone.class()) } { (reason) } }
            td.number data-label="After" { (or_none(after)) }
            td.number data-label="Held" { (life::held(life)) }
            td.number data-label="Longest hold" { (or_none(longest(life, made))) }
            td.number data-label="Listener to ready" { (or_none(listener_to_ready(life))) }
        }
    }
}

/// The longest hold. With connections that are only counted it is a lower bound; so it is while one waits.
fn longest(life: &Life, made: Time) -> Option<String> {
    let until = life.gone.unwrap_or(made);
    let longest = life.connections.iter().max_by(|a, b| held(a, until).total_cmp(&held(b, until)))?;
    let at_least =
        longest.ended.is_none() || life::held(life) > u64::try_from(life.connections.len()).unwrap_or(u64::MAX);
    Some(format!("{}{}", if at_least { "\u{2265} " } else { "" }, length(held(longest, until))))
}

fn listener_to_ready(life: &Life) -> Option<String> {
    let ready = life.opened.filter(|_| Tone::of(life.reason.as_deref()) == Tone::Good)?;
    Some(length(seconds(life.listening?, ready)))
}

fn or_none(words: Option<String>) -> Markup {
    html! { @if let Some(words) = words { (words) } @else { span.unknown { "\u{2013}" } } }
}

fn legend() -> Markup {
    html! {
        ul.legend aria-label="Signs" {
            @for outcome in Outcome::ALL {
                li { (svg::sample(outcome)) (outcome.word()) }
            }
            li { (svg::sample_mark(What::Listening.class(Tone::Plain))) "listener" }
            li { (svg::sample_mark(What::Opened.class(Tone::Good))) "gate opened" }
        }
    }
}

fn glossary() -> Markup {
    html! {
        details.glossary {
            summary { "What the words mean" }
            div {
                section {
                    h3 { "A held connection is" }
                    dl { @for outcome in Outcome::ALL { dt { (outcome.word()) } dd { (outcome.meaning()) } } }
                }
                section {
                    h3 { "A gate opened because" }
                    dl { @for (reason, meaning) in REASONS { dt { (reason) } dd { (meaning) } } }
                }
            }
        }
    }
}

/// A name that somebody else chose, at most `most` characters of it; the rest is a hint.
fn name(text: &str, most: usize) -> Markup {
    let short = printable(text, most);
    let whole = printable(text, HINT);
    html! {
        @if text.is_empty() {
            span.unknown { "no name" }
        } @else {
            bdi title=[(short != whole).then_some(whole)] { (short) }
        }
    }
}

/// A moment: its time of day, with its date where that is not the report's.
fn moment(time: Time, made: Time) -> String {
    let [written, today] = [time, made].map(|time| time.to_string());
    match (written.split_once('T'), today.split_once('T')) {
        (Some((day, _)), Some((today, _))) if day != today => format!("{day} {}", time.of_day()),
        _ => time.of_day(),
    }
}

/// A moment with its date, to the second.
fn date(time: Time) -> String {
    let written = time.to_string();
    let (date, of_day) = written.split_once('T').unwrap_or((&written, ""));
    format!("{date} {} UTC", of_day.split('.').next().unwrap_or_default())
}

#[cfg(test)]
mod samples;

#[cfg(test)]
mod tests;
