//! The loop: what cgroups, sources and the kernel tell is handed to the roster and the app, and what follows is done.
//!
//! Knows nothing of how things are started. Its parts have files of their own: `classify`, `inherit`, `tell`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    io,
    time::{Duration, Instant},
};

use conngate_common::{
    gate::{ContainerClass, GateEntry, GateState},
    id::CgroupId,
    reason::Reason,
};
use conngate_core::{containers::Unclassified, undecided::Undecided};
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval},
};

use super::{
    journal::Journal,
    roster::{Act, Roster},
};
use crate::{
    app::{App, Home, Notice},
    cgroup::{
        drivers,
        identity::is_container,
        kubepods::Kubepods,
        pods::PodCgroup,
        watch::{CgroupEvent, PodWatch},
    },
    kernel::clock,
    looks::{Looked, Looks},
    metrics::PodSeries,
    pods::{
        events::Recorder,
        no_gate::NoGate,
        source::{Handle, SourceEvent, SourceName, SourceState},
    },
    serve::{
        conditions::{Condition, Conditions, Part},
        queries::Questions,
    },
    spec::GateSpec,
};

/// How often cgroups that have gone are looked for, and those of the QoS classes read again.
const SWEEP: Duration = Duration::from_secs(5);

/// How long inherited gates wait for their pods before a listener alone may open them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the loop ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The kubepods root is gone: begin again.
    RootGone,
}

/// The event loop failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AgentError {
    /// The event loop failed.
    #[error("the event loop fails")]
    Loop(#[from] io::Error),
}

/// Everything that runs.
pub(super) struct Agent {
    pub(super) app: App,
    pub(super) roster: Roster,
    pub(super) sources: Handle,
    told: mpsc::Receiver<SourceEvent>,
    pub(super) recorder: Recorder,
    pub(super) conditions: Conditions,
    /// How the sources are: why they are down, if they are.
    pub(super) sources_say: BTreeMap<SourceName, Option<String>>,
    pub(super) waiting: Unclassified,
    undecided: Undecided,
    pub(super) looks: Looks,
    looked: mpsc::UnboundedReceiver<Looked>,
    /// Closed gates with connections that were held.
    pub(super) holding: HashSet<CgroupId>,
    /// Gates that an earlier agent left, until their pod is known.
    pub(super) inherited: HashMap<CgroupId, GateEntry>,
    pub(super) journal: Journal,
    /// The containers of gated pods, as they were last.
    seen: HashMap<CgroupId, BTreeSet<CgroupId>>,
    /// Containers that waited in vain until their gate timed out: let pass until it is open for another reason.
    pub(super) let_pass: HashMap<CgroupId, Vec<CgroupId>>,
    questions: Questions,
    /// This node's name in the API.
    pub(super) node: Option<String>,
    pub(super) series: PodSeries,
    started: Instant,
    sweep: Interval,
}

/// What the loop is joined to.
pub(super) struct Joined {
    pub(super) sources: Handle,
    pub(super) told: mpsc::Receiver<SourceEvent>,
    pub(super) recorder: Recorder,
    pub(super) conditions: Conditions,
    pub(super) questions: Questions,
    pub(super) looks: (Looks, mpsc::UnboundedReceiver<Looked>),
}

impl Agent {
    pub(super) fn new(mut app: App, roster: Roster, joined: Joined, node: Option<String>, series: PodSeries) -> Self {
        let inherited = app.loaded().maps.gates().into_iter().collect();
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let Joined { sources, told, recorder, conditions, questions, looks: (looks, looked) } = joined;
        Self {
            app,
            roster,
            sources,
            told,
            recorder,
            conditions,
            sources_say: BTreeMap::new(),
            waiting: Unclassified::default(),
            undecided: Undecided::default(),
            looks,
            looked,
            holding: HashSet::new(),
            inherited,
            journal: Journal::new(),
            seen: HashMap::new(),
            let_pass: HashMap::new(),
            questions,
            node,
            series,
            started: Instant::now(),
            sweep,
        }
    }

