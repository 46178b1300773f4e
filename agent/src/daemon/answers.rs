//! What the loop answers: what is so at this moment.
//!
//! Knows nothing of who asks or how it is shown.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use conngate_common::{
    counter::Counter,
    gate::{GateState, Mode},
    id::CgroupId,
    reason::Reason,
    record::ParkedRecord,
};
use conngate_core::node::Input;

use super::run::Daemon;
use crate::{
    bpf::{attach::ProgramState, counters::Counted, query::Hook, records},
    clock,
    errors::error_chain,
    gate::{Gate, OnTimeout, Readiness},
    pods::{
        no_gate::{AskedBy, NoGate},
        presets::Proxy,
        source::SourceName,
    },
    serve::{
        metrics::{Snapshot, snapshot::PodGate},
        queries::{Question, Refusal, Which},
    },
    view::{
        Time, VERSION,
        event::{Connection, Process},
        explain,
        explain::{Explanation, Held, Policy, WaitsFor},
        open::Opening,
        report::Report,
        status,
        status::{Live, Program, Source, Totals},
    },
};

impl Daemon {
    /// Answers; whoever asked may have gone, and then nothing is done for him any more.
    pub(super) fn answer(&mut self, question: Question) {
        match question {
            Question::Open(_, answer) if answer.is_closed() => {}
            Question::Snapshot(answer) => drop(answer.send(self.snapshot())),
            Question::Status(answer) => drop(answer.send(self.live())),
            Question::Explain(name, answer) => drop(answer.send(self.explain(&name))),
            Question::Open(which, answer) => drop(answer.send(self.open(&which))),
            Question::Events(answer) => drop(answer.send(self.journal.events())),
            Question::Report(answer) => drop(answer.send(self.report())),
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        let gates = self.gates();
        let pods = gates.iter().filter_map(|gate| {
            let pod = self.driver.node().pods().pod(*gate)?;
            let (state, mode) = (self.driver.node().gates().gate(*gate)?.state(), self.mode(*gate)?);
            let waiting = self.waiting_by_container(*gate);
            let held = self.journal.held(*gate).into_iter();
            let containers = held.map(|(name, held)| {
                let waiting = waiting.get(&name).copied().unwrap_or_default();
                (name, held, waiting)
            });
            let containers = containers.collect();
            Some(PodGate { namespace: pod.namespace.clone(), pod: pod.name.clone(), mode, state, containers })
        });
        let pods = pods.collect();
        Snapshot {
            pods,
            waiting: self.waiting_now(),
            gates: self.by_state(),
            without_gate: self.without_gate(),
            counted: self.counted(),
            maps: self.driver.bpf().maps.fill().into(),
            programs: self.driver.bpf().programs(),
            sources: self.sources_say.iter().map(|(source, why)| (*source, why.is_none())).collect(),
            series: self.series,
        }
    }

    fn live(&mut self) -> Live {
        let counted = self.counted().unwrap_or(Counted::nothing());
        let states: BTreeMap<_, _> = self.by_state().into_iter().collect();
        let pods_that = |state| states.get(&state).copied().unwrap_or_default();
        let mut gates: Vec<_> = self.gates().into_iter().filter_map(|gate| self.gate_view(gate)).collect();
        gates.sort_by_key(|gate| (gate.state != GateState::Holding.word(), std::cmp::Reverse(gate.since)));
        Live {
            programs: self.driver.bpf().programs().into_iter().map(program).collect(),
            sources: self.sources_say.iter().map(source).collect(),
            totals: Totals {
                held: counted.of(Counter::Held),
                waiting: self.waiting_now(),
                not_enrolled: pods_that(GateState::NotEnrolled),
                without_gate: count(self.cannot_all().count()),
                unknown: pods_that(GateState::Unknown),
                lost_records: counted.of(Counter::LostRecords),
                helper_errors: counted.failures().map(|(.., times)| times).sum(),
            },
            gates,
        }
    }

    fn report(&self) -> Report {
        Report {
            version: VERSION,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.node.clone(),
            made: Time::now(),
            lives: self.journal.lives(),
        }
    }

    fn explain(&self, name: &str) -> Result<Explanation, Refusal> {
        let (pod, gate) = self.meant(name)?;
        let view = self.gate_view(gate).ok_or_else(|| Refusal::NoGate { pod, why: self.why_not(gate) })?;
        let enrolled = self.driver.node().workload(gate);
        let closed = self.driver.node().closed(gate);
        let containers = self
            .driver
            .node()
            .pods()
            .containers(gate)
            .map(|(name, class)| explain::Container { name: name.to_owned(), class: class.word().to_owned() });
        let now = clock::now();
        let connections = self.driver.node().waiting(gate).into_iter().map(|record| Held {
            connection: self.connection_now(record),
            held_seconds: Duration::from_nanos(now.since(record.first_drop)).as_secs_f64(),
        });
        Ok(Explanation {
            version: VERSION,
            not_gated: self.driver.node().pods().why_not(gate),
            policy: enrolled
                .and_then(|enrolled| enrolled.spec.as_ref())
                .map(|spec| policy(spec, self.proxy(gate), self.origins(gate))),
            waits_for: closed.map(|closed| self.waits_for(gate, closed)),
            containers: containers.collect(),
            connections: connections.collect(),
            dns_truncated: enrolled.map_or(0, |enrolled| enrolled.dns_truncated),
            decisions: self.journal.decisions(gate),
            gate: view,
        })
    }

    /// What the gate `closed` waits for.
    fn waits_for(&self, gate: CgroupId, closed: &Gate) -> WaitsFor {
        let enrolled = self.driver.node().workload(gate);
        let spec = enrolled.and_then(|enrolled| enrolled.spec.as_ref());
        let url = spec.and_then(|spec| spec.ready_url.as_ref()).filter(|_| closed.policy().mode != Mode::Retry);
        let found = enrolled.and_then(|enrolled| enrolled.found.clone());
        WaitsFor {
            what: match (url, closed.policy().readiness) {
                (Some(url), Readiness::Probe) => format!("2xx of {url}"),
                (None, _) | (_, Readiness::Listener) => {
                    let ports = spec.map(|spec| ports(&spec.capture_ports)).unwrap_or_default();
                    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
                    format!("a listener on port {}", ports.join(" or "))
                }
            },
            asked: found.as_ref().map(|(at, _)| Time(clock::wall(*at))),
            answer: found.map(|(_, words)| words),
            until: closed.timeout_at().map(|at| Time(clock::wall(at))),
        }
    }

    fn open(&mut self, which: &Which) -> Result<Vec<Opening>, Refusal> {
        let gates = match which {
            Which::All => self.gates().into_iter().filter(|gate| self.driver.node().closed(*gate).is_some()).collect(),
            Which::Pod(name) => {
                let (pod, gate) = self.meant(name)?;
                if let Some(why) = self.driver.node().pods().why_not(gate) {
                    return Err(Refusal::NoGate { pod, why });
                }
                vec![gate]
            }
        };
        let open = |gate: CgroupId| {
            let closed = self.driver.node().closed(gate);
            let opening = Opening {
                pod: self.driver.node().name(gate).to_string(),
                was_closed: closed.is_some(),
                waiting: closed.map(|closed| count(closed.waiting().len())).unwrap_or_default(),
            };
            tracing::warn!(pod = opening.pod, was_closed = opening.was_closed, "an operator opens a gate");
            self.driver.tell(Input::Open(gate));
            opening
        };
        Ok(gates.into_iter().map(open).collect())
    }

    /// The one pod that is meant by `name`, as people call it, and its gate's cgroup.
    fn meant(&self, name: &str) -> Result<(String, CgroupId), Refusal> {
        let mut meant = self.driver.node().pods().meant_by(name);
        match (meant.pop(), meant.is_empty()) {
            (None, _) => Err(Refusal::Unknown(name.to_owned())),
            (Some((pod, Some(gate))), true) => Ok((pod, gate)),
            (Some((pod, None)), true) => {
                Err(Refusal::NoGate { pod, why: "it has no cgroup on this node yet".to_owned() })
            }
            (Some(one), false) => {
                let mut pods: Vec<_> = meant.into_iter().chain([one]).map(|(pod, _)| pod).collect();
                pods.sort();
                Err(Refusal::Ambiguous { name: name.to_owned(), pods })
            }
        }
    }

    fn why_not(&self, gate: CgroupId) -> String {
        self.driver.node().pods().why_not(gate).unwrap_or_else(|| "no source has reported it".to_owned())
    }

    /// The gates of pods that ask for one, the oldest first: a cgroup's id grows.
    fn gates(&self) -> Vec<CgroupId> {
        let asks = |(id, gate): (CgroupId, &Gate)| (gate.state() != GateState::NotEnrolled).then_some(id);
        self.driver.node().gates().gates().filter_map(asks).collect()
    }

    fn mode(&self, gate: CgroupId) -> Option<Mode> {
        Some(self.driver.node().workload(gate)?.spec.as_ref()?.policy.mode)
    }

    fn gate_view(&self, id: CgroupId) -> Option<status::Gate> {
        let gate = self.driver.node().gates().gate(id)?;
        let uid = self.driver.node().pods().uid(id).map(|uid| uid.to_string());
        Some(status::Gate {
            pod: self.driver.node().name(id).to_string(),
            uid: uid.unwrap_or_default(),
            cgroup: id.0,
            state: gate.state().word().to_owned(),
            reason: self.why(self.driver.node().pods().uid(id), gate.state(), gate.reason()).to_owned(),
            mode: self.mode(id).map(|mode| mode.word().to_owned()),
            held: gate.held(),
            waiting: count(gate.waiting().len()),
            since: self.journal.since(id).unwrap_or_else(Time::now),
        })
    }

    fn by_state(&self) -> Vec<(GateState, u64)> {
        let mut states: BTreeMap<_, _> = GateState::ALL.iter().map(|state| (*state, 0)).collect();
        for (_, gate) in self.driver.node().gates().gates() {
            *states.entry(gate.state()).or_default() += 1;
        }
        states.insert(GateState::Unknown, count(self.driver.node().pods().undecided().count()));
        states.into_iter().collect()
    }

    /// The pods that ask for a gate that they cannot have, by why and by who asks; every word.
    fn without_gate(&self) -> Vec<((NoGate, AskedBy), u64)> {
        let words = NoGate::ALL.into_iter().flat_map(|why| AskedBy::ALL.map(|by| (why, by)));
        let mut pods: BTreeMap<_, _> = words.map(|word| (word, 0)).collect();
        for word in self.cannot_all() {
            *pods.entry(word).or_default() += 1;
        }
        pods.into_iter().collect()
    }

    /// The pods of this node that ask for a gate that they cannot have: why, and who asks.
    fn cannot_all(&self) -> impl Iterator<Item = (NoGate, AskedBy)> {
        self.driver.node().pods().gates().filter_map(|(_, uid)| self.pods.get(&uid)?.cannot)
    }

    /// The proxy that a gate is for, and whether it is a native sidecar; `None`: none of a mesh, or there is no gate.
    fn proxy(&self, gate: CgroupId) -> Option<(Proxy, bool)> {
        self.pods.get(&self.driver.node().pods().uid(gate)?)?.proxy
    }

    /// Where a gate's values come from, by the last part of the annotations' keys.
    fn origins(&self, gate: CgroupId) -> BTreeMap<String, String> {
        let uid = self.driver.node().pods().uid(gate);
        uid.and_then(|uid| self.pods.get(&uid)).map(|known| known.origins.clone()).unwrap_or_default()
    }

    /// The connections that wait at gates, and those of which nobody has said yet whose they are.
    fn waiting_now(&self) -> u64 {
        let at_gates: usize = self.driver.node().gates().gates().map(|(_, gate)| gate.waiting().len()).sum();
        count(at_gates + self.driver.node().unclassified())
    }

    fn waiting_by_container(&self, gate: CgroupId) -> BTreeMap<String, u64> {
        let mut waiting = BTreeMap::new();
        for record in self.driver.node().waiting(gate) {
            let name = self.driver.node().pods().container_name(gate, record.container);
            *waiting.entry(name.map(ToString::to_string).unwrap_or_default()).or_default() += 1;
        }
        waiting
    }

    fn counted(&mut self) -> Option<Counted> {
        let counted = self.driver.bpf().counters.read();
        counted.inspect_err(|error| tracing::warn!(error = error_chain(error), "the kernel's counters")).ok()
    }

    /// A held connection as it is at this moment: its container may have been told apart since its last SYN.
    fn connection_now(&self, record: &ParkedRecord) -> Connection {
        let gate = record.header.gate;
        let mut connection = connection(record, self.driver.node().pods().container_name(gate, record.container));
        let closed = self.driver.node().closed(gate).filter(|_| connection.container.is_some());
        if let Some(closed) = closed.filter(|_| reason(record) == Reason::Unclassified) {
            connection.reason = closed.reason().word().to_owned();
        }
        connection
    }
}

/// A held connection, as it is shown; `container` is the name of its container, where it is known.
pub(super) fn connection(record: &ParkedRecord, container: Option<&Arc<str>>) -> Connection {
    let connector = &record.connector;
    Connection {
        socket: record.header.socket.0,
        reason: reason(record).word().to_owned(),
        destination: records::destination(record).to_string(),
        capture_port: record.capture_port,
        container: container.map(ToString::to_string),
        process: (connector.tgid != 0).then(|| Process {
            pid: connector.tgid,
            uid: connector.uid,
            name: records::command(connector),
        }),
        since: Time(clock::wall(record.first_drop)),
    }
}

/// Why its last SYN was held.
fn reason(record: &ParkedRecord) -> Reason {
    Reason::try_from(record.reason).unwrap_or(Reason::Invalid)
}

fn policy(spec: &crate::spec::GateSpec, proxy: Option<(Proxy, bool)>, origins: BTreeMap<String, String>) -> Policy {
    Policy {
        proxy: proxy.map(|(proxy, _)| proxy.word().to_owned()),
        native_sidecar: proxy.is_some_and(|(_, native)| native),
        mode: spec.policy.mode.word().to_owned(),
        timeout_seconds: spec.policy.timeout.as_secs_f64(),
        on_timeout: match spec.policy.on_timeout {
            OnTimeout::Release => "release",
            OnTimeout::Reset => "reset",
        }
        .to_owned(),
        ready_url: spec.ready_url.as_ref().map(ToString::to_string),
        capture_ports: ports(&spec.capture_ports),
        dns_truncate: spec.dns_truncate,
        regate_seconds: spec.policy.regate.map(|regate| regate.as_secs_f64()),
        origins,
    }
}

fn ports(ports: &conngate_common::gate::CapturePorts) -> Vec<u16> {
    ports.0.into_iter().filter(|port| *port != 0).collect()
}

fn program(state: ProgramState) -> Program {
    Program {
        name: state.program.word().to_owned(),
        hook: Hook::of(state.program).name().to_owned(),
        attached: state.attached.map(|cgroup| cgroup.display().to_string()),
        why: state.why,
    }
}

fn source((source, why): (&SourceName, &Option<String>)) -> Source {
    Source { name: source.word().to_owned(), down: why.clone() }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
