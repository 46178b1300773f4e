//! What tests of the node share: pods, records, and a node that is told one thing at a time.

pub(super) use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

pub(super) use conngate_common::{
    gate::{CapturePorts, ContainerClass, GateEntry, GateState, Mode, NO_UID},
    hold::Connector,
    id::{CgroupId, MonoTime, NetnsCookie, SocketCookie},
    reason::Reason,
    record::{EndedRecord, ListeningRecord, Outcome, ParkedRecord, RecordHeader, RecordKind, SYN_LEN, TCP, UDP},
};

pub(super) use super::super::{Fact, Found, Hooks, Input, Node, Output, What, Why};
pub(super) use crate::{
    dns::Datagram,
    gate::{Answer, OnTimeout, Policy, Readiness},
    pod::{Ask, Container, Pod, Started},
    spec::GateSpec,
    uid::PodUid,
    workload::{Netns, Sandbox},
};

pub(super) const GATE: CgroupId = CgroupId(7);
pub(super) const APP: CgroupId = CgroupId(70);
pub(super) const PROXY: CgroupId = CgroupId(71);
pub(super) const PAUSE: CgroupId = CgroupId(72);
pub(super) const PORT: u16 = 15001;

/// Where the kernel tells of listeners.
pub(super) const ANNOUNCED: CapturePorts = CapturePorts([PORT, DNS_PORT, 0, 0, 0, 0, 0, 0]);
pub(super) const DNS_PORT: u16 = 15053;
pub(super) const POLICY: Policy = Policy {
    mode: Mode::Hold,
    timeout: Duration::from_secs(60),
    on_timeout: OnTimeout::Release,
    readiness: Readiness::Probe,
    regate: None,
};
pub(super) const RETRY: Policy = Policy { mode: Mode::Retry, ..POLICY };

/// When the node of a [`Bench`] begins.
const BEGIN: MonoTime = ms(1_000);

pub(super) const fn ms(millis: u64) -> MonoTime {
    MonoTime(millis * 1_000_000)
}

pub(super) fn uid(number: u64) -> PodUid {
    format!("{number:032x}").parse().unwrap()
}

pub(super) const fn netns(number: u64) -> Netns {
    Netns { cookie: NetnsCookie(number), device: 4, inode: number }
}

pub(super) const fn seen(number: u64) -> Sandbox {
    Sandbox::Netns(netns(number))
}

/// What a pod asks for whose mesh captures TCP at two ports, of which the proxy's own is the first, and datagrams at one.
pub(super) fn spec(policy: Policy) -> GateSpec {
    GateSpec {
        policy,
        capture_ports: CapturePorts([PORT, DNS_PORT, 0, 0, 0, 0, 0, 0]),
        datagram_ports: CapturePorts([DNS_PORT, 0, 0, 0, 0, 0, 0, 0]),
        dns_truncate: true,
        exempt_uids: [NO_UID; 4],
        default_class: ContainerClass::Unknown,
        ready_url: (policy.readiness == Readiness::Probe)
            .then(|| "http://127.0.0.1:15021/healthz/ready".parse().unwrap()),
    }
}

/// The entry of a gate that was closed when the node began; one that is open holds no datagrams any longer.
pub(super) fn entry(policy: Policy, state: GateState, reason: Reason) -> GateEntry {
    let entry = spec(policy).entry(state, reason, BEGIN);
    if state == GateState::Holding { entry } else { GateEntry { datagram_ports: CapturePorts::default(), ..entry } }
}

/// The pod of a number: an application beside its proxy.
pub(super) fn pod(number: u64, ask: Ask) -> Pod {
    let container =
        |name: &str, class| Container { name: name.to_owned(), class, id: None, is_ready_proxy: false, started: None };
    Pod {
        uid: uid(number),
        namespace: "shop".to_owned(),
        name: format!("web-{number}"),
        ask,
        containers: vec![
            container("app", ContainerClass::Gated),
            container("istio-proxy", ContainerClass::Exempt),
            container("setup", ContainerClass::Exempt),
        ],
        unlisted: ContainerClass::Gated,
        ending: false,
        finished: false,
        remarks: Vec::new(),
    }
}