    /// Works until the kubepods root is gone.
    pub(super) async fn serve(&mut self, kubepods: Kubepods, watch: &mut PodWatch) -> Result<Ended, AgentError> {
        self.learn_shared_parents(&kubepods);
        loop {
            let due = self.waiting.next_due().map(|at| Duration::from_nanos(at.since(clock::now())));
            tokio::select! {
                notice = self.app.next() => self.noticed(notice?, watch),
                event = watch.next() => match event {
                    CgroupEvent::PodAppeared(cgroup) => self.appeared(cgroup, &kubepods),
                    CgroupEvent::PodVanished(uid, gate) => {
                        let acts = self.roster.vanished(uid, gate);
                        self.carry_out(acts);
                    }
                    CgroupEvent::ContainersChanged(pod) => self.containers_changed(&pod),
                    CgroupEvent::Degraded(why) => self.conditions.degraded_because(Part::Cgroups, why),
                    CgroupEvent::Gone => return Ok(Ended::RootGone),
                },
                Some(looked) = self.looked.recv() => self.looked(looked),
                Some(event) = self.told.recv() => self.source_says(event, watch),
                Some(question) = self.questions.recv() => self.answer(question),
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => self.look_again(),
                _ = self.sweep.tick() => self.sweep(&kubepods),
            }
            self.app.set_undecided(self.roster.undecided().next().is_some());
            self.conditions.turn(clock::now());
        }
    }

    /// A container has come or gone: one of the pod as it is, or the pod's sandbox was made anew, in another namespace.
    fn containers_changed(&mut self, pod: &PodCgroup) {
        if self.roster.is_gated(pod.id) != Some(true) {
            return;
        }
        let there = pod.container_ids().unwrap_or_default();
        let before = self.seen.insert(pod.id, there.clone()).unwrap_or_default();
        if !there.is_subset(&before) && self.app.timed_out(pod.id) {
            // What waited in vain is not made to wait again, but what starts now is.
            for (container, class) in self.roster.classes(pod.id) {
                if class == ContainerClass::Gated {
                    self.app.classify(container, ContainerClass::Exempt);
                    self.let_pass.entry(pod.id).or_default().push(container);
                }
            }
            self.app.restarted(pod.id);
        }
        // A sandbox that is made anew takes the place of one that went.
        if !before.is_subset(&there) {
            self.app.look_for_netns(pod.id);
        }
    }

    /// A pod's cgroup is there, and so is that of its QoS class.
    fn appeared(&mut self, cgroup: PodCgroup, kubepods: &Kubepods) {
        self.learn_shared_parents(kubepods);
        let acts = self.roster.appeared(cgroup);
        self.carry_out(acts);
    }

    fn learn_shared_parents(&mut self, kubepods: &Kubepods) {
        match kubepods.shared_parents() {
            Ok(parents) => self.app.set_shared_parents(&parents),
            Err(error) => tracing::debug!(%error, "cannot read the QoS classes' cgroups"),
        }
    }

    fn noticed(&mut self, notice: Notice, watch: &mut PodWatch) {
        match notice {
            Notice::Unclassified(record) => self.unclassified(*record, watch),
            Notice::Held(record) => self.held(&record),
            Notice::Ended(record, outcome) => {
                self.waiting.ended(record.header.gate, record.header.socket);
                self.ended(&record, outcome);
            }
            Notice::Changed(gate, state, reason) => self.changed(gate, state, reason),
            Notice::Listening(gate) => self.listening(gate),
            Notice::Opened(gate, summary) => {
                self.opened(gate, &summary);
                if summary.reason != Reason::Timeout {
                    for container in self.let_pass.remove(&gate).unwrap_or_default() {
                        self.app.classify(container, ContainerClass::Gated);
                    }
                }
            }
        }
    }

