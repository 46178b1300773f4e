//! `open` in words, one line for each gate.

use super::{NAME, printable};
use crate::open::{Opened, Opening};

/// What was opened, for people.
#[must_use]
pub fn text(opened: &Opened) -> String {
    if opened.gates.is_empty() {
        return "no gate was closed\n".to_owned();
    }
    let line = |Opening { pod, was_closed, waiting }: &Opening| {
        let pod = printable(pod, NAME);
        if *was_closed {
            format!("{pod}: opened, {waiting} connections released\n")
        } else {
            format!("{pod}: was already open\n")
        }
    };
    opened.gates.iter().map(line).collect()
}
