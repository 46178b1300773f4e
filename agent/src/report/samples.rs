//! Reports for tests.

use std::time::Duration;

use crate::view::{
    self, Time,
    event::{Connection, Process},
    report::{Life, Report, Span},
};

/// So many seconds after an autumn morning.
pub(super) fn at(seconds: f64) -> Time {
    let time: Time = serde_json::from_str(r#""2026-11-26T08:05:20.123456Z""#).unwrap();
    let length = Duration::from_secs_f64(seconds.abs());
    Time(if seconds < 0.0 { time.0 - length } else { time.0 + length })
}

/// A connection, held from the gate's closing on.
pub(super) fn connection(socket: u64) -> Connection {
    Connection {
        socket,
        reason: "no-listener".to_owned(),
        destination: "10.96.14.7:8080".to_owned(),
        capture_port: 15001,
        container: Some("cart".to_owned()),
        process: Some(Process { pid: 41_237, uid: 1000, name: "java".to_owned() }),
        since: at(0.0),
    }
}

/// A connection, held from `since` to `ended`, in seconds from the gate's closing.
pub(super) fn span(since: f64, ended: f64, outcome: &str) -> Span {
    Span {
        connection: Connection { since: at(since), ..connection(1) },
        ended: Some(at(ended)),
        outcome: Some(outcome.to_owned()),
    }
}

/// A connection that waits from `since` on.
pub(super) fn waiting(since: f64) -> Span {
    Span { ended: None, outcome: None, ..span(since, since, "") }
}

/// A gate that was closed at `at(0.0)` and holds nothing.
pub(super) fn life() -> Life {
    Life::new("shop/cart-6d5f7c9b8d-x2x7k", "hold", at(0.0))
}

/// A gate that held `connections` until its proxy was ready, 2.98 s after it was closed.
pub(super) fn opened(connections: Vec<Span>) -> Life {
    Life {
        listening: Some(at(2.91)),
        opened: Some(at(2.98)),
        reason: Some("ready".to_owned()),
        held: connections.len() as u64,
        connections,
        ..life()
    }
}

/// A report that was made a minute after [`life`] began.
pub(super) fn report(lives: Vec<Life>) -> Report {
    Report {
        version: view::VERSION,
        agent: "0.1.0".to_owned(),
        node: Some("worker-3".to_owned()),
        made: at(60.0),
        lives,
    }
}
