//! How far it has come, on stderr, where that is a terminal.
//!
//! Knows nothing of what is done.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

/// A line that comes and goes.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of so many agents; of one, and where nobody looks, nothing is shown.
    pub(crate) fn of(agents: usize) -> Self {
        if agents < 2 || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(u64::try_from(agents).unwrap_or(u64::MAX));
        let style = ProgressStyle::with_template("asked {pos} of {len} agents");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Another one has answered.
    pub(crate) fn one_more(&self) {
        self.0.inc(1);
    }

    /// Nothing of it stays.
    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
