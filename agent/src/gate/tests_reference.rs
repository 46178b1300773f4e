//! The naive reference: it keeps all that ever happened, and answers every question by searching it from the start.
//!
//! Knows nothing of how the core keeps its state, and keeps none itself. What it shares with the core are the types of
//! its interface and the delays of [`super::backoff`].

use std::{collections::BTreeSet, time::Duration};

use conngate_common::{
    gate::{GateState, Mode},
    id::{CgroupId, MonoTime, SocketCookie},
    reason::Reason,
};

use super::{
    Answer, Event, OnTimeout, Policy, Readiness, Summary,
    backoff::{PROBE, REPLAY, after},
    pacing::RESENDS,
};

#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    Event(Event),
    Tick,
}

/// All that happened, to all gates.
#[derive(Debug, Default)]
pub(super) struct History(pub(super) Vec<(MonoTime, Input)>);

/// What should be true of a gate after the last input.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) state: GateState,
    pub(super) reason: Reason,
    pub(super) waiting: BTreeSet<SocketCookie>,
    pub(super) reset: BTreeSet<SocketCookie>,
    pub(super) deadline: Option<MonoTime>,
    pub(super) asking: bool,
    /// Sent at the last input.
    pub(super) replayed: BTreeSet<SocketCookie>,
    /// Told at the last input.
    pub(super) opened: Option<Summary>,
}

/// What happened to one gate since it was enrolled last.
struct Life {
    inputs: Vec<(MonoTime, Input)>,
}

/// One parked SYN of an open gate, and when it was sent.
struct Line {
    socket: SocketCookie,
    sends: Vec<MonoTime>,
}

fn count(things: usize) -> u32 {
    u32::try_from(things).unwrap()
}

impl Line {
    fn due(&self) -> Option<MonoTime> {
        let last = self.sends.last()?;
        Some(after(*last, REPLAY.delay(count(self.sends.len() - 1))))
    }
}

fn gate_of(event: &Event) -> CgroupId {
    match *event {
        Event::Enrolled { gate, .. }
        | Event::Retired { gate }
        | Event::Parked { gate, .. }
        | Event::Ended { gate, .. }
        | Event::Listening { gate }
        | Event::Probed { gate, .. }
        | Event::Override { gate } => gate,
    }
}

impl History {
    pub(super) fn view(&self, gate: CgroupId, window: usize) -> Option<View> {
        let mine = |input: &Input| match input {
            Input::Event(event) => gate_of(event) == gate,
            Input::Tick => true,
        };
        let of_it: Vec<_> = self.0.iter().copied().filter(|(_, input)| mine(input)).collect();
        let since_retired = of_it.rsplit(|(_, input)| matches!(input, Input::Event(Event::Retired { .. }))).next()?;
        let enrolled = |(_, input): &(MonoTime, Input)| matches!(input, Input::Event(Event::Enrolled { .. }));
        let birth = since_retired.iter().position(enrolled)?;
        let last_is_mine = self.0.last().is_some_and(|(_, input)| mine(input));
        let mut view = Life { inputs: since_retired[birth..].to_vec() }.view(window);
        if !last_is_mine {
            view.replayed.clear();
            view.opened = None;
        }
        Some(view)
    }
}

impl Life {
    fn view(&self, window: usize) -> View {
        let opening = (0..self.inputs.len()).find_map(|i| Some((i, self.opens(i)?)));
        let last = self.inputs.len() - 1;
        let Some((at, reason)) = opening else {
            let question = self.next_question();
            let waiting = self.waiting_before(last + 1);
            return View {
                state: GateState::Holding,
                reason: if self.listener_is_enough(last) { Reason::NoListener } else { Reason::NotReady },
                waiting: waiting.into_iter().map(|(_, socket)| socket).collect(),
                reset: BTreeSet::new(),
                deadline: [question, self.timeout(last + 1, last)].into_iter().flatten().min(),
                asking: question.is_none(),
                replayed: BTreeSet::new(),
                opened: None,
            };
        };
        let summary = Summary {
            reason,
            held: (0..at).filter(|&i| self.is_new_connection(i)).count() as u64,
            longest: Duration::from_nanos(self.earliest(at).map_or(0, |first| self.inputs[at].0.since(first))),
            waiting: self.waiting_before(at).len(),
        };
        let (lines, reset, replayed) = self.replays(at, reason, window);
        View {
            state: GateState::Open,
            reason,
            deadline: lines.iter().filter_map(Line::due).min(),
            waiting: lines.into_iter().map(|line| line.socket).collect(),
            reset,
            asking: false,
            replayed,
            opened: (at == last).then_some(summary),
        }
    }

    fn event(&self, i: usize) -> Option<Event> {
        match self.inputs[i].1 {
            Input::Event(event) => Some(event),
            Input::Tick => None,
        }
    }

    fn policy(&self, i: usize) -> Policy {
        let asked = |i| match self.event(i) {
            Some(Event::Enrolled { policy, .. }) => Some(policy),
            _ => None,
        };
        (0..=i).rev().find_map(asked).unwrap()
    }

    fn listener_is_enough(&self, i: usize) -> bool {
        let policy = self.policy(i);
        policy.mode == Mode::Retry || policy.readiness == Readiness::Listener
    }

