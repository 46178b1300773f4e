//! The hand that reaches into pods' network namespaces: sends held SYNs and queries again, answers queries as truncated, ends
//! connections, looks for listeners.
//!
//! Knows nothing of when. Whatever a pod makes slow there (its netfilter rules, its loopback's queue, a thousand namespaces)
//! costs that pod: what cannot be sent in time is left to the kernel's own retry, and so is all of a pod that was slow a moment
//! ago. What cannot be attributed is left to it too: a replay is sent as whoever connected.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use conngate_common::{
    id::{CgroupId, NetnsCookie},
    record::ParkedRecord,
};
use conngate_core::{
    connections::is_datagram,
    dns::Datagram,
    node::{Input, Why},
};
use tokio::sync::mpsc;

use crate::{
    clock,
    errors::error_chain,
    gate::Answer,
    hand::Hand,
    metrics::Recorded,
    net::{
        destroy, listener,
        netns::{Netns, NetnsWorker, Owner},
        replay::{
            datagram,
            raw::Replayer,
            syn::{self, Packet, SynError},
        },
        sock_diag::{SockDiag, SockDiagError},
    },
    proc::{pods::PodCgroup, processes},
};

/// Slow pods that are served at once.
const THREADS: usize = 4;

/// Jobs of one pod that wait.
const ROOM: usize = 64;

/// The most namespaces of one pod that are kept, and the most owners of one of them that have sockets, two descriptors each.
const NAMESPACES: usize = 4;
const OWNERS: usize = 8;

/// How long the packets of one job may take, all in all (2,048 take some 40 ms), and how long a pod that took longer has none
/// sent.
const DEADLINE: Duration = Duration::from_millis(250);
const SLOW: Duration = Duration::from_secs(10);

/// How long the resets of one gate may take: a gate waits for them.
const RESET_DEADLINE: Duration = Duration::from_millis(900);

/// Whose namespace, and where it is.
#[derive(Clone, Debug)]
pub struct Target {
    /// Whose.
    pub gate: CgroupId,
    /// The workload's own namespace, where it is known.
    pub home: Option<Netns>,
    /// The workload's pod, where it is one.
    pub pod: Option<PodCgroup>,
}

#[derive(Debug)]
enum Job {
    Prepare(Box<ParkedRecord>),
    Replay(Vec<ParkedRecord>),
    Reset(Vec<ParkedRecord>),
    Deliver { queries: Vec<Arc<Datagram>>, look: Option<u16> },
    Pass(Vec<Arc<Datagram>>),
    Truncate { queries: Vec<Arc<Datagram>>, owner: Owner },
    Look { waited_for: BTreeSet<SocketAddr>, port: u16, why: Why },
}

/// Takes jobs.
#[derive(Debug)]
pub struct Injector {
    hand: Hand<(Target, Job), Input>,
    pods: Pods,
}

type Pods = Arc<Mutex<HashMap<CgroupId, Arc<Mutex<Pod>>>>>;

/// What is kept open of one pod.
#[derive(Debug, Default)]
struct Pod {
    namespaces: HashMap<NetnsCookie, Namespace>,
    /// The group of a user's processes in a container, where no connect hook tells it.
    groups: HashMap<(CgroupId, u32), Option<u32>>,
    slow_until: Option<Instant>,
    /// When it was last said in the log that something is not replayed.
    warned: Option<Instant>,
}

#[derive(Debug)]
struct Namespace {
    netns: Netns,
    /// `None`: no sockets are to be had.
    replayers: HashMap<Owner, Option<Arc<Replayer>>>,
}

