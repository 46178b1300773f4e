//! A small world in virtual time around one node: a kernel with its maps and sockets, pods with their namespaces, containers and
//! proxies, and hands that are slow, refuse and fail. It carries out every output, and checks the laws after every turn.

mod hands;
mod kernel;
mod laws;
mod pods;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroU32,
};

pub(super) use self::pods::{Faults, Name, Proxy, Status, Telling};
use self::{
    kernel::Kernel,
    laws::{Seen, Told},
    pods::Place,
};
use super::kit::*;
use crate::backoff::after;

/// How often the agent walks the cgroups.
const WALK: Duration = Duration::from_millis(500);

/// Ids of a pod's things begin at its number times this.
const STRIDE: u64 = 1_000_000;

/// Something that will happen.
type Later = Box<dyn FnOnce(&mut World)>;

pub(super) struct World {
    pub(super) now: MonoTime,
    pub(super) node: Node,
    kernel: Kernel,
    places: Vec<Place>,
    agenda: BTreeMap<(MonoTime, u64), Later>,
    number: u64,
    /// What the agent has not read yet.
    inbox: VecDeque<Input>,
    /// It does not run until then.
    stalled: MonoTime,
    is_alive: bool,
    walked: MonoTime,
    /// What is known of each gate's life.
    seen: BTreeMap<CgroupId, Seen>,
    /// The questions that are open, by what they ask for.
    open: BTreeSet<String>,
    /// Gates for which something is ready that sends packets again.
    prepared: BTreeSet<CgroupId>,
    /// Those that ask for a name, or have.
    asked: BTreeSet<SocketCookie>,
    /// Those whose end the kernel could not tell.
    unended: BTreeSet<SocketCookie>,
    /// Since when connections of a gate are being reset.
    resets: BTreeMap<CgroupId, MonoTime>,
    /// What this agent was told of pods.
    told: Vec<(PodUid, Told)>,
    /// When writing an entry failed last.
    failed: BTreeMap<CgroupId, MonoTime>,
    /// Each pod's outputs.
    pub(super) outputs: Vec<Vec<(MonoTime, Output)>>,
}

impl World {
    pub(super) fn new(pods: usize, seed: u64) -> Self {
        let now = ms(1_000);
        let mut world = Self {
            now,
            node: Node::new(now, NonZeroU32::new(1_000_000).unwrap()),
            kernel: Kernel::default(),
            places: (0..pods).map(|number| Place::new(number, seed)).collect(),
            agenda: BTreeMap::new(),
            number: 0,
            inbox: VecDeque::new(),
            stalled: now,
            is_alive: false,
            walked: now,
            seen: BTreeMap::new(),
            open: BTreeSet::new(),
            prepared: BTreeSet::new(),
            asked: BTreeSet::new(),
            unended: BTreeSet::new(),
            resets: BTreeMap::new(),
            told: Vec::new(),
            failed: BTreeMap::new(),
            outputs: vec![Vec::new(); pods],
        };
        world.start(false);
        world
    }