pub(super) fn asking(policy: Policy) -> Pod {
    pod(1, Ask::Gate(Box::new(spec(policy))))
}

/// A SYN to the proxy's own port.
pub(super) fn parked(socket: u64, at: MonoTime) -> ParkedRecord {
    let to = SocketAddr::from(([127, 0, 0, 1], PORT));
    ParkedRecord { first_drop: at, ..parked_at(GATE, APP, socket, at, to) }
}

/// A SYN to a listener's address.
pub(super) fn parked_at(
    gate: CgroupId,
    container: CgroupId,
    socket: u64,
    at: MonoTime,
    to: SocketAddr,
) -> ParkedRecord {
    let mut syn = [0; SYN_LEN];
    match to.ip() {
        IpAddr::V4(ip) => {
            syn[0] = 4 << 4;
            syn[16..20].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            syn[0] = 6 << 4;
            syn[24..40].copy_from_slice(&ip.octets());
        }
    }
    ParkedRecord {
        header: RecordHeader { at, gate, socket: SocketCookie(socket), kind: RecordKind::Parked.code(), protocol: TCP },
        first_drop: at,
        container,
        connector: Connector::default(),
        uid: 0,
        mark: 0,
        device: 0,
        over_tcp: 0,
        reason: Reason::NotReady.code(),
        syn_len: 60,
        dst_ip: [0; 16],
        dst_port: 80,
        capture_port: to.port(),
        ip_version: if to.is_ipv4() { 4 } else { 6 },
        src_port: 0,
        syn,
    }
}

/// A query; two of one number are the same question.
pub(super) fn datagram(record: ParkedRecord, number: u8) -> Datagram {
    let header = RecordHeader { kind: RecordKind::Datagram.code(), protocol: UDP, ..record.header };
    let ip = if record.syn[0] >> 4 == 4 { 20 } else { 40 };
    let mut packet = record.syn[..ip + 8 + 1].to_vec();
    (packet[0], packet[ip + 8]) = (record.syn[0] | 5, number);
    Datagram { record: ParkedRecord { header, ..record }, packet: packet.into() }
}

/// The same, of a container that the kernel does not know.
pub(super) fn unclassified(record: ParkedRecord) -> Input {
    Input::Parked(Box::new(ParkedRecord { reason: Reason::Unclassified.code(), ..record }))
}

pub(super) fn held(record: ParkedRecord) -> Input {
    Input::Parked(Box::new(record))
}

pub(super) fn ended(socket: u64, at: MonoTime, first_drop: MonoTime, outcome: Outcome) -> Input {
    let header =
        RecordHeader { at, gate: GATE, socket: SocketCookie(socket), kind: RecordKind::Ended.code(), protocol: TCP };
    Input::Ended(EndedRecord { header, first_drop, attempts: 1, outcome: outcome.code() })
}

/// Somebody listens in the namespace of a number, or no longer.
pub(super) fn listening(netns: u64, port: u16, listens: bool) -> Input {
    let header = RecordHeader {
        at: MonoTime(0),
        gate: CgroupId(0),
        socket: SocketCookie(0),
        kind: RecordKind::Listening.code(),
        protocol: TCP,
    };
    Input::Listening(ListeningRecord { header, netns: NetnsCookie(netns), port: port.into(), listens: listens.into() })
}

pub(super) fn there<const N: usize>(containers: [CgroupId; N]) -> Input {
    let id = |container: CgroupId| (container, Some(format!("id-{}", container.0)));
    Input::Containers { gate: GATE, there: BTreeMap::from(containers.map(id)) }
}

pub(super) fn told(pod: Pod) -> Input {
    Input::Pod(Arc::new(pod))
}

pub(super) const APPEARED: fn() -> Input = || Input::PodAppeared { uid: uid(1), gate: GATE };
pub(super) const VANISHED: fn() -> Input = || Input::PodVanished { uid: uid(1), gate: GATE };

pub(super) fn sandbox(sandbox: Sandbox) -> Input {
    Input::Sandbox { gate: GATE, sandbox }
}

pub(super) fn probed(answer: Answer) -> Input {
    Input::Probed { gate: GATE, answer, found: format!("{answer:?}"), is_late: false }
}

