//! `events` in words, one line each.
//!
//! Names that pods and processes chose are made printable.

use super::{NAME, printable};
use crate::event::{Connection, Event, What};

/// One event in one line.
#[must_use]
pub fn text(event: &Event) -> String {
    let pod = event.pod.as_deref().map(|pod| printable(pod, NAME)).unwrap_or_default();
    format!("{} {pod} {}", event.time.of_day(), words(&event.what))
}

fn words(what: &What) -> String {
    match what {
        What::Changed { state, reason, mode } => {
            let mode = mode.as_ref().map(|mode| format!(", mode {mode}")).unwrap_or_default();
            format!("{}{mode}", super::state(state, reason))
        }
        What::Container { container, class } => format!("container {} is {class}", printable(container, NAME)),
        What::StartedBeforeAgent { container } => {
            format!("container {} started before anybody held connections here", printable(container, NAME))
        }
        What::Held(connection) => held(connection),
        What::Ended { socket, outcome, attempts, held_seconds } => {
            format!("{outcome} after {held_seconds:.3} s, {attempts} SYNs dropped [{socket}]")
        }
        What::Listening => "a listener appeared on a capture port".to_owned(),
        What::Opened { reason, held, waiting, longest_seconds } => {
            format!("released ({reason}): held {held}, still waiting {waiting}, the longest for {longest_seconds:.3} s")
        }
        What::Terminating => "is being deleted".to_owned(),
        What::Gone => "is gone".to_owned(),
        What::Missed { events } => format!("({events} events were missed: this reader is too slow)"),
    }
}

fn held(connection: &Connection) -> String {
    let container = printable(connection.container.as_deref().unwrap_or("?"), NAME);
    let process =
        connection.process.as_ref().map(|process| format!(" {}[{}]", printable(&process.name, 64), process.pid));
    format!(
        "held ({}): {container}{} -> {} [{}]",
        connection.reason,
        process.unwrap_or_default(),
        connection.destination,
        connection.socket
    )
}

#[cfg(test)]
mod tests;