    /// Who waits just before input `i`, the oldest first: who was parked and has not ended since.
    fn waiting_before(&self, i: usize) -> Vec<(MonoTime, SocketCookie)> {
        let mut waiting = Vec::new();
        for k in 0..i {
            if let Some(Event::Parked { socket, first_drop, .. }) = self.event(k) {
                let later = |j: usize| match self.event(j) {
                    Some(Event::Parked { socket: other, .. } | Event::Ended { socket: other, .. }) => other == socket,
                    _ => false,
                };
                if !(k + 1..i).any(later) {
                    waiting.push((first_drop, socket));
                }
            }
        }
        waiting.sort();
        waiting
    }

    fn earliest(&self, i: usize) -> Option<MonoTime> {
        let drop = |k| match self.event(k) {
            Some(Event::Parked { first_drop, .. }) => Some(first_drop),
            _ => None,
        };
        (0..i).filter_map(drop).min()
    }

    fn timeout(&self, before: usize, asked: usize) -> Option<MonoTime> {
        Some(after(self.earliest(before)?, self.policy(asked).timeout))
    }

    fn is_new_connection(&self, i: usize) -> bool {
        match self.event(i) {
            Some(Event::Parked { socket, .. }) => self.waiting_before(i).iter().all(|&(_, other)| other != socket),
            _ => false,
        }
    }

    /// Whether input `i` opens the gate, if it was closed before.
    fn opens(&self, i: usize) -> Option<Reason> {
        match self.inputs[i] {
            (now, Input::Tick) => self.timeout(i, i).is_some_and(|at| at <= now).then_some(Reason::Timeout),
            (_, Input::Event(Event::Override { .. })) => Some(Reason::Operator),
            (_, Input::Event(Event::Probed { answer: Answer::Ready, .. })) => Some(Reason::Ready),
            (_, Input::Event(Event::Probed { answer: Answer::Listening, .. } | Event::Listening { .. })) => {
                self.listener_is_enough(i).then_some(Reason::Listening)
            }
            _ => None,
        }
    }

    /// News that is worth a question at once.
    fn is_urgent(&self, i: usize) -> bool {
        match self.event(i) {
            Some(Event::Listening { .. }) => true,
            Some(Event::Enrolled { .. }) => i > 0 && self.policy(i) != self.policy(i - 1),
            _ => false,
        }
    }

    /// When a closed gate is asked next, `None` while it is being asked.
    fn next_question(&self) -> Option<MonoTime> {
        let end = self.inputs.len();
        let mut refused = Vec::new();
        let mut asked = 0;
        loop {
            let answered = (asked + 1..end).find(|&i| matches!(self.event(i), Some(Event::Probed { .. })))?;
            if (asked + 1..answered).any(|i| self.is_urgent(i)) {
                asked = answered;
                continue;
            }
            let news = (0..answered).rev().find(|&i| self.is_urgent(i) || self.is_new_connection(i)).unwrap_or(0);
            let failures = count(refused.iter().filter(|&&i| i > news).count());
            refused.push(answered);
            let due_before = |i: usize| {
                let joined = (answered + 1..i).filter(|&k| self.is_new_connection(k));
                let soon = joined.map(|k| after(self.inputs[k].0, PROBE.delay(0)));
                soon.chain([after(self.inputs[answered].0, PROBE.delay(failures))]).min().unwrap()
            };
            let asks = |&i: &usize| match self.inputs[i] {
                (now, Input::Tick) => now >= due_before(i),
                _ => self.is_urgent(i),
            };
            match (answered + 1..end).find(asks) {
                Some(i) => asked = i,
                None => return Some(due_before(end)),
            }
        }
    }

    /// The SYNs under way, the connections that were reset, and what was sent at the last input.
    fn replays(
        &self,
        opening: usize,
        reason: Reason,
        window: usize,
    ) -> (Vec<Line>, BTreeSet<SocketCookie>, BTreeSet<SocketCookie>) {
        let line = |socket| Line { socket, sends: Vec::new() };
        let waiting = self.waiting_before(opening).into_iter().map(|(_, socket)| socket);
        let resets = reason == Reason::Timeout && self.policy(opening).on_timeout == OnTimeout::Reset;
        let (mut lines, mut reset): (Vec<Line>, BTreeSet<SocketCookie>) =
            if resets { (Vec::new(), waiting.collect()) } else { (waiting.map(line).collect(), BTreeSet::new()) };
        let mut replayed = BTreeSet::new();
        for i in opening..self.inputs.len() {
            replayed.clear();
            match self.event(i) {
                Some(Event::Parked { socket, .. })
                    if !reset.contains(&socket) && lines.iter().all(|line| line.socket != socket) =>
                {
                    lines.push(line(socket));
                }
                Some(Event::Ended { socket, .. }) => {
                    lines.retain(|line| line.socket != socket);
                    reset.remove(&socket);
                }
                Some(Event::Enrolled { .. }) => continue,
                _ => {}
            }
            let now = self.inputs[i].0;
            let is_due = |line: &Line| line.due().is_some_and(|due| due <= now);
            lines.retain(|line| !(is_due(line) && count(line.sends.len()) > RESENDS));
            for line in lines.iter_mut().filter(|line| is_due(line)) {
                line.sends.push(now);
                replayed.insert(line.socket);
            }
            let free = window.saturating_sub(lines.iter().filter(|line| !line.sends.is_empty()).count());
            for line in lines.iter_mut().filter(|line| line.sends.is_empty()).take(free) {
                line.sends.push(now);
                replayed.insert(line.socket);
            }
        }
        (lines, reset, replayed)
    }
}
