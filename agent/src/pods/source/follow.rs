//! Follows a list of the API server for ever: list, watch, list again when the watch is lost.
//!
//! Knows nothing of what is listed. kube's watcher does bookmarks and expired versions (410); any other failure begins anew
//! with a list, after a back-off with jitter, so that what vanished meanwhile is noticed, and so that a list is the proof that
//! the server is back.

use std::{pin::pin, time::Duration};

use futures_util::{Stream, StreamExt as _};
use kube::runtime::watcher::{self, DefaultBackoff, Event};

use super::{
    explain::explain,
    report::{Report, Reports},
};

/// The longest that the server may be silent during a list.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest wait between two tries: below the grace ([`crate::app::GRACE`]), so that a pod that starts when the server is
/// back is known before its first connection is let go.
const LONGEST: Duration = Duration::from_secs(8);

/// The longest watch in seconds, after which a connection that died in silence is noticed.
const WATCH: u32 = 120;

/// What changed in what is followed.
pub(super) enum News<K> {
    /// All objects.
    All(Vec<K>),
    /// One is new or has changed.
    Applied(K),
    /// One was deleted.
    Deleted(K),
}

/// How a watch is asked for.
pub(super) fn watch_config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH)
}

/// Reports what `told` makes of the news of streams that `begin` makes, for ever. `permission`: what it takes.
pub(super) async fn follow<K, S>(
    begin: impl Fn() -> S,
    told: impl Fn(News<K>) -> Option<Report>,
    permission: &str,
    reports: &Reports,
) where
    S: Stream<Item = Result<Event<K>, watcher::Error>>,
{
    let mut backoff = DefaultBackoff::default();
    loop {
        let mut stream = pin!(begin());
        let mut listed = Vec::new();
        let mut complete = false;
        loop {
            let next =
                if complete { Ok(stream.next().await) } else { tokio::time::timeout(PATIENCE, stream.next()).await };
            let news = match next {
                Ok(Some(Ok(event))) => match event {
                    Event::Init => {
                        (listed, complete) = (Vec::new(), false);
                        None
                    }
                    Event::InitApply(object) => {
                        listed.push(object);
                        None
                    }
                    Event::InitDone => {
                        complete = true;
                        backoff = DefaultBackoff::default();
                        Some(News::All(std::mem::take(&mut listed)))
                    }
                    Event::Apply(object) => Some(News::Applied(object)),
                    Event::Delete(object) => Some(News::Deleted(object)),
                },
                Ok(Some(Err(error))) if has_expired(&error) => {
                    tracing::info!(permission, "the API server no longer has the version we know (410): listing again");
                    None
                }
                Ok(Some(Err(error))) => {
                    if let Some(why) = failure(&error, permission) {
                        reports.send(Report::failed(why)).await;
                    }
                    break;
                }
                Ok(None) => break,
                Err(_) => {
                    reports
                        .send(Report::failed(format!("the API server did not answer a list within {PATIENCE:?}")))
                        .await;
                    break;
                }
            };
            if let Some(report) = news.and_then(&told) {
                reports.send(report).await;
            }
        }
        // It never runs out; if it did, its longest delay would be right.
        tokio::time::sleep(backoff.next().unwrap_or(LONGEST).min(LONGEST)).await;
    }
}

/// The version we had is too old (410): the watcher lists again by itself.
fn has_expired(error: &watcher::Error) -> bool {
    let (watcher::Error::WatchError(status) | watcher::Error::WatchStartFailed(kube::Error::Api(status))) = error
    else {
        return false;
    };
    status.code == 410
}

/// What is wrong; `None` when only a connection was lost, which the next list proves or disproves.
fn failure(error: &watcher::Error, permission: &str) -> Option<String> {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
            Some(explain(error, permission))
        }
        watcher::Error::WatchError(status) => Some(explain(&kube::Error::Api(status.clone()), permission)),
        watcher::Error::WatchFailed(_) => None,
        watcher::Error::NoResourceVersion => Some("the API server sent a list without resourceVersion".to_owned()),
    }
}