impl Injector {
    /// Starts the threads. What was done arrives at the receiver.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(worker: NetnsWorker, recorded: Recorded) -> io::Result<(Self, mpsc::UnboundedReceiver<Input>)> {
        let pods = Pods::default();
        let work = Work { worker, recorded, pods: pods.clone() };
        let (hand, done) = Hand::start("inject", THREADS, ROOM, move |(target, job)| work.does(&target, job))?;
        Ok((Self { hand, pods }, done))
    }

    /// A SYN is held: what sends it again is made ready.
    pub fn prepare(&self, target: Target, record: &ParkedRecord) {
        // If not, it is made when it is sent.
        self.hand.ask(target.gate, (target, Job::Prepare(Box::new(*record))), None);
    }

    /// Sends these packets again, in this order.
    pub fn replay(&self, target: Target, records: Vec<ParkedRecord>) {
        let (gate, packets) = (target.gate, records.len());
        if !self.hand.ask(gate, (target, Job::Replay(records)), None) {
            tracing::debug!(gate = gate.0, packets, "too many packets wait: left to the kernel's own retry");
        }
    }

    /// Sends these queries again. Where `look` is a port, only if somebody is bound where all of them
    /// went; where there are none, on that port.
    pub fn deliver(&self, target: Target, queries: Vec<Arc<Datagram>>, look: Option<u16>) {
        let undone = Input::Delivered { gate: target.gate, bound: false };
        self.hand.ask(target.gate, (target, Job::Deliver { queries, look }), Some(undone));
    }

    /// Sends these queries again; what becomes of them is their resolver's.
    pub fn pass(&self, target: Target, queries: Vec<Arc<Datagram>>) {
        let (gate, packets) = (target.gate, queries.len());
        if !self.hand.ask(gate, (target, Job::Pass(queries)), None) {
            tracing::debug!(gate = gate.0, packets, "too many packets wait: left to the resolver's own retry");
        }
    }

    /// Answers these queries as truncated, as `owner`: the mesh's DNS server, whose answers its rules know.
    pub fn truncate(&self, target: Target, queries: Vec<Arc<Datagram>>, owner: Owner) {
        let (gate, packets) = (target.gate, queries.len());
        if !self.hand.ask(gate, (target, Job::Truncate { queries, owner }), None) {
            tracing::debug!(gate = gate.0, packets, "too many packets wait: queries are not answered as truncated");
        }
    }

    /// Ends these connections with an error.
    pub fn reset(&self, target: Target, records: Vec<ParkedRecord>) {
        let (gate, connections) = (target.gate, records.len());
        if !self.hand.ask(gate, (target, Job::Reset(records)), Some(Input::WasReset(gate))) {
            tracing::warn!(gate = gate.0, connections, "too many connections wait: released, not reset");
        }
    }

    /// Looks whether somebody listens everywhere where connections wait, or where none does on `port`.
    pub fn look(&self, target: Target, waited_for: BTreeSet<SocketAddr>, port: u16, why: Why) {
        let undone = Input::Looked { gate: target.gate, answer: Answer::Unanswered, why };
        self.hand.ask(target.gate, (target, Job::Look { waited_for, port, why }), Some(undone));
    }

    /// Closes what is kept open of a pod.
    pub fn forget(&self, gate: CgroupId) {
        lock(&self.pods).remove(&gate);
    }
}

struct Work {
    worker: NetnsWorker,
    recorded: Recorded,
    pods: Pods,
}

impl Work {
    fn does(&self, target: &Target, job: Job) -> Option<Input> {
        match job {
            Job::Prepare(record) => drop(lock(&self.pod(target)).replayer(&self.worker, target, &record, None)),
            Job::Replay(records) => {
                let packets = records.iter().map(|record| (record, syn::rebuild(record, clock::now())));
                self.send(target, packets, None);
            }
            Job::Deliver { queries, look } => return Some(self.deliver(target, &queries, look)),
            Job::Pass(queries) => self.send_queries(target, &queries),
            Job::Truncate { queries, owner } => {
                let answers = queries.iter().map(|query| (&query.record, datagram::truncated(query)));
                self.send(target, answers, Some(owner));
            }
            Job::Reset(records) => {
                self.reset(target, &records);
                return Some(Input::WasReset(target.gate));
            }
            Job::Look { waited_for, port, why } => {
                let answer = self.look(target, &waited_for, port);
                return Some(Input::Looked { gate: target.gate, answer, why });
            }
        }
        None
    }

