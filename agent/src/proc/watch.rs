//! The pods' cgroups as they come and go.
//!
//! Knows nothing of what a pod is for. inotify only says that something has changed; what has, a new walk says: a lost,
//! late or overflowing event, a QoS directory that the kubelet made again, and a name that was used again need no code.
//!
//! Invariants:
//! - A directory is watched before it is listed, so that nothing falls between the two.
//! - Nothing ends the watch: without inotify, and after a walk that failed, it walks again and again.
//! - Whatever is asked, walks are bounded in rate: [`PodWatch::pod`] makes at most ten a second.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fs, io, mem,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use conngate_common::id::CgroupId;
use futures_util::{StreamExt as _, stream::ReadyChunks};
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};

use super::{
    hierarchy,
    kubepods::Kubepods,
    pods::{self, PodCgroup},
};
use crate::uid::PodUid;

/// Shortest time between two walks for ids that nobody knows.
const BETWEEN_WALKS: Duration = Duration::from_millis(100);

/// Between two walks that nothing has woken.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Between two tries to have inotify.
const RETRY: Duration = Duration::from_secs(5);

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
    /// A container's cgroup of this pod has come or gone.
    ContainersChanged(PodCgroup),
    /// Pods are found later than they could be, or not at all, and why; `None`: no longer.
    Degraded(Option<String>),
    /// The kubepods root itself is gone: find it again. All its pods have vanished, and nothing follows before
    /// [`PodWatch::follow`].
    Gone,
}

/// The pods below one kubepods root.
pub struct PodWatch {
    kubepods: Kubepods,
    /// What wakes; or why nothing does.
    inotify: Result<Wakes, String>,
    /// When inotify was tried.
    tried: Instant,
    /// What was last told as [`CgroupEvent::Degraded`].
    degraded: Option<String>,
    known: BTreeMap<CgroupId, PodCgroup>,
    /// How many cgroups each pod's has, where nothing wakes.
    counts: BTreeMap<CgroupId, u64>,
    walked: Instant,
    /// Something has changed since the last walk.
    stale: bool,
    /// Pods were found by a whole walk.
    has_walked: bool,
    gone: bool,
    events: VecDeque<CgroupEvent>,
}

impl PodWatch {
    /// Starts to watch, inside a tokio runtime; [`Self::next`] begins with the pods that are there.
    #[must_use]
    pub fn open(kubepods: Kubepods, now: Instant) -> Self {
        let (degraded, known, counts, events) = Default::default();
        let inotify = Wakes::open();
        let mut watch = Self {
            kubepods,
            inotify,
            tried: now,
            degraded,
            known,
            counts,
            walked: now,
            stale: true,
            has_walked: false,
            gone: false,
            events,
        };
        watch.refresh(now);
        watch
    }

    /// Goes on with the root that was found again: what has changed since is told.
    pub fn follow(&mut self, kubepods: Kubepods) {
        if self.gone || kubepods != self.kubepods {
            (self.inotify, self.tried) = (Wakes::open(), Instant::now());
            (self.kubepods, self.gone, self.stale) = (kubepods, false, true);
        }
    }

