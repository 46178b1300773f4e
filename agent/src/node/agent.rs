//! The loop: what cgroups, sources and the kernel tell is handed to the roster and the app, until a signal.
//!
//! Knows nothing of how things are started.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use conngate_common::{
    gate::{ContainerClass, GateEntry, GateState},
    id::CgroupId,
    reason::Reason,
    record::ParkedRecord,
};
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval},
};

use super::{
    roster::{Act, Roster},
    waiting::Waiting,
};
use crate::{
    app::{App, GRACE, Home, Notice, error_chain},
    cgroup::{
        identity::{IdentityError, identify},
        kubepods::Kubepods,
        pods::{ContainerCgroup, PodCgroup},
        watch::{CgroupEvent, PodWatch, WatchError},
    },
    gate::Summary,
    kernel::clock,
    pods::{
        events::{Happening, Recorder},
        pod::Pod,
        source::{Handle, SourceEvent, SourceName, SourceState},
    },
    serve::conditions::{Condition, Conditions},
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

/// The kernel or the event loop failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AgentError {
    /// See [`WatchError`].
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The event loop failed.
    #[error("the event loop fails")]
    Loop(#[from] io::Error),
}

/// Everything that runs.
pub(super) struct Agent {
    pub(super) app: App,
    roster: Roster,
    sources: Handle,
    told: mpsc::Receiver<SourceEvent>,
    recorder: Recorder,
    conditions: Conditions,
    /// How the sources are: why they are down, if they are.
    sources_say: BTreeMap<SourceName, Option<String>>,
    waiting: Waiting,
    /// Closed gates with connections that were held.
    holding: HashSet<CgroupId>,
    /// Gates that an earlier agent left, until their pod is known.
    inherited: HashMap<CgroupId, GateEntry>,
    started: Instant,
    sweep: Interval,
}

impl Agent {
    pub(super) fn new(
        mut app: App,
        roster: Roster,
        sources: Handle,
        told: mpsc::Receiver<SourceEvent>,
        recorder: Recorder,
        conditions: Conditions,
    ) -> Self {
        let inherited = app.loaded().maps.gates().into_iter().collect();
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (waiting, started) = (Waiting::new(), Instant::now());
        Self {
            app,
            roster,
            sources,
            told,
            recorder,
            conditions,
            sources_say: BTreeMap::new(),
            waiting,
            holding: HashSet::new(),
            inherited,
            started,
            sweep,
        }
    }

    /// Works until the kubepods root is gone.
    pub(super) async fn serve(&mut self, kubepods: Kubepods, mut watch: PodWatch) -> Result<Ended, AgentError> {
        loop {
            let due = self.waiting.next_due().map(|at| Duration::from_nanos(at.since(clock::now())));
            tokio::select! {
                notice = self.app.next() => self.noticed(notice?, &mut watch)?,
                event = watch.next() => match event? {
                    CgroupEvent::PodAppeared(cgroup) => {
                        let acts = self.roster.appeared(cgroup);
                        self.carry_out(acts);
                    }
                    CgroupEvent::PodVanished(uid, gate) => {
                        let acts = self.roster.vanished(uid, gate);
                        self.carry_out(acts);
                    }
                    CgroupEvent::Gone => return Ok(Ended::RootGone),
                },
                Some(event) = self.told.recv() => self.source_says(event, &watch),
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => self.look_again(),
                _ = self.sweep.tick() => self.sweep(&kubepods),
            }
            self.conditions.turn(clock::now());
        }
    }

    fn noticed(&mut self, notice: Notice, watch: &mut PodWatch) -> Result<(), AgentError> {
        match notice {
            Notice::Unclassified(record) => self.unclassified(*record, watch)?,
            Notice::Held(record) => {
                let (pod, reason) = (self.name(record.header.gate), record.reason);
                let reason = Reason::try_from(reason).unwrap_or(Reason::Invalid);
                tracing::debug!(pod, %reason, socket = record.header.socket.0, "connection held");
                self.held(record.header.gate);
            }
            Notice::Ended(record, outcome) => {
                let pod = self.name(record.header.gate);
                tracing::debug!(pod, %outcome, socket = record.header.socket.0, "connection waits no longer");
            }
            Notice::Opened(gate, summary) => self.opened(gate, &summary),
        }
        Ok(())
    }

    /// The first connection of a closed gate is held.
    fn held(&mut self, gate: CgroupId) {
        if self.holding.insert(gate)
            && let Some(pod) = self.roster.pod(gate)
        {
            let note = "Connections that the mesh captures are held until its proxy is ready";
            self.recorder.record(pod, Happening::ConnectionsHeld, note);
        }
    }

    fn opened(&mut self, gate: CgroupId, summary: &Summary) {
        let (pod, seconds) = (self.name(gate), summary.longest.as_secs_f64());
        let Summary { reason, held, waiting, .. } = summary;
        tracing::info!(pod, %reason, held, waiting, seconds, "gate opened");
        self.holding.remove(&gate);
        if *held == 0 {
            return;
        }
        let Some(pod) = self.roster.pod(gate) else { return };
        if *reason == Reason::Timeout {
            let note =
                format!("The proxy was not ready after {seconds:.1} s; connections held: {held}, waiting: {waiting}");
            self.recorder.record(pod, Happening::GateTimedOut, &note);
        } else {
            let note = format!("Connections held: {held}, the longest for {seconds:.1} s; opened: {reason}");
            self.recorder.record(pod, Happening::GateOpened, &note);
        }
    }

    /// A connection is held of which the kernel does not know whose it is.
    fn unclassified(&mut self, record: ParkedRecord, watch: &mut PodWatch) -> Result<(), AgentError> {
        let gate = record.header.gate;
        if self.roster.cgroup(gate).is_none()
            && let Some(cgroup) = watch.pod(gate, Instant::now())?.cloned()
        {
            let acts = self.roster.appeared(cgroup);
            self.carry_out(acts);
        }
        self.classify(record);
        Ok(())
    }

    fn classify(&mut self, record: ParkedRecord) {
        let (gate, container) = (record.header.gate, record.container);
        let Some(cgroup) = self.roster.cgroup(gate).cloned() else {
            return tracing::debug!(gate = gate.0, "a connection of no pod is held for the grace");
        };
        let class = match self.roster.is_gated(gate) {
            None => {
                self.sources.ask(cgroup.uid);
                return self.waiting.for_pod(record);
            }
            Some(false) => return self.app.admit(record),
            Some(true) => match self.roster.known(gate, container) {
                Some(class) => class,
                None => match self.tell_apart(&cgroup, container) {
                    Some(class) => class,
                    None => return self.waiting.for_container(clock::now(), record),
                },
            },
        };
        match class {
            ContainerClass::Gated => self.app.admit(record),
            ContainerClass::Exempt | ContainerClass::Unknown => self.app.pass(record, &Home::Pod(cgroup)),
        }
    }

    /// Finds out which container it is; `None`: not yet.
    fn tell_apart(&mut self, pod: &PodCgroup, container: CgroupId) -> Option<ContainerClass> {
        let there = pod.containers().ok()?.into_iter().find(|there| there.id == container);
        let name = match &there {
            Some(there) => self.identify(pod, there)?,
            None => None,
        };
        let class = name.as_ref().and_then(|name| self.roster.class_of(pod.id, name)).unwrap_or(ContainerClass::Exempt);
        self.app.classify(container, class);
        let name = name.unwrap_or_default();
        tracing::info!(pod = self.name(pod.id), container = name, %class, "container told apart");
        self.roster.identified(pod.id, container, name, class);
        Some(class)
    }

    /// A container's name: by its mounts, or where those do not tell, by what the kubelet says. `None`: not yet;
    /// `Some(None)`: it has none, it is the sandbox.
    fn identify(&self, pod: &PodCgroup, container: &ContainerCgroup) -> Option<Option<String>> {
        match identify(&container.path, pod.uid) {
            Ok(identity) => Some(Some(identity.name)),
            Err(IdentityError::Pause { .. }) => Some(None),
            Err(IdentityError::NotYet { .. }) => None,
            Err(error) => {
                let id = container.container.as_deref().unwrap_or_default();
                let name = self.roster.name_by_status(pod.id, id).map(str::to_owned);
                let pod = self.name(pod.id);
                tracing::debug!(
                    pod,
                    error = error_chain(&error),
                    by_status = name,
                    "its mounts do not tell a container"
                );
                name.map(Some)
            }
        }
    }

    /// Those whose container could not be told apart a moment ago.
    fn look_again(&mut self) {
        let now = clock::now();
        while let Some(record) = self.waiting.due(now) {
            if now.since(record.first_drop) < u64::try_from(GRACE.as_nanos()).unwrap_or(u64::MAX) {
                self.classify(record);
            } else {
                let pod = self.name(record.header.gate);
                tracing::warn!(pod, "a connection is not held: nobody can say which container's it is");
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
            self.conditions.degraded_because(why);
        } else if let Some(why) = why {
            self.conditions.unmet_because(Condition::Pods, why);
        }
    }

    fn carry_out(&mut self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Enrol { gate, spec, ready } => self.enrol(gate, *spec, ready),
                Act::Decline(gate) => {
                    self.inherited.remove(&gate);
                    if let Some(home) = self.home(gate) {
                        self.app.decline(gate, home);
                    }
                    self.hand_on(gate);
                }
                Act::Terminate(gate) => {
                    self.inherited.remove(&gate);
                    tracing::info!(pod = self.name(gate), reason = %Reason::Terminating, "nothing is held any longer");
                    if let Some(home) = self.home(gate) {
                        self.app.terminate(gate, home);
                    }
                    self.hand_on(gate);
                }
                Act::Retire(gate) => {
                    self.inherited.remove(&gate);
                    self.holding.remove(&gate);
                    self.app.retire(gate);
                }
                Act::Vouch { gate, ready } => self.app.vouch(gate, ready),
                Act::Reclassify(gate) => {
                    for (container, class) in self.roster.reclassify(gate) {
                        self.app.classify(container, class);
                    }
                }
                Act::Refuse { pod, bad } => self.refuse(&pod, &bad.to_string()),
                Act::Warn { pod, unknown } => {
                    tracing::warn!(pod = pod.path(), keys = unknown.join(", "), "annotations that mean nothing");
                }
            }
        }
    }

    fn enrol(&mut self, gate: CgroupId, spec: GateSpec, ready: bool) {
        let Some(home) = self.home(gate) else { return };
        let mode = spec.policy.mode;
        let open = self.inherited.remove(&gate).filter(|entry| entry.state == GateState::Open.code());
        let inherited = open.and_then(|entry| Reason::try_from(entry.reason).ok());
        match inherited.or(ready.then_some(Reason::Ready)) {
            Some(reason) => self.app.resume(gate, spec, home, reason),
            None => self.app.enrol(gate, spec, home),
        }
        tracing::info!(pod = self.name(gate), %mode, ready, "gated");
        self.hand_on(gate);
    }

    /// The pod is known now: what waited for that goes on.
    fn hand_on(&mut self, gate: CgroupId) {
        for record in self.waiting.pod_is_known(gate) {
            self.classify(record);
        }
    }

    fn refuse(&self, pod: &Arc<Pod>, bad: &str) {
        tracing::warn!(pod = pod.path(), bad, "not gated");
        self.recorder.record(pod, Happening::InvalidAnnotation, &format!("The pod is not gated: {bad}"));
    }

    /// The first whole list of pods is through: what earlier agents left agrees with it, or goes.
    fn reconcile(&mut self, watch: &PodWatch) {
        let gone: Vec<_> = self.inherited.keys().filter(|gate| self.roster.cgroup(**gate).is_none()).copied().collect();
        for gate in gone {
            self.inherited.remove(&gate);
            self.app.retire(gate);
        }
        let known = self.app.loaded().maps.containers();
        let pods: Vec<_> = watch.pods().cloned().collect();
        let mut there = Vec::new();
        for pod in &pods {
            for container in pod.containers().unwrap_or_default() {
                if known.contains(&container.id) {
                    there.push(container.id);
                    if self.roster.is_gated(pod.id) == Some(true) {
                        self.tell_apart(pod, container.id);
                    }
                }
            }
        }
        for container in known.into_iter().filter(|container| !there.contains(container)) {
            self.app.forget_container(container);
        }
        self.conditions.met(Condition::Reconciled);
    }

    /// Inherited closed gates whose pods no source tells of: a listener alone may open them, for nobody else would.
    fn adopt(&mut self) {
        let closed: Vec<_> =
            self.inherited.iter().filter_map(|(gate, entry)| Some((*gate, GateSpec::inherited(entry)?))).collect();
        for (gate, spec) in closed {
            if let Some(home) = self.home(gate) {
                tracing::warn!(gate = gate.0, "no source tells of an inherited gate's pod: it opens for a listener");
                self.inherited.remove(&gate);
                self.app.enrol(gate, spec, home);
            }
        }
    }

    fn sweep(&mut self, kubepods: &Kubepods) {
        let now = clock::now();
        self.waiting.expire(now, GRACE);
        if self.started.elapsed() > PATIENCE {
            self.adopt();
        }
        match kubepods.shared_parents() {
            Ok(parents) => self.app.set_shared_parents(&parents),
            Err(error) => tracing::debug!(%error, "cannot read the QoS classes' cgroups"),
        }
        let pods: Vec<_> = self.roster.with_containers().cloned().collect();
        for pod in pods {
            let Ok(containers) = pod.containers() else { continue };
            let there: Vec<_> = containers.into_iter().map(|container| container.id).collect();
            for container in self.roster.forget_containers(pod.id, &there) {
                self.app.forget_container(container);
            }
        }
    }

    fn home(&self, gate: CgroupId) -> Option<Home> {
        self.roster.cgroup(gate).cloned().map(Home::Pod)
    }

    /// The pod's name for the log.
    fn name(&self, gate: CgroupId) -> String {
        match (self.roster.pod(gate), self.roster.cgroup(gate)) {
            (Some(pod), _) => pod.path(),
            (None, Some(cgroup)) => cgroup.uid.to_string(),
            (None, None) => format!("cgroup {}", gate.0),
        }
    }
}
