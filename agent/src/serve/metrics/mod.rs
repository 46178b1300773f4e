//! Metrics as Prometheus' text: what was counted where it happened (`crate::metrics`), and what is read at scrape time.
//!
//! `snapshot` is what the agent's loop reads from kernel and core when asked; `families` puts all into the declared families.
//!
//! Invariants:
//! - Label values are closed sets, but for pods' series: those exist only for pods that ask for a gate, end with the pod,
//!   and are bounded by [`PodSeries`].
//! - What a scrape cannot read is absent, never zero.

mod families;
mod process;
pub mod snapshot;

use prometheus::{Encoder as _, TextEncoder};

pub use self::snapshot::{PodSeries, Snapshot};
use super::conditions::Conditions;
use crate::{metrics::Recorded, view::Time};

/// The type of what [`text`] writes.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All metrics as text, of a process that `started` then; without a snapshot those alone that need none.
///
/// # Errors
/// When a family cannot be written, which is a mistake in this program.
pub fn text(
    recorded: &Recorded,
    conditions: &Conditions,
    started: Time,
    snapshot: Option<&Snapshot>,
) -> Result<Vec<u8>, prometheus::Error> {
    let mut families = recorded.gather();
    families.extend(families::of_agent(recorded, conditions));
    families.extend(process::families(started));
    families.extend(snapshot.into_iter().flat_map(families::of_snapshot));
    // A family without a sample is none yet.
    families.retain(|family| !family.get_metric().is_empty());
    families.sort_by(|one, other| one.name().cmp(other.name()));
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
