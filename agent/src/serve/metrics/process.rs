//! The agent's own process, in the names that Prometheus' client libraries share.
//!
//! Knows nothing of conngate. What procfs does not tell is absent.

use procfs::{
    ProcResult, WithCurrentSystemInfo as _,
    process::{LimitValue, Process},
};
use prometheus::proto::MetricFamily;

use super::families::{float, one};
use crate::{
    metrics::declared::{self, Metric},
    view::Time,
};

/// Its families; `started` is when the process began.
pub(super) fn families(started: Time) -> Vec<MetricFamily> {
    let began = started.0.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let told = told().inspect_err(|error| tracing::debug!(%error, "the agent's own process cannot be read"));
    let told = told.into_iter().flatten().chain([(&declared::PROCESS_START, began)]);
    told.map(|(metric, value)| one(metric, value)).collect()
}

fn told() -> ProcResult<Vec<(&'static Metric, f64)>> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let mut told = vec![
        (&declared::PROCESS_CPU, float(stat.utime + stat.stime) / float(procfs::ticks_per_second())),
        (&declared::PROCESS_RESIDENT, float(stat.rss_bytes().get())),
        (&declared::PROCESS_VIRTUAL, float(stat.vsize)),
        (&declared::PROCESS_OPEN_FDS, float(u64::try_from(process.fd_count()?).unwrap_or(u64::MAX))),
        (&declared::PROCESS_THREADS, float(u64::try_from(stat.num_threads).unwrap_or_default())),
    ];
    if let LimitValue::Value(limit) = process.limits()?.max_open_files.soft_limit {
        told.push((&declared::PROCESS_MAX_FDS, float(limit)));
    }
    Ok(told)
}
