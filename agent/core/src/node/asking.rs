//! Asking proxies whether they are ready: when a gate wants it, within the node's budget, in the pod's network namespace; and what the
//! kernel tells of listeners.
//!
//! Invariant: where nobody listens at the proxy's port, as far as the kernel tells, a proxy is asked but once a second, and at once
//! when somebody begins to.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    num::NonZeroU32,
    time::Duration,
};

use conngate_common::{
    id::{CgroupId, MonoTime, NetnsCookie},
    record::ListeningRecord,
};

use super::{Node, Output, What, Why};
use crate::{
    backoff::after,
    budget::Budget,
    connections::{captured_at, is_datagram},
    gate::{Answer, Event, Want},
    workload::{Life, Netns, Sandbox, Workload},
};

/// How much later a proxy is asked that does not listen.
const QUIET: Duration = Duration::from_millis(750);

/// How seldom it is told of one gate that somebody listens, however often they do.
const HEARD: Duration = Duration::from_millis(100);

/// Proxies to be asked.
#[derive(Debug)]
pub(super) struct Probes {
    budget: Budget,
    due: BTreeSet<(MonoTime, CgroupId)>,
    at: BTreeMap<CgroupId, Waits>,
}

/// A question that waits.
#[derive(Clone, Copy, Debug)]
struct Waits {
    /// Its turn, by the budget.
    turn: MonoTime,
    /// When it is asked: later where the proxy is quiet.
    at: MonoTime,
}

impl Probes {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self { budget: Budget::new(per_second), due: BTreeSet::new(), at: BTreeMap::new() }
    }

    /// Whether no question waits.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.at.is_empty()
    }

    /// When to ask next.
    pub(super) fn next(&self) -> Option<MonoTime> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn forget(&mut self, gate: CgroupId) {
        if let Some(waits) = self.at.remove(&gate) {
            self.due.remove(&(waits.at, gate));
        }
    }

    /// Asks when it is its turn, and so much `later`.
    fn ask(&mut self, gate: CgroupId, now: MonoTime, later: Duration) {
        let turn = self.budget.take(now);
        self.wait(gate, Waits { turn, at: after(turn, later) });
    }

    /// A question that waits is asked as soon as it is its turn.
    fn hurry(&mut self, gate: CgroupId) {
        if let Some(waits) = self.at.get(&gate).copied() {
            self.wait(gate, Waits { at: waits.turn, ..waits });
        }
    }

    fn wait(&mut self, gate: CgroupId, waits: Waits) {
        self.forget(gate);
        self.due.insert((waits.at, gate));
        self.at.insert(gate, waits);
    }

    fn take_due(&mut self, now: MonoTime) -> Vec<CgroupId> {
        let due: Vec<_> = self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, gate)| *gate).collect();
        due.iter().for_each(|gate| self.forget(*gate));
        due
    }
}

impl Node {
    /// A gate wants to know.
    pub(super) fn ask(&mut self, gate: CgroupId, want: Want) {
        let Some(workload) = self.workloads.get_mut(&gate) else { return };
        match (want, workload.spec.as_ref().and_then(|spec| spec.ready_url.as_ref()), workload.netns) {
            (Want::Ready, Some(_), Some(_)) => {
                let quiet = if workload.quiet { QUIET } else { Duration::ZERO };
                self.probes.ask(gate, self.now, quiet);
                self.probe_due();
            }
            (Want::Ready, Some(_), None) => {
                self.ask_for_netns(gate);
                self.probed(gate, Answer::Unanswered, "no process yet".to_owned(), false);
            }
            (Want::Ready, None, _) | (Want::Listener, ..) => self.look(gate, Why::Probe),
        }
    }

    /// Asks those whose turn it is. A gate that was opened meanwhile has no question any more.
    pub(super) fn probe_due(&mut self) {
        for gate in self.probes.take_due(self.now) {
            let Some(workload) = self.workloads.get(&gate) else { continue };
            let url = workload.spec.as_ref().and_then(|spec| spec.ready_url.clone());
            match (url.filter(|_| self.closed(gate).is_some()), workload.netns) {
                (Some(url), Some(netns)) => {
                    self.outputs.push_back(Output::Probe { gate, netns, url, deadline: workload.deadline() });
                }
                _ => self.event(Event::Probed { gate, answer: Answer::Unanswered }),
            }
        }
    }

    /// A proxy was asked.
    pub(super) fn probed(&mut self, gate: CgroupId, answer: Answer, found: String, is_late: bool) {
        if let Some(workload) = self.workloads.get_mut(&gate) {
            workload.answered(is_late);
            workload.found = Some((self.now, found));
        }
        self.event(Event::Probed { gate, answer });
    }

    /// Looks for listeners where connections wait; where none does, on the proxy's port.
    fn look(&mut self, gate: CgroupId, why: Why) {
        let connections = self.waiting(gate).into_iter().filter(|record| !is_datagram(record));
        let at = connections.filter_map(captured_at).collect();
        let Some(workload) = self.workloads.get(&gate) else { return };
        match (workload.port(), workload.netns) {
            (Some(port), Some(_)) => self.outputs.push_back(Output::Look { gate, at, port, why }),
            _ => {
                self.ask_for_netns(gate);
                self.looked(gate, Answer::Unanswered, why);
            }
        }
    }

