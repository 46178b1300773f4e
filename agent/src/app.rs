//! The composition root: the core, the kernel and readiness, driven by one event loop.
//!
//! Knows nothing of the command line or of where workloads come from: somebody enrols gates and reads notices.
//!
//! Invariants:
//! - The core alone decides. Here its effects are carried out, in their order, and what happens is told to it.
//! - An effect that fails is logged and leaves the connection to the kernel's own retry and cap.
//! - [`App::next`] may be dropped at any await and called again: nothing is held in its frame.

mod enrolled;
mod lot;

use std::{collections::VecDeque, io, time::Duration};

use conngate_common::{
    ABI_VERSION,
    gate::{AgentEntry, GateState},
    id::CgroupId,
    reason::Reason,
    record::{EndedRecord, ListeningRecord, Outcome, ParkedRecord},
};
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval},
};

use self::{enrolled::Enrolments, lot::Lot};
use crate::{
    gate::{Answer, Effect, Event, Summary, Table, Want},
    kernel::{
        clock,
        load::Loaded,
        records::{KernelRecord, Records, Ring},
    },
    netns::{Netns, NetnsWorker},
    ready::{listener, probe, url::ReadyUrl},
    spec::GateSpec,
};

/// How often the agent tells the kernel that it is alive, and after how long the kernel stops believing it.
const HEARTBEAT: Duration = Duration::from_millis(250);
const STALE_AFTER: Duration = Duration::from_secs(2);

/// The longest that an unclassified pod is held.
const GRACE: Duration = Duration::from_secs(2);

/// The first SYN timeout of sockets that are likely to be held: the same half second that the kernel then keeps to.
const FIRST_SYN_TIMEOUT: Duration = Duration::from_millis(500);

/// Something to tell.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A connection is held.
    Held(Box<ParkedRecord>),
    /// A connection that was held waits no longer.
    Ended(EndedRecord, Outcome),
    /// A gate was opened.
    Opened(CgroupId, Summary),
}

/// A gate's probe and its answer.
type Asked = (CgroupId, Answer);

/// The running agent.
pub struct App {
    loaded: Loaded,
    agent: AgentEntry,
    records: Records,
    batch: Vec<KernelRecord>,
    table: Table,
    enrolled: Enrolments,
    lot: Lot,
    worker: NetnsWorker,
    ask: mpsc::UnboundedSender<Asked>,
    answers: mpsc::UnboundedReceiver<Asked>,
    heartbeat: Interval,
    notices: VecDeque<Notice>,
}

/// What is the same for every gate of this agent.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Levels at which gated cgroups sit.
    pub pod_levels: [u32; 2],
    /// Capture ports of workloads that are not classified, and of announced listeners.
    pub capture_ports: conngate_common::gate::CapturePorts,
}

impl App {
    /// Takes over what was loaded; `ring` is its ring buffer. Must be called inside of a tokio runtime.
    ///
    /// # Errors
    /// When the event loop or the kernel refuses.
    pub fn new(mut loaded: Loaded, ring: Ring, worker: NetnsWorker, node: Node) -> io::Result<Self> {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let features = loaded.features;
        let agent = AgentEntry {
            heartbeat: clock::now(),
            stale_after_ns: nanos(STALE_AFTER),
            grace_ns: nanos(GRACE),
            abi: ABI_VERSION,
            epoch: 1,
            closed_gates: 0,
            hz: features.hz,
            syn_rto_jiffies: u32::try_from(nanos(FIRST_SYN_TIMEOUT) * u64::from(features.hz) / 1_000_000_000)
                .unwrap_or(0),
            syn_linear_timeouts: features.syn_linear_timeouts,
            pod_levels: node.pod_levels,
            capture_ports: node.capture_ports,
        };
        loaded.maps.write_agent(agent).map_err(io::Error::other)?;
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (ask, answers) = mpsc::unbounded_channel();
        Ok(Self {
            loaded,
            agent,
            records: ring.listen()?,
            batch: Vec::new(),
            table: Table::new(),
            enrolled: Enrolments::default(),
            lot: Lot::new(worker.clone()),
            worker,
            ask,
            answers,
            heartbeat,
            notices: VecDeque::new(),
        })
    }

    /// Closes a gate; `home` is the namespace to probe until a held connection shows another.
    pub fn enrol(&mut self, gate: CgroupId, spec: GateSpec, home: Netns) {
        let policy = spec.policy;
        self.enrolled.insert(gate, spec, home);
        self.tell(Event::Enrolled { gate, policy });
    }

    /// Opens a gate by the operator's word.
    pub fn open(&mut self, gate: CgroupId) {
        self.tell(Event::Override { gate });
    }

    /// The loaded programs and maps.
    #[must_use]
    pub fn loaded(&mut self) -> &mut Loaded {
        &mut self.loaded
    }

