//! What is on the page in each state, and that no name can change what the page is made of.

use std::time::Duration;

use super::{
    samples::{at, life, opened, report, span, waiting},
    *,
};
use crate::view::{event::Process, report::Span};

/// The tags of `page` in their order, without what they say: names, classes, places.
fn tags(page: &str) -> Vec<&str> {
    let name = |tag: &'_ str| tag.find(|letter: char| letter.is_whitespace() || letter == '>').unwrap_or(tag.len());
    page.split('<').skip(1).map(|tag| &tag[..name(tag)]).collect()
}

/// The page without its style sheet, whose words would be taken for the page's own.
fn body(report: &Report) -> String {
    let page = page(report);
    page.split_once("</style>").unwrap().1.to_owned()
}

/// What the tags of `page` enclose, in reading order.
fn text(page: &str) -> String {
    let pieces = page.split('<').filter_map(|piece| piece.split_once('>'));
    let words: Vec<_> = pieces.map(|(_, text)| text).filter(|text| !text.is_empty()).collect();
    words.join("|")
}

fn of(life: Life) -> String {
    text(&body(&report(vec![life])))
}

const HOSTILE: [&str; 9] = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>&amp;&lt;",
    "</title></style></svg><svg onload=alert(1)>",
    "<!-- ]]> -->",
    "a\u{202e}cod.exe\u{202c}\u{1b}[31m\r\n\t\0\u{85}",
    "\u{200b}\u{3164}\u{feff}\u{2066}",
    "https://example.com/x.js",
    "url(//example.com/x.css)",
    "   ",
];

fn named(names: &str) -> Report {
    let mut held = span(0.1, 3.0, names);
    held.connection.container = Some(names.to_owned());
    held.connection.process = Some(Process { pid: 7, uid: 0, name: names.to_owned() });
    held.connection.destination = names.to_owned();
    held.connection.reason = names.to_owned();
    let life =
        Life { pod: names.to_owned(), mode: names.to_owned(), reason: Some(names.to_owned()), ..opened(vec![held]) };
    Report { agent: names.to_owned(), node: Some(names.to_owned()), ..report(vec![life]) }
}

#[test]
fn page_hostile_names_change_no_element() {
    let harmless = page(&named("name"));
    for hostile in HOSTILE.into_iter().chain([&*"W".repeat(300), &*"\u{202e}".repeat(300)]) {
        let page = page(&named(hostile));
        assert_eq!(tags(&page), tags(&harmless), "{hostile:?}");
        assert!(page.chars().all(|letter| letter == '\n' || !letter.is_control()), "{hostile:?}");
        assert!(!page.chars().any(|letter| "\u{202e}\u{202c}\u{2066}\u{200b}\u{feff}\u{3164}".contains(letter)));
    }
}

