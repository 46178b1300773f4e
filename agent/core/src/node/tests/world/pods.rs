//! What is true of a pod: its cgroup, namespace, containers, listeners and proxy, and what sources tell of it.

use std::mem;

use super::{super::kit::*, STRIDE};

/// Which container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Name {
    App,
    Proxy,
    Setup,
    Pause,
}

impl Name {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Proxy => "istio-proxy",
            Self::Setup => "setup",
            Self::Pause => "",
        }
    }
}

/// How the proxy answers when it is asked whether it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Proxy {
    Absent,
    NotReady,
    Mute,
    Ready,
}

/// What a source tells.
#[derive(Clone, Debug)]
pub(in super::super) enum Telling {
    Asks(Policy, Status),
    Declines,
    Undecided,
    Ends,
}

/// Whose container a status calls ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Status {
    Nobody,
    Stale,
    Present,
}

/// What goes wrong for a pod, every other time.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Faults {
    pub(in super::super) writes: bool,
    pub(in super::super) records: bool,
    pub(in super::super) answers: bool,
    pub(in super::super) slow: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) name: Name,
    pub(super) since: MonoTime,
}

pub(super) struct Place {
    number: u64,
    random: u64,
    ids: u64,
    pub(super) faults: Faults,
    pub(super) cgroup: Option<CgroupId>,
    pub(super) netns: Option<Netns>,
    pub(super) containers: BTreeMap<CgroupId, Running>,
    /// Every container that this cgroup ever had.
    pub(super) ever: BTreeMap<CgroupId, Name>,
    pub(super) listeners: Vec<SocketAddr>,
    pub(super) proxy: Proxy,
    /// What sources told last; `None`: nothing, or that it is gone.
    pub(super) told: Option<Arc<Pod>>,
    /// A source has decided what it asks for since the machine started.
    pub(super) is_decided: bool,
    /// The agent knows this cgroup, and these containers.
    walked: Option<CgroupId>,
    listed: Option<Vec<CgroupId>>,
}

impl Place {
    pub(super) fn new(number: usize, seed: u64) -> Self {
        let number = number as u64;
        Self {
            number,
            random: (seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1,
            ids: 1,
            faults: Faults::default(),
            cgroup: None,
            netns: None,
            containers: BTreeMap::new(),
            ever: BTreeMap::new(),
            listeners: Vec::new(),
            proxy: Proxy::Absent,
            told: None,
            is_decided: false,
            walked: None,
            listed: None,
        }
    }

    pub(super) fn uid(&self) -> PodUid {
        uid(self.number + 1)
    }

    /// A number below `end` (xorshift64*).
    pub(super) fn random(&mut self, end: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn coin(&mut self, is_tossed: bool) -> bool {
        is_tossed && self.random(2) == 0
    }

    /// A write fails.
    pub(super) fn fails(&mut self) -> bool {
        self.coin(self.faults.writes)
    }

    /// A record is lost.
    pub(super) fn loses(&mut self) -> bool {
        self.coin(self.faults.records)
    }

    /// A hand cannot do its work.
    pub(super) fn refuses(&mut self) -> bool {
        self.coin(self.faults.answers)
    }

    /// How long a hand takes.
    pub(super) fn delay(&mut self) -> Duration {
        let most = if self.faults.slow { 1_500 } else { 10 };
        Duration::from_millis(self.random(most))
    }

    pub(super) fn id(&mut self) -> u64 {
        self.ids += 1;
        self.number * STRIDE + self.ids
    }

    pub(super) fn appear(&mut self) {
        if self.cgroup.is_none() {
            self.cgroup = Some(CgroupId(self.id()));
        }
    }

    /// The cgroup is gone, and all that was in it.
    pub(super) fn vanish(&mut self) {
        self.end_all();
        self.cgroup = None;
        self.ever.clear();
    }

    /// A sandbox is made, or made anew: nothing of the one before is left.
    pub(super) fn sandbox(&mut self, now: MonoTime) {
        self.end_all();
        if self.cgroup.is_some() {
            let id = self.id();
            self.netns = Some(netns(id));
            self.start(Name::Pause, now);
        }
    }

    fn end_all(&mut self) {
        self.netns = None;
        self.containers.clear();
        self.listeners.clear();
        self.proxy = Proxy::Absent;
    }

    /// A container starts, instead of the one of this name.
    pub(super) fn start(&mut self, name: Name, now: MonoTime) {
        self.end(name);
        if self.netns.is_some() {
            let id = CgroupId(self.id());
            self.containers.insert(id, Running { name, since: now });
            self.ever.insert(id, name);
        }
    }

    pub(super) fn end(&mut self, name: Name) {
        self.containers.retain(|_, running| running.name != name);
        if name == Name::Proxy {
            self.listeners.clear();
            self.proxy = Proxy::Absent;
        }
    }

    pub(super) fn running(&self, name: Name) -> Option<CgroupId> {
        self.containers.iter().find(|(_, running)| running.name == name).map(|(id, _)| *id)
    }

    /// The object that a source tells.
    pub(super) fn object(&self, telling: &Telling) -> Arc<Pod> {
        let ask = match telling {
            Telling::Asks(policy, _) => Ask::Gate(Box::new(spec(*policy))),
            Telling::Declines => Ask::None("it does not ask".to_owned()),
            Telling::Undecided => Ask::Undecided("its namespace is not known yet".to_owned()),
            Telling::Ends => self.told.as_ref().map_or(Ask::None(String::new()), |pod| pod.ask.clone()),
        };
        let mut pod = pod(self.number + 1, ask);
        pod.ending = matches!(telling, Telling::Ends);
        for (container, name) in pod.containers.iter_mut().zip([Name::App, Name::Proxy]) {
            container.id = self.running(name).map(|id| format!("containerd://id-{}", id.0));
        }
        let proxy = &mut pod.containers[1];
        match telling {
            Telling::Asks(_, Status::Present) => proxy.is_ready_proxy = true,
            Telling::Asks(_, Status::Stale) => {
                (proxy.is_ready_proxy, proxy.id) = (true, Some("containerd://id-0".to_owned()));
            }
            Telling::Asks(_, Status::Nobody) | Telling::Declines | Telling::Undecided | Telling::Ends => {}
        }
        Arc::new(pod)
    }

    /// What the walk finds that the agent does not know.
    pub(super) fn walk(&mut self) -> Vec<Input> {
        let (uid, mut inputs) = (self.uid(), Vec::new());
        let before = mem::replace(&mut self.walked, self.cgroup);
        if before != self.cgroup {
            inputs.extend(before.map(|gate| Input::PodVanished { uid, gate }));
            inputs.extend(self.cgroup.map(|gate| Input::PodAppeared { uid, gate }));
            self.listed = None;
        }
        let there: Vec<_> = self.containers.keys().copied().collect();
        if let Some(gate) = self.cgroup
            && self.listed.as_ref() != Some(&there)
        {
            let named = |id: &CgroupId| (*id, Some(format!("id-{}", id.0)));
            inputs.push(Input::Containers { gate, there: there.iter().map(named).collect() });
            self.listed = Some(there);
        }
        inputs
    }

    /// Another agent knows nothing.
    pub(super) fn forget_agent(&mut self) {
        (self.walked, self.listed) = (None, None);
    }

    /// The machine starts anew: another cgroup, and nothing in it yet. What sources say is of before.
    pub(super) fn lose_all(&mut self) {
        let was_there = self.cgroup.is_some();
        self.vanish();
        self.is_decided = self.told.as_ref().is_some_and(|pod| !matches!(pod.ask, Ask::Undecided(_)));
        if was_there {
            self.appear();
        }
    }
}