    fn pod(&self, target: &Target) -> Arc<Mutex<Pod>> {
        lock(&self.pods).entry(target.gate).or_default().clone()
    }

    fn deliver(&self, target: &Target, queries: &[Arc<Datagram>], look: Option<u16>) -> Input {
        let bound = look.is_none_or(|port| {
            // A query that is sent too early is refused, as without conngate.
            self.is_bound(target, queries, port).unwrap_or_else(|error| {
                tracing::debug!(gate = target.gate.0, error = error_chain(&error), "cannot look for UDP sockets");
                true
            })
        });
        if bound {
            self.send_queries(target, queries);
        }
        Input::Delivered { gate: target.gate, bound }
    }

    fn send_queries(&self, target: &Target, queries: &[Arc<Datagram>]) {
        self.send(target, queries.iter().map(|query| (&query.record, datagram::rebuild(query))), None);
    }

    /// Whether somebody is bound where all of them went; where there are none, on `port`.
    fn is_bound(&self, target: &Target, queries: &[Arc<Datagram>], port: u16) -> Result<bool, SockDiagError> {
        let Some(home) = &target.home else { return Ok(true) };
        let diag = SockDiag::udp(&self.worker, home)?;
        let ends: BTreeSet<_> = queries.iter().filter_map(|query| datagram::captured_at(query).ok()).collect();
        if ends.is_empty() {
            return listener::bound_on(&diag, port);
        }
        for (to, from) in ends {
            if !listener::bound(&diag, from, to)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends packets that take the place of these held ones: as those who connected, or as `owner`.
    fn send<'a>(
        &self,
        target: &Target,
        packets: impl ExactSizeIterator<Item = (&'a ParkedRecord, Result<Packet, SynError>)>,
        owner: Option<Owner>,
    ) {
        let pod = self.pod(target);
        let mut pod = lock(&pod);
        let started = Instant::now();
        if pod.slow_until.is_some_and(|until| started < until) {
            return self.recorded.replayed(0, packets.len());
        }
        let mut batches: Vec<(Arc<Replayer>, Vec<_>)> = Vec::new();
        let mut failed = 0;
        for (record, rebuilt) in packets {
            let Some(replayer) = pod.replayer(&self.worker, target, record, owner) else {
                failed += 1;
                continue;
            };
            match rebuilt {
                Ok(packet) => match batches.iter_mut().find(|(same, _)| Arc::ptr_eq(same, &replayer)) {
                    Some((_, packets)) => packets.push(packet),
                    None => batches.push((replayer, vec![packet])),
                },
                Err(error) => {
                    failed += 1;
                    tracing::debug!(
                        error = error_chain(&error),
                        "packet left to the kernel's or the resolver's own retry"
                    );
                }
            }
        }
        let until = started + DEADLINE;
        for (replayer, packets) in batches {
            let sent = match replayer.send(&packets, until) {
                Ok(sent) => sent,
                Err(error) => {
                    if pod.may_warn() {
                        tracing::warn!(
                            gate = target.gate.0,
                            error = error_chain(&error),
                            "left to the kernel's own retry"
                        );
                    }
                    0
                }
            };
            tracing::debug!(gate = target.gate.0, sent, of = packets.len(), "replayed");
            self.recorded.replayed(sent, packets.len() - sent);
        }
        self.recorded.replayed(0, failed);
        if Instant::now() >= until {
            tracing::warn!(gate = target.gate.0, "the pod's network is slow: the kernel's own retry remains");
            pod.slow_until = Some(Instant::now() + SLOW);
        }
    }

    fn reset(&self, target: &Target, records: &[ParkedRecord]) {
        let pod = self.pod(target);
        let mut pod = lock(&pod);
        let mut diags: HashMap<NetnsCookie, Result<SockDiag, String>> = HashMap::new();
        let until = Instant::now() + RESET_DEADLINE;
        for record in records.iter().filter(|record| !is_datagram(record)).take_while(|_| Instant::now() < until) {
            let Some(namespace) = pod.namespace(&self.worker, target, record) else { continue };
            let open = || SockDiag::open(&self.worker, &namespace.netns).map_err(|error| error_chain(&error));
            let diag = diags.entry(namespace.netns.cookie()).or_insert_with(open);
            let ended = diag
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|diag| destroy::destroy(diag, record).map_err(|error| error_chain(&error)));
            if let Err(error) = ended {
                tracing::warn!(gate = target.gate.0, error, "connection released, not reset");
            }
        }
    }

    fn look(&self, target: &Target, waited_for: &BTreeSet<SocketAddr>, port: u16) -> Answer {
        let Some(home) = &target.home else { return Answer::Unanswered };
        let look = || -> Result<bool, SockDiagError> {
            listener::listening_everywhere(&SockDiag::open(&self.worker, home)?, waited_for, port)
        };
        match look() {
            Ok(true) => Answer::Listening,
            Ok(false) => Answer::NotReady,
            Err(error) => {
                tracing::debug!(gate = target.gate.0, error = error_chain(&error), "cannot look for listeners");
                Answer::Unanswered
            }
        }
    }
}

impl Pod {
    /// Whether the log may have a line of it: every ten seconds.
    fn may_warn(&mut self) -> bool {
        let may = self.warned.is_none_or(|warned| warned.elapsed() > SLOW);
        if may {
            self.warned = Some(Instant::now());
        }
        may
    }

