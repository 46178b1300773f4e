//! The tables of `bench node`.
//!
//! Knows nothing of how anything was measured.

use anyhow::{Context as _, Result};

use super::{Figures, cost::Cost};
use crate::{report::table, statistics::Sample};

pub(super) fn all(figures: &Figures) -> Result<String> {
    let pods = figures.pods;
    let released = |of: fn(&super::Release) -> f64| figures.released.iter().map(of).collect::<Vec<_>>();
    let rows = [
        row("first SYN dropped to container identified", figures.told.iter().map(|told| told.apart_ms))?,
        row("first SYN dropped to `connection held` in the log", figures.told.iter().map(|told| told.held_ms))?,
        row("first proxy ready to each proxy ready", released(|release| release.ready_ms))?,
        row("first proxy ready to each connection made", released(|release| release.connected_ms))?,
        row("its own proxy ready to connection made", released(|release| release.connected_ms - release.ready_ms))?,
    ];
    let latencies = table([format!("{pods} pods, ms").as_str(), "p50", "p99", "max"], rows);
    let costs = table(
        ["the agent", "seconds", "CPU seconds", "RSS peak, MiB"],
        figures.costs.iter().map(|Cost { phase, seconds, cpu_seconds, peak_mib }| {
            [(*phase).to_owned(), format!("{seconds:.2}"), format!("{cpu_seconds:.2}"), format!("{peak_mib:.1}")]
        }),
    );
    Ok(format!("{latencies}\n\n{costs}\nthe agent was ready {:.0} ms after its start", figures.start_ms))
}

fn row(what: &str, values: impl IntoIterator<Item = f64>) -> Result<[String; 4]> {
    let sample = Sample::of(values).context("nothing was measured")?;
    let [p50, p99, max] = [50, 99, 100].map(|percent| format!("{:.2}", sample.percentile(percent)));
    Ok([what.to_owned(), p50, p99, max])
}