    /// Lets so much time go by.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = after(self.now, time);
        loop {
            let agent = if self.runs() {
                self.node.next_deadline().min(after(self.walked, WALK))
            } else if self.is_alive {
                self.stalled
            } else {
                end
            };
            let next = self.agenda.first_key_value().map_or(agent, |((at, _), _)| agent.min(*at));
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            // All that happens at one time, whoever's it is, before the agent does what it does then.
            while let Some(first) = self.agenda.first_entry().filter(|first| first.key().0 <= self.now) {
                first.remove()(self);
            }
            if !self.is_alive && next == end {
                return;
            }
            self.turn();
        }
    }

    /// The agent does what there is to do.
    pub(super) fn turn(&mut self) {
        if !self.runs() {
            return;
        }
        if after(self.walked, WALK) <= self.now {
            self.walk();
        }
        let mut ticks = 0;
        loop {
            if let Some(input) = self.inbox.pop_front() {
                self.tell(input);
            } else if self.node.next_deadline() <= self.now {
                ticks += 1;
                assert!(ticks < 100, "a tick that is due again at once, for ever");
                self.tell(Input::Tick);
            } else {
                break;
            }
        }
        self.check();
    }

    /// The agent notices at once what is another than it knows.
    pub(super) fn walk_now(&mut self, place: usize) {
        if self.runs() {
            let found = self.places[place].walk();
            self.inbox.extend(found);
        }
    }

    /// The agent gets no processor for so long.
    pub(super) fn stall(&mut self, time: Duration) {
        self.stalled = after(self.now, time);
        self.pass(time);
    }

    /// The agent is away for so long; what its hands had to do is not done.
    pub(super) fn restart(&mut self, time: Duration, sources_first: bool) {
        self.is_alive = false;
        self.pass(time);
        self.start(sources_first);
        self.turn();
    }

    /// The machine starts anew: the pods are the same, and so is what sources tell of them.
    pub(super) fn reboot(&mut self) {
        self.is_alive = false;
        self.agenda.clear();
        self.inbox.clear();
        self.kernel = Kernel { epoch: self.kernel.epoch, ..Kernel::default() };
        self.seen.clear();
        self.places.iter_mut().for_each(Place::lose_all);
        self.start(true);
        self.turn();
    }

    fn runs(&self) -> bool {
        self.is_alive && self.stalled <= self.now
    }

    /// Another agent takes over.
    fn start(&mut self, sources_first: bool) {
        self.node = Node::new(self.now, NonZeroU32::new(1_000_000).unwrap());
        self.kernel.epoch += 1;
        (self.is_alive, self.stalled) = (true, self.now);
        self.open.clear();
        self.prepared.clear();
        self.resets.clear();
        self.told.clear();
        self.failed.clear();
        self.inbox.retain(is_record);
        for (gate, entry) in &self.kernel.gates {
            self.seen.insert(*gate, Seen::inherited(self.now, entry));
        }
        let gates = self.kernel.gates.iter().map(|(gate, entry)| (*gate, *entry)).collect();
        let containers = self.kernel.containers.keys().copied().collect();
        self.tell(Input::Hooks(Hooks { listeners: ANNOUNCED, ends: true }));
        self.tell(Input::Inherited { gates, containers });
        self.places.iter_mut().for_each(Place::forget_agent);
        if sources_first {
            self.tell_all();
        }
        self.walk();
        while let Some(input) = self.inbox.pop_front() {
            self.tell(input);
        }
        self.tell(Input::Walked);
        if !sources_first {
            self.tell_all();
        }
    }

    fn tell_all(&mut self) {
        for place in 0..self.places.len() {
            if let Some(pod) = self.places[place].told.clone() {
                self.tell(Input::Pod(pod));
            }
        }
        self.tell(Input::Synced);
    }

    fn tell(&mut self, input: Input) {
        self.note_input(&input);
        let is_burst = is_record(&input) && self.inbox.front().is_some_and(is_record);
        self.node.handle(self.now, input);
        if is_burst {
            return;
        }
        while let Some(output) = self.node.poll() {
            self.note_output(&output);
            if let Some(place) = self.whose(&output) {
                self.outputs[place].push((self.now, output.clone()));
            }
            self.carry_out(output);
        }
    }

    /// Every cgroup that is another than the agent knows is told.
    fn walk(&mut self) {
        self.walked = self.now;
        for place in &mut self.places {
            self.inbox.extend(place.walk());
        }
    }

    fn later(&mut self, delay: Duration, what: impl FnOnce(&mut Self) + 'static) {
        self.number += 1;
        self.agenda.insert((after(self.now, delay), self.number), Box::new(what));
    }

    /// A hand does it, unless its agent is gone by then.
    fn by_hand(&mut self, delay: Duration, what: impl FnOnce(&mut Self) + 'static) {
        let epoch = self.kernel.epoch;
        self.later(delay, move |world| {
            if world.is_alive && world.kernel.epoch == epoch {
                what(world);
            }
        });
    }
}

/// Whether the kernel tells this.
const fn is_record(input: &Input) -> bool {
    matches!(input, Input::Parked(_) | Input::Datagram(_) | Input::Ended(_) | Input::Listening(_))
}
