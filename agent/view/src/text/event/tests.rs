//! Events as people read them, and as machines do.

use super::*;
use crate::{Time, event::Process};

fn event(what: What) -> Event {
    let time: Time = serde_json::from_value("2026-11-26T08:05:23.5Z".into()).unwrap();
    Event { version: 1, time, pod: Some("shop/web-0".to_owned()), what }
}

fn held() -> What {
    What::Held(Connection {
        socket: 9,
        reason: "no-listener".to_owned(),
        destination: "198.51.100.10:80".to_owned(),
        capture_port: 15001,
        container: Some("app".to_owned()),
        process: Some(Process { pid: 4711, uid: 1000, name: "a\nb".to_owned() }),
        since: event(What::Gone).time,
    })
}

#[test]
fn text_of_every_event_is_one_line() {
    let word = || "x".to_owned();
    let all = [
        held(),
        What::Changed { state: word(), reason: word(), mode: None },
        What::Container { container: "a\u{1b}b".to_owned(), class: word() },
        What::Ended { socket: 1, outcome: word(), attempts: 3, held_seconds: 1.0 },
        What::Listening,
        What::Opened { reason: word(), held: 1, waiting: 1, longest_seconds: 1.0 },
        What::Terminating,
        What::Gone,
        What::Missed { events: 4 },
    ];
    for what in all {
        let text = text(&event(what));
        assert!(text.starts_with("08:05:23.500 shop/web-0 ") && !text.chars().any(char::is_control), "{text:?}");
    }
    assert_eq!(
        text(&event(held())),
        r"08:05:23.500 shop/web-0 held (no-listener): app a\nb[4711] -> 198.51.100.10:80 [9]"
    );
}

#[test]
fn json_of_an_event_is_flat_and_is_read_back() {
    let json = serde_json::to_value(event(held())).unwrap();
    assert_eq!((&json["event"], &json["pod"], &json["version"]), (&"held".into(), &"shop/web-0".into(), &1.into()));
    assert_eq!(json["process"]["name"], "a\nb");
    assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event(held()));
    assert_eq!(serde_json::to_value(event(What::Gone)).unwrap()["event"], "gone");
}