pub(super) fn looked(answer: Answer, why: Why) -> Input {
    Input::Looked { gate: GATE, answer, why }
}

pub(super) fn identified(container: CgroupId, found: Found) -> Input {
    Input::Identified { gate: GATE, container, found, sandbox: Sandbox::Unknown }
}

pub(super) fn named(container: CgroupId, name: &str) -> Input {
    identified(container, Found::Named(name.to_owned()))
}

/// A node, told one thing at a time.
pub(super) struct Bench {
    pub(super) node: Node,
}

impl Bench {
    /// A node that knows nothing, whose kernel tells all.
    pub(super) fn new() -> Self {
        let mut bench = Self { node: Node::new(BEGIN, NonZeroU32::new(1_000).unwrap()) };
        bench.handle(BEGIN, Input::Hooks(Hooks { listeners: ANNOUNCED, ends: true }));
        bench
    }

    /// A node with a pod that asks for `policy`, whose namespace is 1 and whose containers are there; nobody listens, and the
    /// first probe is not answered yet.
    pub(super) fn with(policy: Policy) -> Self {
        let mut bench = Self::new();
        for input in [APPEARED(), there([APP, PROXY, PAUSE]), told(asking(policy)), sandbox(seen(1))] {
            bench.handle(BEGIN, input);
        }
        bench
    }

    pub(super) fn handle(&mut self, now: MonoTime, input: Input) -> Vec<Output> {
        self.node.handle(now, input);
        std::iter::from_fn(|| self.node.poll()).collect()
    }

    /// Ticks whenever it is due, until `end`; each output with its time.
    pub(super) fn run(&mut self, end: MonoTime) -> Vec<(MonoTime, Output)> {
        let mut outputs = Vec::new();
        while self.node.next_deadline() <= end {
            let now = self.node.next_deadline();
            outputs.extend(self.handle(now, Input::Tick).into_iter().map(|output| (now, output)));
        }
        outputs
    }

    /// The same, without the times.
    pub(super) fn outputs_until(&mut self, end: MonoTime) -> Vec<Output> {
        self.run(end).into_iter().map(|(_, output)| output).collect()
    }

    pub(super) fn state(&self) -> Option<(GateState, Reason)> {
        self.node.gates().gate(GATE).map(|gate| (gate.state(), gate.reason()))
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().is_some_and(|(state, _)| state == GateState::Open)
    }

    pub(super) fn waiting(&self) -> Vec<u64> {
        self.node.waiting(GATE).iter().map(|record| record.header.socket.0).collect()
    }
}

pub(super) fn written(outputs: &[Output]) -> Vec<Option<(GateState, Reason)>> {
    let entry =
        |entry: &GateEntry| (GateState::try_from(entry.state).unwrap(), Reason::try_from(entry.reason).unwrap());
    let write = |output: &Output| {
        let Output::WriteGate(_, written) = output else { return None };
        Some(written.as_ref().map(entry))
    };
    outputs.iter().filter_map(write).collect()
}

pub(super) fn classes(outputs: &[Output]) -> Vec<(CgroupId, Option<ContainerClass>)> {
    let write = |output: &Output| {
        let Output::WriteContainer(container, class) = output else { return None };
        Some((*container, *class))
    };
    outputs.iter().filter_map(write).collect()
}

pub(super) fn replayed(outputs: &[Output]) -> Vec<u64> {
    let replay = |output: &Output| {
        let Output::Replay(_, records) = output else { return Vec::new() };
        records.iter().map(|record| record.header.socket.0).collect()
    };
    outputs.iter().flat_map(replay).collect()
}

pub(super) fn facts(outputs: &[Output]) -> Vec<&What> {
    outputs.iter().filter_map(|output| if let Output::Fact(fact) = output { Some(&fact.what) } else { None }).collect()
}

pub(super) fn probes(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Probe { .. })).count()
}

pub(super) fn looks(outputs: &[Output], why: Why) -> Vec<Vec<SocketAddr>> {
    let look = |output: &Output| {
        let Output::Look { at, why: asked, .. } = output else { return None };
        (*asked == why).then(|| at.iter().copied().collect())
    };
    outputs.iter().filter_map(look).collect()
}
