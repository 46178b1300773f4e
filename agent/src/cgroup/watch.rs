//! The pods' cgroups as they come and go.
//!
//! Knows nothing of what a pod is for. inotify only says that something has changed; what has, a new walk says: a lost,
//! late or overflowing event, a QoS directory that the kubelet made again, and a name that was used again need no code.
//!
//! Invariants:
//! - A directory is watched before it is listed, so that nothing falls between the two.
//! - Whatever is asked, walks are bounded in rate: [`PodWatch::pod`] makes at most ten a second.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use conngate_common::id::CgroupId;
use futures_util::{StreamExt as _, stream::ReadyChunks};
use inotify::{EventStream, Inotify, WatchMask, Watches};

use super::{
    hierarchy,
    kubepods::Kubepods,
    pods::{self, PodCgroup},
};
use crate::uid::PodUid;

/// Shortest time between two walks for ids that nobody knows.
const BETWEEN_WALKS: Duration = Duration::from_millis(100);

/// Bytes of events that are read at once; one has at most 272 (inotify(7)).
const BUFFER: usize = 4096;

/// Events that make one walk, when they are there together.
const AT_ONCE: usize = 1024;

/// What happened below the kubepods root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupEvent {
    /// A pod's cgroup is there; also for each that was there at the start.
    PodAppeared(PodCgroup),
    /// A pod's cgroup is gone.
    PodVanished(PodUid, CgroupId),
    /// The kubepods root itself is gone: find it again. All its pods have vanished, and nothing follows.
    Gone,
}

/// The pods cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the pods' cgroups in {path}")]
pub struct WatchError {
    /// What was tried.
    pub action: &'static str,
    /// The kubepods root.
    pub path: PathBuf,
    /// Why; ENOSPC and EMFILE are fs.inotify.max_user_watches and max_user_instances.
    pub source: io::Error,
}

/// The pods below one kubepods root.
pub struct PodWatch {
    kubepods: Kubepods,
    watches: Watches,
    changes: ReadyChunks<EventStream<[u8; BUFFER]>>,
    known: BTreeMap<CgroupId, PodCgroup>,
    walked: Instant,
    /// Something has changed since the last walk.
    stale: bool,
    gone: bool,
    events: VecDeque<CgroupEvent>,
}

impl PodWatch {
    /// Starts to watch, inside a tokio runtime; [`Self::next`] begins with the pods that are there.
    ///
    /// # Errors
    /// When the root cannot be watched or listed.
    pub fn open(kubepods: Kubepods, now: Instant) -> Result<Self, WatchError> {
        let failed = |source| WatchError { action: "watch", path: kubepods.path.clone(), source };
        let inotify = Inotify::init().map_err(failed)?;
        let watches = inotify.watches();
        let changes = inotify.into_event_stream([0; BUFFER]).map_err(failed)?.ready_chunks(AT_ONCE);
        let (known, events) = Default::default();
        let mut watch = Self { kubepods, watches, changes, known, walked: now, stale: true, gone: false, events };
        watch.refresh(now)?;
        Ok(watch)
    }

    /// The next event; dropping the future loses none.
    ///
    /// # Errors
    /// When the root cannot be watched or listed; it can be tried again.
    pub async fn next(&mut self) -> Result<CgroupEvent, WatchError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if self.gone {
                return Ok(CgroupEvent::Gone);
            }
            if !self.stale {
                let changes = self.changes.next().await.unwrap_or_default();
                self.stale = true;
                let read: io::Result<Vec<_>> = changes.into_iter().collect();
                read.map_err(|source| self.error("watch", source))?;
            }
            self.refresh(Instant::now())?;
        }
    }

    /// The pods that are known.
    pub fn pods(&self) -> impl Iterator<Item = &PodCgroup> {
        self.known.values()
    }

    /// The pod with this cgroup id, as seen in a record. One that is not known is looked for, unless that was done within
    /// the last tenth of a second.
    ///
    /// # Errors
    /// When the root cannot be watched or listed.
    pub fn pod(&mut self, id: CgroupId, now: Instant) -> Result<Option<&PodCgroup>, WatchError> {
        if !self.known.contains_key(&id) && now.saturating_duration_since(self.walked) >= BETWEEN_WALKS {
            self.refresh(now)?;
        }
        Ok(self.known.get(&id))
    }

    /// Walks, and tells what has changed since the last walk.
    fn refresh(&mut self, now: Instant) -> Result<(), WatchError> {
        self.walked = now;
        let watches = &mut self.watches;
        // cgroupfs tells a directory's end to its parent only (no IN_DELETE_SELF).
        let watched = self.kubepods.path.parent().map_or(Ok(()), |parent| add(watches, parent));
        let found = watched.and_then(|()| pods::walk(&self.kubepods.path, |directory| add(watches, directory)));
        let found = match found {
            _ if !hierarchy::id(&self.kubepods.path).is_ok_and(|id| id == self.kubepods.id) => {
                self.gone = true;
                Vec::new()
            }
            other => other.map_err(|source| self.error("list", source))?,
        };
        let mut found: BTreeMap<_, _> = found.into_iter().map(|pod| (pod.id, pod)).collect();
        self.known.retain(|id, pod| {
            let stays = found.remove(id).is_some();
            if !stays {
                self.events.push_back(CgroupEvent::PodVanished(pod.uid, *id));
            }
            stays
        });
        self.events.extend(found.values().cloned().map(CgroupEvent::PodAppeared));
        self.known.extend(found);
        self.stale = false;
        Ok(())
    }

    fn error(&self, action: &'static str, source: io::Error) -> WatchError {
        WatchError { action, path: self.kubepods.path.clone(), source }
    }
}

/// Watches a directory's entries; once more is as good as once.
fn add(watches: &mut Watches, directory: &Path) -> io::Result<()> {
    watches.add(directory, WatchMask::CREATE | WatchMask::DELETE | WatchMask::ONLYDIR).map(drop)
}
