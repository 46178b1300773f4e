//! The loop: what cgroups, sources and whoever asks have to say is handed to the driver, and what it has to tell is told.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    ops::ControlFlow,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use conngate_core::node::Input;
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval},
};

use super::{
    journal::Journal,
    start::{say_lacks, top},
};
use crate::{
    bpf::attach::AttachError,
    clock,
    driver::{Driver, Request, shared_parents},
    metrics::Recorded,
    pods::{
        defaults::Defaults,
        events::Recorder,
        no_gate::{AskedBy, NoGate},
        pod::Pod,
        presets::Proxy,
        resolve::{Resolved, resolve},
        source::{Handle, SourceEvent, SourceName, SourceState},
    },
    proc::follow::{CgroupNews, Follower},
    serve::{
        conditions::{Condition, Conditions, Part},
        metrics::PodSeries,
        queries::Questions,
    },
    uid::PodUid,
};

/// How often it is looked through what the agent lacks.
const SWEEP: Duration = Duration::from_secs(5);

/// Why the loop ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The kubepods root is gone: begin again.
    RootGone,
}

/// The event loop failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DaemonError {
    /// The event loop failed.
    #[error("the event loop fails")]
    Loop(#[from] io::Error),
    /// Somebody else has taken the hook without which nothing is held.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// A pod as sources have told of it last.
pub(super) struct Known {
    pub(super) pod: Arc<Pod>,
    /// Why it cannot have the gate that it asks for, and who asks.
    pub(super) cannot: Option<(NoGate, AskedBy)>,
    /// Its proxy, and whether that is a native sidecar.
    pub(super) proxy: Option<(Proxy, bool)>,
    /// Where its gate's values come from, by the last part of the annotations' keys.
    pub(super) origins: BTreeMap<String, String>,
}

/// Everything that runs.
pub(super) struct Daemon {
    pub(super) driver: Driver,
    pub(super) follower: Follower,
    pub(super) cgroups: mpsc::Receiver<CgroupNews>,
    pub(super) sources: Handle,
    pub(super) told: mpsc::Receiver<SourceEvent>,
    pub(super) questions: Questions,
    pub(super) defaults: Defaults,
    /// The pods of which sources have told.
    pub(super) pods: HashMap<PodUid, Known>,
    pub(super) recorder: Recorder,
    pub(super) recorded: Recorded,
    pub(super) conditions: Conditions,
    /// How the sources are: why they are down, if they are.
    pub(super) sources_say: BTreeMap<SourceName, Option<String>>,
    pub(super) journal: Journal,
    /// This node's name in the API.
    pub(super) node: Option<String>,
    pub(super) series: PodSeries,
    pub(super) sweep: Interval,
}

/// See [`SWEEP`].
pub(super) fn sweeps() -> Interval {
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sweep
}

impl Daemon {
    /// Works until the kubepods root is gone.
    pub(super) async fn serve(&mut self) -> Result<Ended, DaemonError> {
        loop {
            tokio::select! {
                turned = self.driver.turn() => turned?,
                Some(news) = self.cgroups.recv() => {
                    if self.cgroups_say(news).is_break() {
                        return Ok(Ended::RootGone);
                    }
                }
                Some(event) = self.told.recv() => self.source_says(event),
                Some(question) = self.questions.recv() => self.answer(question),
                _ = self.sweep.tick() => self.look_through()?,
            }
            self.turned();
        }
    }

    /// Does `work`; meanwhile the loop turns, and what was held is released as ever.
    ///
    /// # Errors
    /// When the event loop fails.
    pub(super) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> Result<T, DaemonError> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                turned = self.driver.turn() => turned?,
                Some(question) = self.questions.recv() => self.answer(question),
            }
            self.turned();
        }
    }

    /// What a turn leaves to be told and asked for.
    fn turned(&mut self) {
        for fact in self.driver.facts() {
            self.tell(fact);
        }
        for request in self.driver.requests() {
            match request {
                Request::FindPod(gate) => self.follower.find(gate),
                Request::AskFor(uid) => drop(self.sources.ask(uid)),
            }
        }
        if self.driver.node().is_reconciled() {
            self.conditions.met(Condition::Reconciled);
        }
        self.conditions.turn(clock::now());
    }

    /// Breaks when the kubepods root is gone.
    fn cgroups_say(&mut self, news: CgroupNews) -> ControlFlow<()> {
        match news {
            CgroupNews::Classes(classes) => self.driver.set_shared_parents(shared_parents(&classes)),
            CgroupNews::Appeared(pod) => self.driver.pod_appeared(pod),
            CgroupNews::Vanished(uid, gate) => self.driver.pod_vanished(uid, gate),
            CgroupNews::Containers(gate, there) => self.driver.tell(Input::Containers { gate, there }),
            CgroupNews::Walked => self.driver.tell(Input::Walked),
            CgroupNews::Astray(container) => self.conditions.degraded_because(Part::Drivers, container.map(astray)),
            CgroupNews::Degraded(why) => self.conditions.degraded_because(Part::Cgroups, why),
            CgroupNews::Gone => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn source_says(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Seen(pod) => {
                let Resolved { core, cannot, proxy, origins } = resolve(&pod, &self.defaults);
                self.pods.insert(pod.uid, Known { pod, cannot, proxy, origins });
                self.driver.tell(Input::Pod(Arc::new(core)));
            }
            SourceEvent::Gone(uid) => {
                self.driver.tell(Input::PodGone(uid));
                self.turned();
                self.pods.remove(&uid);
            }
            SourceEvent::Synced => self.driver.tell(Input::Synced),
            SourceEvent::Answered { uid, known } => tracing::debug!(%uid, known, "asked for a pod"),
            SourceEvent::Health { source, state } => {
                let why = match state {
                    SourceState::Up => None,
                    SourceState::Down { why } => Some(why),
                };
                self.sources_say.insert(source, why);
                self.weigh_sources();
            }
        }
    }

    /// One source of pods is enough; what the others lack is said all the same.
    fn weigh_sources(&self) {
        let down: Vec<_> =
            self.sources_say.iter().filter_map(|(source, why)| Some(format!("{source}: {}", why.as_ref()?))).collect();
        let pods = |(source, why): (&SourceName, &Option<String>)| *source != SourceName::Namespaces && why.is_none();
        let why = (!down.is_empty()).then(|| down.join("; "));
        if self.sources_say.iter().any(pods) {
            self.conditions.met(Condition::Pods);
            self.conditions.degraded_because(Part::Sources, why);
        } else if let Some(why) = why {
            self.conditions.unmet_because(Condition::Pods, why);
        }
    }

    /// What the agent lacks, and tries again to have.
    fn look_through(&mut self) -> Result<(), AttachError> {
        let overdue = self.driver.node().overdue();
        let untold = (overdue != 0)
            .then(|| format!("no source has reported {overdue} pods for a minute: is --node-name correct?"));
        self.conditions.degraded_because(Part::Pods, untold);
        let [gates, containers] = self.driver.node().unwritten();
        let bpf = self.driver.bpf();
        let unwritten = (gates + containers != 0).then(|| {
            format!("not written yet, retrying: {gates} gates, {containers} containers: {}", bpf.write_error())
        });
        self.conditions.degraded_because(Part::Maps, unwritten);
        if let Some(gated) = bpf.gated()
            && bpf.look_around(&gated, top(&gated))?
        {
            say_lacks(bpf, &self.conditions);
        }
        self.conditions.degraded_because(Part::Pins, bpf.pin());
        Ok(())
    }
}

/// What it means that a container is here.
fn astray(container: PathBuf) -> String {
    format!(
        "pods' containers are not in the kubelet's cgroups but at {}: kubelet and container runtime use different cgroup drivers \
         (containerd: SystemdCgroup = true), and nothing of those pods is held",
        container.display()
    )
}