    /// Works until there is something to tell.
    ///
    /// # Errors
    /// When the event loop fails.
    pub async fn next(&mut self) -> io::Result<Notice> {
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return Ok(notice);
            }
            let wake = self.table.next_deadline().map(|at| Duration::from_nanos(at.since(clock::now())));
            // In this order: whatever the programs have to tell, it silences neither the heartbeat nor a probe's answer.
            tokio::select! {
                biased;
                _ = self.heartbeat.tick() => self.beat(),
                Some((gate, answer)) = self.answers.recv() => self.tell(Event::Probed { gate, answer }),
                received = self.records.next(&mut self.batch) => received?,
                () = tokio::time::sleep(wake.unwrap_or_default()), if wake.is_some() => {}
            }
            self.take_records();
            self.table.tick(clock::now());
            self.carry_out();
        }
    }

    fn take_records(&mut self) {
        if let Some(logger) = &mut self.loaded.logger {
            logger.flush();
        }
        for record in std::mem::take(&mut self.batch) {
            match record {
                KernelRecord::Parked(record) => self.parked(record),
                KernelRecord::Ended(record) => self.ended(record),
                KernelRecord::Listening(record) => self.listening(record),
            }
        }
    }

    fn parked(&mut self, record: ParkedRecord) {
        let (gate, socket) = (record.header.gate, record.header.socket);
        if self.lot.holds(socket) {
            // The same socket connects again: its first copy goes before the second comes.
            self.carry_out();
        }
        let Some(enrolled) = self.enrolled.by_gate(gate) else { return };
        enrolled.netns = self.lot.park(record, &enrolled.netns);
        self.table.handle(clock::now(), Event::Parked { gate, socket, first_drop: record.first_drop });
        self.notices.push_back(Notice::Held(Box::new(record)));
    }

    fn ended(&mut self, record: EndedRecord) {
        let Ok(outcome) = Outcome::try_from(record.outcome) else { return };
        let (gate, socket) = (record.header.gate, record.header.socket);
        self.table.handle(clock::now(), Event::Ended { gate, socket, outcome });
        self.notices.push_back(Notice::Ended(record, outcome));
    }

    fn listening(&mut self, record: ListeningRecord) {
        for gate in self.enrolled.in_netns(record.netns) {
            self.table.handle(clock::now(), Event::Listening { gate });
        }
    }

    fn tell(&mut self, event: Event) {
        self.table.handle(clock::now(), event);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.table.poll_effect() {
            tracing::trace!(?effect);
            match effect {
                Effect::Write { gate, state, reason } => self.write(gate, state, reason),
                Effect::Forget { gate } => self.forget(gate),
                Effect::Probe { gate, want } => self.probe(gate, want),
                Effect::Replay { sockets, .. } => self.lot.replay(&sockets, clock::now()),
                Effect::Reset { sockets, .. } => self.lot.reset(&sockets),
                Effect::Unpark { socket, .. } => self.lot.unpark(socket),
                Effect::Opened { gate, summary } => self.notices.push_back(Notice::Opened(gate, summary)),
            }
        }
    }

    fn write(&mut self, gate: CgroupId, state: GateState, reason: Reason) {
        let Some(enrolled) = self.enrolled.by_gate(gate) else { return };
        enrolled.is_closed = state == GateState::Holding;
        let entry = enrolled.spec.entry(state, reason);
        if let Err(error) = self.loaded.maps.write_gate(gate, entry) {
            tracing::error!(gate = gate.0, %state, error = error_chain(&error), "the gate stays as it was");
        }
        self.agent.closed_gates = self.enrolled.closed();
        self.beat();
    }

    fn forget(&mut self, gate: CgroupId) {
        self.enrolled.remove(gate);
        if let Err(error) = self.loaded.maps.remove_gate(gate) {
            tracing::error!(gate = gate.0, error = error_chain(&error), "the gate stays in the kernel");
        }
        self.agent.closed_gates = self.enrolled.closed();
        self.beat();
    }

    fn beat(&mut self) {
        self.agent.heartbeat = clock::now();
        if let Err(error) = self.loaded.maps.write_agent(self.agent) {
            tracing::error!(error = error_chain(&error), "the kernel does not hear that the agent is alive");
        }
    }

    fn probe(&mut self, gate: CgroupId, want: Want) {
        let Some(enrolled) = self.enrolled.by_gate(gate) else { return };
        let answers = self.ask.clone();
        match (want, &enrolled.spec.ready_url) {
            (Want::Ready, Some(url)) => {
                let (worker, netns, url) = (self.worker.clone(), enrolled.netns.clone(), url.clone());
                tokio::spawn(async move {
                    let answer = ask(&worker, &netns, &url).await;
                    // The agent is gone: nobody wants to know.
                    let _ = answers.send((gate, answer));
                });
            }
            (Want::Ready | Want::Listener, _) => {
                let listening =
                    self.lot.diag(&enrolled.netns).map(|diag| listener::listening(&diag, &enrolled.spec.capture_ports));
                let answer = match listening {
                    Ok(Ok(true)) => Answer::Listening,
                    Ok(Ok(false)) => Answer::NotReady,
                    Ok(Err(error)) | Err(error) => {
                        tracing::debug!(gate = gate.0, error = error_chain(&error), "cannot look for listeners");
                        Answer::NotReady
                    }
                };
                let _ = answers.send((gate, answer));
            }
        }
    }
}

async fn ask(worker: &NetnsWorker, netns: &Netns, url: &ReadyUrl) -> Answer {
    let answer = probe::probe(worker, netns, url, probe::DEADLINE).await;
    tracing::debug!(%url, ?answer, "probed");
    match answer {
        probe::Answer::Ready => Answer::Ready,
        probe::Answer::NotReady { .. } | probe::Answer::Failed(_) => Answer::NotReady,
    }
}

/// An error with the chain of its causes, in one line.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