    /// Listeners were looked for.
    pub(super) fn looked(&mut self, gate: CgroupId, answer: Answer, why: Why) {
        let Some(workload) = self.workloads.get_mut(&gate) else { return };
        // Where the kernel does not tell of listeners, it is asked as often as ever.
        let is_announced = self.hooks.announce(workload);
        match why {
            Why::Probe => self.event(Event::Probed { gate, answer }),
            Why::Silence if workload.silence.answered() => self.ask_for_silence(gate),
            Why::First | Why::Silence if answer != Answer::NotReady => {}
            Why::First => workload.quiet = is_announced,
            Why::Silence => {
                workload.quiet = is_announced;
                self.event(Event::Silent { gate });
            }
        }
    }

    /// The pod's network namespace is to be looked for, unless somebody does or it is known.
    fn ask_for_netns(&mut self, gate: CgroupId) {
        let is_wanted = |workload: &Workload| workload.netns.is_none() && !workload.sandbox.is_open();
        if self.workloads.get(&gate).is_some_and(is_wanted) {
            self.find_netns(gate);
        }
    }

    /// The pod's network namespace is to be looked for (again): a look that is under way may come too early, and is followed by
    /// another.
    pub(super) fn find_netns(&mut self, gate: CgroupId) {
        if self.workloads.get_mut(&gate).is_some_and(|workload| workload.sandbox.ask()) {
            self.outputs.push_back(Output::FindNetns(gate));
        }
    }

    /// Those that could not be seen are looked for again.
    pub(super) fn find_unseen(&mut self) {
        let was_unseen =
            |(gate, workload): (&CgroupId, &mut Workload)| mem::take(&mut workload.unseen).then_some(*gate);
        let mut unseen: Vec<_> = self.workloads.iter_mut().filter_map(was_unseen).collect();
        unseen.sort_unstable();
        unseen.into_iter().for_each(|gate| self.find_netns(gate));
    }

    /// The pod's network namespace was looked for.
    pub(super) fn found_netns(&mut self, gate: CgroupId, sandbox: Sandbox) {
        let Some(workload) = self.workloads.get_mut(&gate) else { return };
        workload.unseen = sandbox == Sandbox::Unknown;
        let again = workload.sandbox.answered();
        self.saw_netns(gate, sandbox);
        if again {
            self.find_netns(gate);
        }
    }

    /// The pod's network namespace was seen.
    pub(super) fn saw_netns(&mut self, gate: CgroupId, sandbox: Sandbox) {
        let Some(workload) = self.workloads.get_mut(&gate) else { return };
        match workload.saw(sandbox) {
            Life::Same => {}
            // Whoever asked before had nobody to ask.
            Life::First => {
                if self.hooks.announce(workload) {
                    self.look(gate, Why::First);
                }
                self.event(Event::Listening { gate });
            }
            Life::Another => {
                self.tell(gate, What::Renewed);
                self.outputs.push_back(Output::Release(gate));
                self.event(Event::Renewed { gate });
                // What the kubelet says is of containers that are there: it is as true of this life.
                let changes = self.pods.vouch_again(gate);
                self.change(changes);
            }
        }
    }

    /// Somebody listens, or listens no longer.
    pub(super) fn listening(&mut self, record: &ListeningRecord) {
        let Ok(port) = u16::try_from(record.port) else { return };
        for gate in self.captured(record.netns, port) {
            if record.listens == 0 {
                self.ask_for_silence(gate);
                continue;
            }
            if let Some(workload) = self.workloads.get_mut(&gate).filter(|workload| workload.port() == Some(port)) {
                workload.quiet = false;
                self.probes.hurry(gate);
            }
            self.gates.handle(self.now, Event::Listening { gate });
            if self.closed.contains(&gate) && self.is_news(gate) {
                self.tell(gate, What::Listening);
            }
        }
        self.probe_due();
    }

    /// Whether it is long enough ago that it was told of this gate that somebody listens.
    fn is_news(&mut self, gate: CgroupId) -> bool {
        let Some(workload) = self.workloads.get_mut(&gate) else { return false };
        let is_news = workload.heard.is_none_or(|told| after(told, HEARD) <= self.now);
        if is_news {
            workload.heard = Some(self.now);
        }
        is_news
    }

    /// The gates whose connections are captured at `port` in the namespace; in any, where the kernel cannot tell. One whose
    /// namespace is not known yet asks by itself once it is.
    fn captured(&self, netns: NetnsCookie, port: u16) -> Vec<CgroupId> {
        let is_it = |known: Netns| known.cookie == netns;
        let unknown = netns == NetnsCookie(0);
        let captures = |workload: &Workload| workload.captures(port) && (unknown || workload.netns.is_some_and(is_it));
        let captured = self.workloads.iter().filter(|(_, workload)| captures(workload));
        let mut captured: Vec<_> = captured.map(|(gate, _)| *gate).collect();
        captured.sort_unstable();
        captured
    }

    /// Looks whether nobody listens any longer, where that matters: a proxy has several listeners, and some of them go. One
    /// look is under way at a time, however often they do.
    fn ask_for_silence(&mut self, gate: CgroupId) {
        let regates = |workload: &Workload| workload.spec.as_ref().is_some_and(|spec| spec.policy.regate.is_some());
        if self.workloads.get_mut(&gate).is_some_and(|workload| regates(workload) && workload.silence.ask()) {
            self.look(gate, Why::Silence);
        }
    }
}
