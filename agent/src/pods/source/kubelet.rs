//! Pods from the kubelet: asked now and then, and at once when somebody wants to know about a pod.
//!
//! Knows nothing of other sources. The kubelet has no watch; each answer is all that it knows. Questions that come while one is
//! on its way are one question, and after a failure it is left alone for a while, longer each time.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use kube::runtime::watcher::DefaultBackoff;
use tokio::sync::watch;

pub use super::kubelet_client::{KubeletConfig, KubeletConfigError, KubeletError, parse};
use super::{
    SourceName,
    asks::Asks,
    explain::chain,
    kubelet_client::KubeletClient,
    report::{Report, Reports, Source},
};

/// How often it is asked when nobody else says what changes, and when the API server does.
pub(super) const ALONE: Duration = Duration::from_secs(5);
pub(super) const BESIDE: Duration = Duration::from_secs(60);

/// The least time between two questions.
const LULL: Duration = Duration::from_millis(200);

#[derive(Clone)]
pub(super) struct Kubelet {
    pub(super) config: KubeletConfig,
    pub(super) asks: Arc<Asks>,
    /// How often it is asked.
    pub(super) pace: watch::Receiver<Duration>,
}

impl Source for Kubelet {
    const NAME: SourceName = SourceName::Kubelet;

    async fn run(mut self, reports: Reports) -> Infallible {
        let mut client = KubeletClient::new(self.config.clone());
        let mut backoff = DefaultBackoff::default();
        let mut ignored = BTreeSet::new();
        loop {
            let asked: Vec<_> = self.asks.take().into_iter().collect();
            match client.pods().await {
                Ok((pods, faults)) => {
                    backoff = DefaultBackoff::default();
                    let faults: BTreeSet<_> = faults.iter().map(|fault| chain(fault)).collect();
                    for why in faults.difference(&ignored) {
                        tracing::warn!(%why, "ignoring a pod from the kubelet");
                    }
                    ignored = faults;
                    reports.send(Report::Listed { pods, asked, fault: None }).await;
                    tokio::time::sleep(LULL).await;
                    self.rest().await;
                }
                Err(error) => {
                    reports.send(Report::Failed { why: chain(&error) }).await;
                    tokio::time::sleep(backoff.next().unwrap_or(BESIDE)).await;
                }
            }
        }
    }
}

impl Kubelet {
    /// Returns when it is time to ask again.
    async fn rest(&mut self) {
        let since = tokio::time::Instant::now();
        loop {
            let pace = *self.pace.borrow_and_update();
            tokio::select! {
                () = tokio::time::sleep_until(since + pace) => return,
                () = self.asks.some() => if !self.asks.is_empty() { return },
                changed = self.pace.changed() => if changed.is_err() { return std::future::pending().await },
            }
        }
    }
}
