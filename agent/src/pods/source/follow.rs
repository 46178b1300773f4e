//! Follows a list of the API server for ever: one list, from the server's cache, then watches that go on from version to version.
//!
//! A list is asked for only at the start and when the server no longer has our version (410). It is never older than what was
//! seen before, so that a server that lags behind makes no pod vanish. A server that was away is asked to go on where it
//! stopped. After each failure there is a back-off with jitter, 410 included: all nodes meet it at the same moment.
//!
//! kube's own watcher does not do: it lists at any version again, keeps to an expired one that HTTP refuses, and does not tell
//! that a watch has been taken up, which may be the only sign of life for hours.

use std::{convert::Infallible, fmt::Debug, pin::pin, time::Duration};

use futures_util::StreamExt as _;
use kube::{
    Api, Resource,
    api::{ListParams, VersionMatch, WatchEvent, WatchParams},
    runtime::watcher::DefaultBackoff,
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use super::{
    explain::explain,
    report::{Report, Reports},
};

/// The longest that the server may take for a list, or to take up a watch.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest wait between two tries: below the grace ([`conngate_core::node::GRACE`]), so that a pod that starts when the server is
/// back is known before its first connection is let go.
const LONGEST: Duration = Duration::from_secs(8);

/// The longest watch, and the silence after which its connection is taken for dead.
const WATCH: u32 = 120;
const SILENCE: Duration = Duration::from_secs(125);

/// A watch that ends sooner is not followed by another one at once.
const BRIEF: Duration = Duration::from_secs(1);

/// In the answer to a list at a version that the server does not reach (apiserver/pkg/storage/errors.go).
const TOO_LARGE: &str = "Too large resource version";

/// What changed in what is followed.
pub(super) enum News<T> {
    /// All objects.
    All(Vec<T>),
    /// One is new or has changed.
    Applied(T),
    /// One was deleted.
    Deleted(T),
}

/// What is followed, and how.
pub(super) struct Follow<K, T> {
    pub(super) api: Api<K>,
    pub(super) fields: Option<String>,
    /// What it takes.
    pub(super) permission: &'static str,
    /// What is kept of an object.
    pub(super) convert: fn(K) -> Option<T>,
    pub(super) told: fn(News<T>) -> Report,
    pub(super) reports: Reports,
}

/// How far we are.
struct Seen {
    /// The newest version seen. At first any that the server has at hand ("0", as kubelets ask): the most recent one (`None`) may
    /// take reading all objects of the cluster from etcd, for every node.
    version: Option<String>,
    /// Whether there was a list that a watch can go on from.
    listed: bool,
}

impl<K, T> Follow<K, T>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    pub(super) async fn run(self) -> Infallible {
        let mut seen = Seen { version: Some("0".to_owned()), listed: false };
        // It starts at its shortest wait again after two minutes without a failure.
        let mut backoff = DefaultBackoff::default();
        loop {
            let (began, watching) = (Instant::now(), seen.listed);
            let done = if watching { self.watch(&mut seen).await } else { self.list(&mut seen).await };
            match done {
                Ok(()) if !watching || began.elapsed() >= BRIEF => continue,
                Ok(()) => {}
                Err(kube::Error::Api(status)) if watching && status.code == 410 => {
                    let permission = self.permission;
                    tracing::info!(permission, "the API server no longer has the version we know (410): listing again");
                    seen.listed = false;
                }
                Err(error) => {
                    // No server's versions reach ours any longer: etcd was restored.
                    if matches!(&error, kube::Error::Api(status) if !watching && status.message.contains(TOO_LARGE)) {
                        seen.version = None;
                    }
                    self.reports.send(Report::Failed { why: explain(&error, self.permission) }).await;
                }
            }
            // It never runs out; if it did, its longest delay would be right.
            tokio::time::sleep(backoff.next().unwrap_or(LONGEST).min(LONGEST)).await;
        }
    }

    async fn list(&self, seen: &mut Seen) -> kube::Result<()> {
        let version_match = seen.version.as_ref().map(|_| VersionMatch::NotOlderThan);
        let (field_selector, resource_version) = (self.fields.clone(), seen.version.clone());
        let list = ListParams { field_selector, resource_version, version_match, ..ListParams::default() };
        let all = within(self.api.list(&list)).await?;
        seen.version = all.metadata.resource_version.filter(|version| !version.is_empty());
        if seen.version.is_none() {
            return Err(kube::Error::Service("it sent a list without resourceVersion".into()));
        }
        seen.listed = true;
        let kept = all.items.into_iter().filter_map(self.convert).collect();
        self.reports.send((self.told)(News::All(kept))).await;
        Ok(())
    }

    /// Returns when the watch is over.
    async fn watch(&self, seen: &mut Seen) -> kube::Result<()> {
        let params = WatchParams { field_selector: self.fields.clone(), ..WatchParams::default().timeout(WATCH) };
        let from = seen.version.clone().unwrap_or_default();
        let mut stream = pin!(within(self.api.watch(&params, &from)).await?);
        self.reports.send(Report::Watching).await;
        loop {
            let event = match timeout(SILENCE, stream.next()).await {
                // A connection that breaks says nothing of the server; the next one does.
                Err(_) | Ok(None | Some(Err(kube::Error::ReadEvents(_)))) => return Ok(()),
                Ok(Some(Ok(WatchEvent::Error(status)))) => Err(kube::Error::Api(status.boxed())),
                Ok(Some(event)) => event,
            };
            // What the server says amiss, it would say again at this version.
            let event = event.inspect_err(|_| seen.listed = false)?;
            let (version, news) = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    (object.meta().resource_version.clone(), (self.convert)(object).map(News::Applied))
                }
                WatchEvent::Deleted(object) => {
                    (object.meta().resource_version.clone(), (self.convert)(object).map(News::Deleted))
                }
                WatchEvent::Bookmark(bookmark) => (Some(bookmark.metadata.resource_version), None),
                WatchEvent::Error(_) => continue,
            };
            seen.version = version.or(seen.version.take());
            if let Some(news) = news {
                self.reports.send((self.told)(news)).await;
            }
        }
    }
}

/// What `asked` gives, in time.
async fn within<R>(asked: impl Future<Output = kube::Result<R>>) -> kube::Result<R> {
    let late = |_| kube::Error::Service(format!("it did not answer within {PATIENCE:?}").into());
    timeout(PATIENCE, asked).await.map_err(late)?
}