    fn source_says(&mut self, event: SourceEvent, watch: &PodWatch) {
        match event {
            SourceEvent::Seen(pod) => {
                let acts = self.roster.seen(pod);
                self.carry_out(acts);
            }
            SourceEvent::Gone(uid) => {
                let acts = self.roster.gone(uid);
                self.carry_out(acts);
            }
            SourceEvent::Synced => self.reconcile(watch),
            SourceEvent::Answered { uid, known } => tracing::debug!(%uid, known, "asked for a pod"),
            SourceEvent::Health { source, state: SourceState::Up } => {
                self.sources_say.insert(source, None);
                self.weigh_sources();
            }
            SourceEvent::Health { source, state: SourceState::Down { why } } => {
                self.sources_say.insert(source, Some(why));
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

    pub(super) fn carry_out(&mut self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Enrol { gate, spec } => self.enrol(gate, *spec),
                Act::Decline(gate) => {
                    self.inherited.remove(&gate);
                    if let Some(home) = self.home(gate) {
                        self.app.decline(gate, home);
                    }
                    self.hand_on(gate);
                }
                Act::Terminate(gate) => {
                    self.inherited.remove(&gate);
                    self.terminating(gate);
                    if let Some(home) = self.home(gate) {
                        self.app.terminate(gate, home);
                    }
                    self.hand_on(gate);
                }
                Act::Retire(gate) => {
                    self.inherited.remove(&gate);
                    self.gone(gate);
                    self.waiting.gone(gate);
                    self.seen.remove(&gate);
                    self.let_pass.remove(&gate);
                    self.app.retire(gate);
                }
                Act::ForgetContainer(container) => self.app.forget_container(container),
                Act::Vouch { gate, ready } => self.vouch(gate, ready.as_deref()),
                Act::Reclassify(gate) => {
                    for (container, class) in self.roster.reclassify(gate) {
                        self.app.classify(container, class);
                    }
                }
                Act::Refuse { pod, bad } => self.refuse(&pod, NoGate::InvalidAnnotation, &bad.to_string()),
                Act::Cannot { pod, why } => self.refuse(&pod, why, why.explanation()),
                Act::Warn { pod, unknown } => {
                    tracing::warn!(pod = pod.path(), keys = unknown.join(", "), "annotations that mean nothing");
                }
            }
        }
    }

    /// A status may be older than the pod's sandbox (a reboot keeps it): it counts for a container that is there.
    fn vouch(&mut self, gate: CgroupId, ready: Option<&str>) {
        let there = self.roster.cgroup(gate).and_then(|pod| pod.containers().ok()).unwrap_or_default();
        let is_it =
            |id: &str| there.iter().filter_map(|one| one.container.as_deref()).any(|there| is_container(id, there));
        self.app.vouch(gate, ready.is_some_and(is_it));
    }

    fn enrol(&mut self, gate: CgroupId, spec: GateSpec) {
        let Some(home) = self.home(gate) else { return };
        let mode = spec.policy.mode;
        let open = self.inherited.remove(&gate).filter(|entry| entry.state == GateState::Open.code());
        let inherited = open.and_then(|entry| Reason::try_from(entry.reason).ok());
        match inherited {
            Some(reason) => self.app.resume(gate, spec, home, reason),
            None => self.app.enrol(gate, spec, home),
        }
        let there = self.roster.cgroup(gate).and_then(|pod| pod.container_ids().ok()).unwrap_or_default();
        self.seen.insert(gate, there);
        tracing::debug!(pod = self.name(gate), %mode, "gated");
        self.hand_on(gate);
    }

    fn sweep(&mut self, kubepods: &Kubepods) {
        if self.started.elapsed() > PATIENCE {
            self.adopt();
        }
        self.expire();
        self.conditions.degraded_because(Part::Pins, self.app.loaded().pin());
        let overdue = self.undecided.at(clock::now(), self.roster.undecided());
        let untold = (overdue != 0)
            .then(|| format!("no source has told of {overdue} pods for a minute: is --node-name this node's?"));
        self.conditions.degraded_because(Part::Pods, untold);
        let astray = drivers::astray(&kubepods.path).map(|container| {
            format!(
                "pods' containers are not in the kubelet's cgroups but at {}: kubelet and container runtime use different \
                 cgroup drivers (containerd: SystemdCgroup = true), and nothing of those pods is held",
                container.display()
            )
        });
        self.conditions.degraded_because(Part::Drivers, astray);
        self.conditions.degraded_because(Part::Maps, self.app.loaded().unwritten());
        self.learn_shared_parents(kubepods);
        let pods: Vec<_> = self.roster.with_containers().cloned().collect();
        for pod in pods {
            let Ok(there) = pod.container_ids() else { continue };
            for container in self.roster.forget_containers(pod.id, &there) {
                self.app.forget_container(container);
            }
        }
    }

    pub(super) fn home(&self, gate: CgroupId) -> Option<Home> {
        let pod = self.roster.cgroup(gate).cloned()?;
        Some(Home::Pod(pod, self.looks.clone()))
    }

    /// The pod's name for the log.
    pub(super) fn name(&self, gate: CgroupId) -> String {
        match (self.roster.pod(gate), self.roster.cgroup(gate)) {
            (Some(pod), _) => pod.path(),
            (None, Some(cgroup)) => cgroup.uid.to_string(),
            (None, None) => self.journal.name(gate).unwrap_or_else(|| format!("cgroup {}", gate.0)),
        }
    }
}
