//! Progress of slow work: what is done now, and how long it took.
//!
//! Knows nothing of the work.

use std::time::Instant;

use anyhow::Result;

/// Does `work` between a line `==> what` and, where it succeeds, a line with its duration; both on stderr.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {what}");
    let started = Instant::now();
    let value = work()?;
    eprintln!("    {what}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(value)
}