    /// The next event; dropping the future loses none.
    pub async fn next(&mut self) -> CgroupEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            if self.gone {
                return CgroupEvent::Gone;
            }
            if !self.stale {
                self.stale = self.woken().await;
            }
            if self.stale {
                self.refresh(Instant::now());
            }
        }
    }

    /// Whether all that are there are known.
    #[must_use]
    pub const fn has_walked(&self) -> bool {
        self.has_walked
    }

    /// The pods that are known.
    pub fn pods(&self) -> impl Iterator<Item = &PodCgroup> {
        self.known.values()
    }

    /// The pod with this cgroup id, as seen in a record. One that is not known is looked for, unless that was done within
    /// the last tenth of a second.
    pub fn pod(&mut self, id: CgroupId, now: Instant) -> Option<&PodCgroup> {
        if !self.known.contains_key(&id) && now.saturating_duration_since(self.walked) >= BETWEEN_WALKS {
            self.refresh(now);
        }
        self.known.get(&id)
    }

    /// Waits until there may be something to find; says whether that may be pods. Of pods that are known it tells.
    async fn woken(&mut self) -> bool {
        let wakes = match &mut self.inotify {
            Ok(wakes) if self.degraded.is_none() => wakes,
            _ => {
                tokio::time::sleep_until((self.walked + BETWEEN_LOOKS).into()).await;
                return true;
            }
        };
        let changes = wakes.changes.next().await.unwrap_or_default();
        let mut pods = BTreeSet::new();
        let mut others = changes.is_empty();
        for change in changes {
            match change {
                // Something was lost: it may have been any.
                Ok(change) if change.mask.contains(EventMask::Q_OVERFLOW) => {
                    others = true;
                    pods.extend(self.known.keys());
                }
                Ok(change) => match wakes.pods.get(&change.wd) {
                    Some(_) if change.mask.contains(EventMask::IGNORED) => drop(wakes.pods.remove(&change.wd)),
                    Some(pod) => drop(pods.insert(*pod)),
                    None => others = true,
                },
                Err(error) => {
                    self.inotify = Err(error.to_string());
                    return true;
                }
            }
        }
        let changed = pods.iter().filter_map(|pod| self.known.get(pod)).cloned();
        self.events.extend(changed.map(CgroupEvent::ContainersChanged));
        others
    }

    /// Walks, and tells what has changed since the last walk.
    fn refresh(&mut self, now: Instant) {
        (self.walked, self.stale) = (now, false);
        if self.inotify.is_err() && now.saturating_duration_since(self.tried) >= RETRY {
            (self.inotify, self.tried) = (Wakes::open(), now);
        }
        let (path, inotify) = (&self.kubepods.path, &mut self.inotify);
        let mut watch = |directory: &Path| {
            if let Ok(wakes) = inotify
                && let Err(error) = wakes.add(directory)
            {
                *inotify = Err(error.to_string());
            }
        };
        // cgroupfs tells a directory's end to its parent only (no IN_DELETE_SELF).
        if let Some(parent) = path.parent() {
            watch(parent);
        }
        let found = pods::walk(path, &mut watch);
        self.gone = !hierarchy::id(path).is_ok_and(|id| id == self.kubepods.id);
        let found = if self.gone { Ok(Vec::new()) } else { found };
        let degraded = match (&found, &self.inotify) {
            (Err(error), _) => Some(format!("cannot list the pods' cgroups in {}: {error}", path.display())),
            (Ok(_), Err(error)) => Some(format!(
                "no inotify: {error} (fs.inotify.max_user_instances, max_user_watches): the agent scans for pods"
            )),
            (Ok(_), Ok(_)) => None,
        };
        if self.degraded != degraded {
            self.degraded.clone_from(&degraded);
            self.events.push_back(CgroupEvent::Degraded(degraded));
        }
        let Ok(found) = found else { return };
        self.has_walked = true;
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
        if let Ok(wakes) = &mut self.inotify
            && let Err(error) = wakes.follow_pods(&self.known)
        {
            self.inotify = Err(error.to_string());
        }
        self.count_containers();
    }

    /// Tells of pods whose number of cgroups has changed, where nothing else would.
    fn count_containers(&mut self) {
        if self.inotify.is_ok() {
            return self.counts.clear();
        }
        let count = |pod: &PodCgroup| Some((pod.id, fs::metadata(&pod.path).ok()?.nlink()));
        let counts: BTreeMap<_, _> = self.known.values().filter_map(count).collect();
        let before = mem::replace(&mut self.counts, counts);
        let changed =
            |pod: &&PodCgroup| before.get(&pod.id).is_some_and(|before| self.counts.get(&pod.id) != Some(before));
        self.events.extend(self.known.values().filter(changed).cloned().map(CgroupEvent::ContainersChanged));
    }
}

/// inotify.
struct Wakes {
    watches: Watches,
    /// The pods whose cgroups are watched.
    pods: HashMap<WatchDescriptor, CgroupId>,
    watched: BTreeSet<CgroupId>,
    changes: ReadyChunks<EventStream<[u8; BUFFER]>>,
}

impl Wakes {
    fn open() -> Result<Self, String> {
        let opened = Inotify::init().and_then(|inotify| {
            let watches = inotify.watches();
            Ok(Self {
                watches,
                pods: HashMap::new(),
                watched: BTreeSet::new(),
                changes: inotify.into_event_stream([0; BUFFER])?.ready_chunks(AT_ONCE),
            })
        });
        opened.map_err(|error| error.to_string())
    }

    /// Watches a directory's entries; once more is as good as once. One that is gone has none.
    fn add(&mut self, directory: &Path) -> io::Result<Option<WatchDescriptor>> {
        match self.watches.add(directory, WatchMask::CREATE | WatchMask::DELETE | WatchMask::ONLYDIR) {
            Ok(watch) => Ok(Some(watch)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Watches the containers of all `pods`, and of no others.
    fn follow_pods(&mut self, pods: &BTreeMap<CgroupId, PodCgroup>) -> io::Result<()> {
        self.watched.retain(|pod| pods.contains_key(pod));
        for pod in pods.values() {
            if self.watched.insert(pod.id)
                && let Some(watch) = self.add(&pod.path)?
            {
                self.pods.insert(watch, pod.id);
            }
        }
        Ok(())
    }
}
