//! The shapes in words: what people read on a terminal.
//!
//! Knows nothing of where they come from or where the words go. Tables fit [`WIDTH`] columns, and what somebody else chose
//! is made printable.

pub mod check;
pub mod event;
pub mod explain;
pub mod open;
pub mod status;

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets::NOTHING};

use crate::printable::printable;

/// Columns that a table fits into.
pub const WIDTH: u16 = 100;

/// The longest name that is shown whole.
pub const NAME: usize = 253;

/// A table without lines, under `header`.
#[must_use]
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH).set_header(header);
    table
}

/// A duration in its largest unit, as kubectl shows ages.
#[must_use]
pub fn age(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        seconds @ 1..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

/// A gate's state, with its reason where that says more.
#[must_use]
fn state(state: &str, reason: &str) -> String {
    if state == reason { state.to_owned() } else { format!("{state} ({reason})") }
}