#[test]
fn page_unseen_characters_are_written_and_cut_names_are_marked() {
    let page = body(&named("a\u{202e}b"));
    assert!(page.contains(r"<bdi>a\u{202e}b</bdi>"), "{page}");
    let long = "x".repeat(300);
    let page = body(&named(&long));
    assert!(page.contains(&format!(r#"<bdi title="{long}">{}…</bdi>"#, "x".repeat(63))), "{page}");
    assert!(page.contains(&format!("<h2><bdi>{long}</bdi></h2>")), "a pod's name may be that long");
}

#[test]
fn page_every_element_is_closed() {
    let lives = vec![opened(vec![span(0.1, 3.0, "established"), waiting(0.2)]), life()];
    for report in [report(lives), report(Vec::new()), named(HOSTILE[0])] {
        let page = page(&report);
        let mut open = Vec::new();
        for tag in tags(&page) {
            match tag.strip_prefix('/') {
                Some(closed) => assert_eq!(open.pop(), Some(closed)),
                None if ["!DOCTYPE", "meta", "col"].contains(&tag) => {}
                None => open.push(tag),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
}

#[test]
fn page_asks_for_nothing_and_runs_nothing() {
    let lives = vec![opened(vec![span(0.1, 3.0, "established"), waiting(0.2)]), life()];
    let page = page(&report(lives)).replace("http-equiv=", "");
    for sign in ["http", "//", "url(", "<script", "<link", "<img", "@import", "javascript:", " src=", " on"] {
        let found = page.find(sign).map(|at| page[at..].chars().take(40).collect::<String>());
        // Words: "… on, for 3 s so far".
        assert!(found.as_deref().is_none_or(|found| sign == " on" && !found.contains('=')), "{sign}: {found:?}");
    }
    assert!(page.contains(r#"content="default-src 'none'; style-src 'unsafe-inline'; "#));
    for link in page.split("href=\"").skip(1) {
        assert!(link.starts_with('#'), "{link:.40}");
        let target = &link[1..link.find('"').unwrap()];
        assert!(page.contains(&format!(r#"id="{target}""#)), "{target}");
    }
}

#[test]
fn page_ids_are_unique() {
    let page = page(&report(vec![life(), life(), opened(vec![waiting(0.1)])]));
    let mut ids: Vec<_> = page.split(" id=\"").skip(1).map(|id| &id[..id.find('"').unwrap()]).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn page_head_says_whose_and_when() {
    let page = page(&report(vec![life(), opened(vec![span(0.1, 3.0, "established")])]));
    assert!(page.contains("<title>conngate report: worker-3, 2026-11-26 08:06:20 UTC</title>"));
    assert!(text(&page).contains("2 gates (1 still closed), 1 held connection"), "{}", text(&page));
    let nobody = Report { node: None, ..report(Vec::new()) };
    assert!(super::page(&nobody).contains("<title>conngate report: this node, "));
}

#[test]
fn page_no_lives_is_said() {
    let text = text(&body(&report(Vec::new())));
    assert!(text.contains("0 gates") && text.contains("No gate was closed yet."), "{text}");
}

#[test]
fn page_opened_gate_is_told_with_its_connections() {
    let text = of(opened(vec![span(0.103, 2.98, "established"), span(1.0, 2.2, "abandoned")]));
    for words in [
        "mode hold| · |closed 08:05:20.123 UTC| · |listener after 2.91 s| · |opened after 2.98 s: ready| · |\
         2 connections held",
        "hold|08:05:20.123|ready|2.98 s|2|2.88 s|70 ms",
        "cart|java| |41237|10.96.14.7:8080|Held from 103 ms to 2.98 s, for 2.88 s; established. Held because \
         no-listener, for capture port 15001; socket 1, user 1000.|2.88 s|established",
        "|1.20 s|abandoned",
        "Time from 0 s to 3.10 s; listener, 2.91 s; opened: ready, 2.98 s",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn page_closed_gate_and_what_waits_are_shown_as_such() {
    let text = of(Life { held: 1, connections: vec![waiting(10.0)], ..life() });
    for words in ["still closed after 1 min 00 s", "|still closed|–|1|≥ 50.00 s|–", "|≥ 50.00 s|waiting"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(text.contains("Held from 10.00 s on, for at least 50.00 s; waiting."), "{text}");
}

#[test]
fn page_timeout_and_reset_are_shown() {
    let connections = vec![span(1.0, 30.0, "refused"), span(2.0, 20.0, "expired")];
    let life =
        Life { reason: Some("timeout".to_owned()), listening: None, opened: Some(at(30.0)), ..opened(connections) };
    let page = body(&report(vec![life]));
    assert!(page.contains(r#"<span class="reason bad">timeout</span>"#), "{page}");
    let text = text(&page);
    for words in ["opened after 30.00 s: timeout", "29.00 s|refused", "18.00 s|expired", "timeout|30.00 s|2|29.00 s|–"]
    {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn page_pod_that_ended_first_is_told() {
    let text = of(Life { gone: Some(at(5.0)), connections: vec![waiting(1.0)], ..life() });
    for words in
        ["pod ended after 5.00 s, with the gate closed", "|pod ended first|5.00 s|1|≥ 4.00 s", "|≥ 4.00 s|not seen"]
    {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn page_life_without_connections_is_told() {
    assert!(of(opened(Vec::new())).contains("No connection was held."));
    assert!(of(Life { held: 12, ..opened(Vec::new()) }).contains("12 connections, which are only counted"));
}

#[test]
fn page_connections_above_the_limit_are_counted() {
    let all: Vec<_> = (0..200_u32).map(|index| span(f64::from(index) / 100.0, 2.98, "established")).collect();
    let text = of(Life { held: 237, ..opened(all) });
    assert!(text.contains("37 more, which are only counted"), "{text}");
    assert!(text.contains("ready|2.98 s|237|≥ 2.98 s|"), "the longest of them may not be listed: {text}");
    assert_eq!(text.matches("|established").count(), 200 + 2, "one each, one in the legend and one in the glossary");
}

#[test]
fn page_holds_of_milliseconds_and_of_minutes_have_their_own_axes() {
    let short = Life { listening: None, opened: Some(at(0.004)), ..opened(vec![span(0.0005, 0.0035, "established")]) };
    let long = Life { listening: None, opened: Some(at(600.0)), ..opened(vec![span(0.0, 600.0, "established")]) };
    let text = text(&body(&report(vec![short, long])));
    assert!(text.contains("|0 ms|1 ms|2 ms|3 ms|4 ms|opened: ready, 4.00 ms|"), "{text}");
    assert!(text.contains("|0 min|2 min|4 min|6 min|8 min|10 min|opened: ready, 10 min 00 s|"), "{text}");
}

#[test]
fn page_clock_that_was_set_is_shown_as_it_is() {
    let text = of(Life { listening: Some(at(-9000.0)), ..opened(vec![span(2.0, 0.5, "established")]) });
    for words in [
        "listener 2 h 30 min before",
        "◂ listener, −2 h 30 min",
        "Held from 2.00 s, ended 1.50 s before: the clock was set; established.",
        "|−1.50 s|established",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn page_what_is_not_known_is_said() {
    let mut unknown = span(0.1, 3.0, "evaporated");
    unknown.connection.container = None;
    unknown.connection.process = None;
    let unseen = Span { outcome: None, ..span(0.2, 3.0, "") };
    let life = Life { reason: None, ..opened(vec![unknown, unseen]) };
    let text = of(life);
    for words in
        ["|not known|not known|10.96.14.7:8080|", "|evaporated|", "|not seen|", "opened after 2.98 s: unknown reason"]
    {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn moment_of_another_day_has_its_date() {
    let made = at(0.0);
    assert_eq!(moment(made, made), "08:05:20.123");
    assert_eq!(moment(Time(made.0 - Duration::from_hours(24)), made), "2026-11-25 08:05:20.123");
}
