//! Follows the pods' cgroups on a thread of its own, and tells what is so: a slow walk delays no heartbeat.

use std::{
    collections::{BTreeMap, HashMap},
    io, mem,
    path::PathBuf,
    time::{Duration, Instant},
};

use conngate_common::id::CgroupId;
use futures_util::FutureExt as _;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    drivers,
    kubepods::Kubepods,
    pods::PodCgroup,
    watch::{CgroupEvent, PodWatch},
};
use crate::{hand, uid::PodUid};

/// How often what nothing tells of is looked for: containers, and the QoS classes' cgroups.
const SWEEP: Duration = Duration::from_secs(5);

/// How much may be told before the loop listens.
const TOLD: usize = 1024;

/// What is so below the kubepods root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupNews {
    /// The cgroups of the QoS classes.
    Classes(Vec<CgroupId>),
    /// A pod's cgroup is there.
    Appeared(PodCgroup),
    /// A pod's cgroup is gone.
    Vanished(PodUid, CgroupId),
    /// The cgroups below a pod's own, and the ids of their containers.
    Containers(CgroupId, BTreeMap<CgroupId, Option<String>>),
    /// All that were there at first have been told of.
    Walked,
    /// Where a container is that is not in its pod's cgroup; `None`: nowhere.
    Astray(Option<PathBuf>),
    /// Pods are found later than they could be, or not at all, and why; `None`: no longer.
    Degraded(Option<String>),
    /// The kubepods root itself is gone: nothing follows before [`Follower::follow`].
    Gone,
}

#[derive(Debug)]
enum Ask {
    Find(CgroupId),
    Follow(Kubepods),
}

/// Takes questions; the task ends with it.
#[derive(Debug)]
pub struct Follower(mpsc::UnboundedSender<Ask>);

impl Follower {
    /// Starts to follow `kubepods`.
    ///
    /// # Errors
    /// When there can be no such thread.
    pub fn start(kubepods: Kubepods) -> io::Result<(Self, mpsc::Receiver<CgroupNews>)> {
        let (ask, asked) = mpsc::unbounded_channel();
        let (tell, told) = mpsc::channel(TOLD);
        hand::event_loop("cgroups")?.spawn(async move {
            let watch = PodWatch::open(kubepods.clone(), Instant::now());
            let mut task =
                Task { kubepods, watch, tell, classes: Vec::new(), listed: HashMap::new(), walked: false, gone: false };
            task.run(asked).await;
        });
        Ok((Self(ask), told))
    }

    /// A pod with this cgroup is looked for, if none is known.
    pub fn find(&self, gate: CgroupId) {
        // The task ends with the process.
        let _ = self.0.send(Ask::Find(gate));
    }

    /// Goes on with the root that was found again.
    pub fn follow(&self, kubepods: Kubepods) {
        let _ = self.0.send(Ask::Follow(kubepods));
    }
}

struct Task {
    kubepods: Kubepods,
    watch: PodWatch,
    tell: mpsc::Sender<CgroupNews>,
    /// What was told last.
    classes: Vec<CgroupId>,
    listed: HashMap<CgroupId, BTreeMap<CgroupId, Option<String>>>,
    walked: bool,
    gone: bool,
}

impl Task {
    /// Works until nobody listens any more.
    async fn run(&mut self, mut asked: mpsc::UnboundedReceiver<Ask>) {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.gone {
                match asked.recv().await {
                    Some(Ask::Follow(kubepods)) => self.follow(kubepods),
                    Some(Ask::Find(_)) => {}
                    None => return,
                }
            }
            if let Some(event) = self.watch.next().now_or_never() {
                self.happened(event).await;
                continue;
            }
            if self.watch.has_walked() && !mem::replace(&mut self.walked, true) {
                self.say(CgroupNews::Walked).await;
            }
            tokio::select! {
                event = self.watch.next() => self.happened(event).await,
                ask = asked.recv() => match ask {
                    Some(Ask::Find(gate)) => drop(self.watch.pod(gate, Instant::now())),
                    Some(Ask::Follow(kubepods)) => self.follow(kubepods),
                    None => return,
                },
                _ = sweep.tick() => {
                    self.classes().await;
                    self.say(CgroupNews::Astray(drivers::astray(&self.kubepods.path))).await;
                    // Told again, whether it is news or not: what was looked at meanwhile may be gone.
                    self.listed.clear();
                    for pod in self.watch.pods().cloned().collect::<Vec<_>>() {
                        self.list(&pod).await;
                    }
                }
            }
        }
    }

    fn follow(&mut self, kubepods: Kubepods) {
        self.gone = false;
        self.kubepods = kubepods.clone();
        self.watch.follow(kubepods);
    }

    async fn happened(&mut self, event: CgroupEvent) {
        match event {
            CgroupEvent::PodAppeared(pod) => {
                // Its QoS class may be new too: taken for a pod, it would let go of what is held.
                self.classes().await;
                self.say(CgroupNews::Appeared(pod.clone())).await;
                self.list(&pod).await;
            }
            CgroupEvent::PodVanished(uid, gate) => {
                self.listed.remove(&gate);
                self.say(CgroupNews::Vanished(uid, gate)).await;
            }
            CgroupEvent::ContainersChanged(pod) => self.list(&pod).await,
            CgroupEvent::Degraded(why) => self.say(CgroupNews::Degraded(why)).await,
            CgroupEvent::Gone => {
                self.gone = true;
                self.say(CgroupNews::Gone).await;
            }
        }
    }

    /// Tells of a pod's containers, unless it was told so already. One that cannot be listed may be gone, which the watch tells.
    async fn list(&mut self, pod: &PodCgroup) {
        let Ok(containers) = pod.containers() else { return };
        let there: BTreeMap<_, _> = containers.into_iter().map(|one| (one.id, one.container)).collect();
        if self.listed.get(&pod.id) != Some(&there) {
            self.listed.insert(pod.id, there.clone());
            self.say(CgroupNews::Containers(pod.id, there)).await;
        }
    }

    async fn classes(&mut self) {
        match self.kubepods.shared_parents() {
            Ok(classes) if classes != self.classes => {
                self.classes.clone_from(&classes);
                self.say(CgroupNews::Classes(classes)).await;
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "cannot read the QoS classes' cgroups"),
        }
    }

    async fn say(&self, news: CgroupNews) {
        // Nobody listens any more: the next question says so.
        let _ = self.tell.send(news).await;
    }
}
