//! What the loop answers: what is so at this moment.
//!
//! Knows nothing of who asks or how it is shown.

use std::{collections::BTreeMap, time::Duration};

use conngate_common::{
    counter::Counter,
    gate::{GateState, Mode},
    id::CgroupId,
    record::ParkedRecord,
};

use super::agent::Agent;
use crate::{
    app::error_chain,
    gate::{Gate, OnTimeout, Readiness},
    kernel::{clock, counters::Counted, query::Hook, records},
    metrics::{
        Snapshot,
        snapshot::{PodGate, ProgramState},
    },
    pods::source::SourceName,
    serve::queries::{Question, Refusal, Which},
    view::{
        Time, VERSION,
        event::{Connection, Process},
        explain::{self, Explanation, Held, Policy, WaitsFor},
        open::Opening,
        report::Report,
        status::{self, Live, Program, Source, Totals},
    },
};

impl Agent {
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
            let pod = self.roster.pod(*gate)?;
            let (state, mode) = (self.app.table().gate(*gate)?.state(), self.mode(*gate)?);
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
            counted: self.counted(),
            maps: self.app.loaded().maps.fill().into(),
            programs: self.app.loaded().programs(),
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
            programs: self.app.loaded().programs().into_iter().map(program).collect(),
            sources: self.sources_say.iter().map(source).collect(),
            totals: Totals {
                held: counted.of(Counter::Held),
                waiting: self.waiting_now(),
                not_enrolled: pods_that(GateState::NotEnrolled),
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
        let enrolled = self.app.enrolled(gate);
        let closed = self.closed(gate);
        let containers = self
            .roster
            .containers(gate)
            .map(|(name, class)| explain::Container { name: name.to_owned(), class: class.word().to_owned() });
        let now = clock::now();
        let connections = self.app.waiting(gate).into_iter().map(|record| Held {
            connection: self.connection(record),
            held_seconds: Duration::from_nanos(now.since(record.first_drop)).as_secs_f64(),
        });
        Ok(Explanation {
            version: VERSION,
            not_gated: self.roster.why_not(gate),
            policy: enrolled.and_then(|enrolled| enrolled.spec.as_ref()).map(policy),
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
        let enrolled = self.app.enrolled(gate);
        let spec = enrolled.and_then(|enrolled| enrolled.spec.as_ref());
        let url = spec.and_then(|spec| spec.ready_url.as_ref()).filter(|_| closed.policy().mode != Mode::Retry);
        let found = enrolled.and_then(|enrolled| enrolled.found.clone());
        WaitsFor {
            what: match (url, closed.policy().readiness) {
                (Some(url), Readiness::Probe) => format!("200 of {url}"),
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
            Which::All => self.gates().into_iter().filter(|gate| self.closed(*gate).is_some()).collect(),
            Which::Pod(name) => {
                let (pod, gate) = self.meant(name)?;
                if let Some(why) = self.roster.why_not(gate) {
                    return Err(Refusal::NoGate { pod, why });
                }
                vec![gate]
            }
        };
        let open = |gate: CgroupId| {
            let closed = self.closed(gate);
            let opening = Opening {
                pod: self.name(gate),
                was_closed: closed.is_some(),
                waiting: closed.map(|closed| count(closed.waiting().len())).unwrap_or_default(),
            };
            tracing::warn!(pod = opening.pod, was_closed = opening.was_closed, "an operator opens a gate");
            self.app.open(gate);
            opening
        };
        Ok(gates.into_iter().map(open).collect())
    }

    /// The gate of this cgroup, while it is closed.
    fn closed(&self, gate: CgroupId) -> Option<&Gate> {
        self.app.table().gate(gate).filter(|gate| gate.state() == GateState::Holding)
    }

    /// The one pod that is meant by `name`, as people call it, and its gate's cgroup.
    fn meant(&self, name: &str) -> Result<(String, CgroupId), Refusal> {
        let mut meant = self.roster.meant_by(name);
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
        self.roster.why_not(gate).unwrap_or_else(|| "no source has told of it".to_owned())
    }

    /// The gates of pods that ask for one, the oldest first: a cgroup's id grows.
    fn gates(&self) -> Vec<CgroupId> {
        let asks = |(id, gate): (CgroupId, &Gate)| (gate.state() != GateState::NotEnrolled).then_some(id);
        self.app.table().gates().filter_map(asks).collect()
    }

    fn mode(&self, gate: CgroupId) -> Option<Mode> {
        Some(self.app.enrolled(gate)?.spec.as_ref()?.policy.mode)
    }

    fn gate_view(&self, id: CgroupId) -> Option<status::Gate> {
        let gate = self.app.table().gate(id)?;
        let uid = self.roster.cgroup(id).map(|cgroup| cgroup.uid.to_string());
        Some(status::Gate {
            pod: self.name(id),
            uid: uid.unwrap_or_default(),
            cgroup: id.0,
            state: gate.state().word().to_owned(),
            reason: gate.reason().word().to_owned(),
            mode: self.mode(id).map(|mode| mode.word().to_owned()),
            held: gate.held(),
            waiting: count(gate.waiting().len()),
            since: self.journal.since(id).unwrap_or_else(Time::now),
        })
    }

    fn by_state(&self) -> Vec<(GateState, u64)> {
        let mut states: BTreeMap<_, _> = GateState::ALL.iter().map(|state| (*state, 0)).collect();
        for (_, gate) in self.app.table().gates() {
            *states.entry(gate.state()).or_default() += 1;
        }
        states.insert(GateState::Unknown, count(self.roster.undecided().count()));
        states.into_iter().collect()
    }

    /// The connections that wait at gates, and those of which nobody has said yet whose they are.
    fn waiting_now(&self) -> u64 {
        let at_gates: usize = self.app.table().gates().map(|(_, gate)| gate.waiting().len()).sum();
        count(at_gates + self.waiting.count())
    }

    fn waiting_by_container(&self, gate: CgroupId) -> BTreeMap<String, u64> {
        let mut waiting = BTreeMap::new();
        for record in self.app.waiting(gate) {
            let name = self.roster.container_name(gate, record.container).unwrap_or_default();
            *waiting.entry(name.to_owned()).or_default() += 1;
        }
        waiting
    }

    fn counted(&mut self) -> Option<Counted> {
        let counted = self.app.loaded().counters.read();
        counted.inspect_err(|error| tracing::warn!(error = error_chain(error), "the kernel's counters")).ok()
    }

    /// A held connection, as it is shown.
    pub(super) fn connection(&self, record: &ParkedRecord) -> Connection {
        let connector = &record.connector;
        Connection {
            socket: record.header.socket.0,
            reason: super::reason(record.reason).word().to_owned(),
            destination: records::destination(record).to_string(),
            capture_port: record.capture_port,
            container: self.roster.container_name(record.header.gate, record.container).map(str::to_owned),
            process: (connector.tgid != 0).then(|| Process {
                pid: connector.tgid,
                uid: connector.uid,
                name: records::command(connector),
            }),
            since: Time(clock::wall(record.first_drop)),
        }
    }
}

fn policy(spec: &crate::spec::GateSpec) -> Policy {
    Policy {
        mode: spec.policy.mode.word().to_owned(),
        timeout_seconds: spec.policy.timeout.as_secs_f64(),
        on_timeout: match spec.policy.on_timeout {
            OnTimeout::Release => "release",
            OnTimeout::Reset => "reset",
        }
        .to_owned(),
        ready_url: spec.ready_url.as_ref().map(ToString::to_string),
        capture_ports: ports(&spec.capture_ports),
        regate_seconds: spec.policy.regate.map(|regate| regate.as_secs_f64()),
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