    /// What sends `record`'s packet as its owner, or as `owner`, in its namespace.
    fn replayer(
        &mut self,
        worker: &NetnsWorker,
        target: &Target,
        record: &ParkedRecord,
        owner: Option<Owner>,
    ) -> Option<Arc<Replayer>> {
        let owner = owner.or_else(|| self.owner(target, record))?;
        let Namespace { netns, replayers } = self.namespace(worker, target, record)?;
        if replayers.len() >= OWNERS && !replayers.contains_key(&owner) {
            return None;
        }
        let open = || {
            let opened = Replayer::open(worker, netns, owner).inspect_err(|error| {
                tracing::warn!(error = error_chain(error), "no replay: the kernel's own retry remains");
            });
            opened.ok().map(Arc::new)
        };
        replayers.entry(owner).or_insert_with(open).clone()
    }

    /// As whom the SYN is to be sent again. `None`: nobody knows, or the workload's rules may tell it from any copy of it.
    fn owner(&mut self, target: &Target, record: &ParkedRecord) -> Option<Owner> {
        if record.mark != 0 || record.device != 0 {
            return None;
        }
        if record.connector.tgid != 0 {
            return Some(Owner { uid: record.connector.uid, gid: record.connector.gid });
        }
        let (container, uid) = (record.container, record.uid);
        let ask = || {
            let there = target.pod.as_ref()?.container(container).ok()??;
            processes::group(&there.path, uid)
        };
        let group = *self.groups.entry((container, uid)).or_insert_with(ask);
        group.map(|gid| Owner { uid, gid })
    }

    /// The namespace of the connecting process. It may be gone, and its pid another's: what counts is that the namespace is
    /// the socket's.
    fn namespace(&mut self, worker: &NetnsWorker, target: &Target, record: &ParkedRecord) -> Option<&mut Namespace> {
        let unknown = NetnsCookie(0);
        let (cookie, tgid) = (record.connector.netns, record.connector.tgid);
        let at_home = target.home.as_ref().map_or(unknown, Netns::cookie);
        let wanted = if cookie == unknown { at_home } else { cookie };
        if !self.namespaces.contains_key(&wanted) {
            if self.namespaces.len() >= NAMESPACES {
                return None;
            }
            let own = target.home.clone().filter(|_| wanted == at_home);
            let netns = own.or_else(|| {
                let netns = Netns::of_process(worker, tgid).ok();
                netns.filter(|netns| [wanted, unknown].contains(&netns.cookie()))
            });
            let Some(netns) = netns else {
                tracing::debug!(tgid, netns = wanted.0, "namespace of a held connection not found");
                return None;
            };
            self.namespaces.insert(wanted, Namespace { netns, replayers: HashMap::new() });
        }
        self.namespaces.get_mut(&wanted)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
