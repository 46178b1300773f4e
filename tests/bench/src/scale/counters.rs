//! What the API server counts of its own work.
//!
//! Knows nothing of who made it work.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::Client;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{PATIENCE, http_get};

/// Of pods, since the server started.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Counters {
    /// Lists that were asked for.
    pub(super) lists: u64,
    /// Lists that etcd was asked for.
    pub(super) etcd_lists: u64,
    pub(super) list_bytes: u64,
    pub(super) watch_events: u64,
    pub(super) watch_bytes: u64,
    /// Watches now.
    pub(super) watches: u64,
    pub(super) cpu_seconds: f64,
    /// Now.
    pub(super) resident_bytes: u64,
}

impl Counters {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts and bytes, far below 2^53")]
    pub(super) async fn now(client: &Client) -> Result<Self> {
        let metrics = client.request_text(http_get("/metrics")?).await?;
        let sum = |name: &str, labels: &[&str]| sum(&metrics, name, labels);
        let pods = ["resource=\"pods\""];
        let count = |name: &str, labels: &[&str]| sum(name, &[&pods[..], labels].concat()).round() as u64;
        Ok(Self {
            lists: count("apiserver_request_total", &["verb=\"LIST\""]),
            etcd_lists: count("etcd_requests_total", &["operation=\"list\""]),
            list_bytes: count("apiserver_response_sizes_sum", &["verb=\"LIST\""]),
            watch_events: count("apiserver_watch_events_sizes_count", &[]),
            watch_bytes: count("apiserver_watch_events_sizes_sum", &[]),
            watches: count("apiserver_longrunning_requests", &["verb=\"WATCH\""]),
            cpu_seconds: sum("process_cpu_seconds_total", &[]),
            resident_bytes: sum("process_resident_memory_bytes", &[]) as u64,
        })
    }

    /// What came since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            lists: self.lists - before.lists,
            etcd_lists: self.etcd_lists - before.etcd_lists,
            list_bytes: self.list_bytes - before.list_bytes,
            watch_events: self.watch_events - before.watch_events,
            watch_bytes: self.watch_bytes - before.watch_bytes,
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            ..*self
        }
    }
}

/// The sum of the samples of `name` with all of these labels.
fn sum(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (labelled, value) = rest.rsplit_once(' ')?;
        let exact = labelled.is_empty() || labelled.starts_with('{');
        (exact && labels.iter().all(|label| labelled.contains(label))).then(|| value.parse::<f64>().ok())?
    });
    samples.sum()
}

/// Waits until the counters are as `wanted`, and gives them.
pub(super) async fn wait(client: &Client, what: &str, wanted: impl Fn(&Counters) -> bool) -> Result<Counters> {
    let until = Instant::now() + PATIENCE;
    loop {
        let now = Counters::now(client).await;
        match now {
            Ok(now) if wanted(&now) => return Ok(now),
            Ok(now) if Instant::now() >= until => bail!("not within {PATIENCE:?}: {what}: {now:?}"),
            Err(error) if Instant::now() >= until => return Err(error).context(what.to_owned()),
            _ => sleep(Duration::from_millis(250)).await,
        }
    }
}
