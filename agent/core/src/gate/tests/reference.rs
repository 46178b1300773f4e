//! The naive reference: it keeps all that ever happened, and answers every question by searching it from the start.
//!
//! Knows nothing of how the core keeps its state. It keeps none from one question to the next: it goes through all inputs
//! again, notes where the gate turned and what was asked, and searches the inputs for everything else. What it shares with
//! the core are the types of its interface and the delays of [`crate::backoff`].

use std::{collections::BTreeSet, time::Duration};

use conngate_common::{
    gate::{GateState, Mode},
    id::{CgroupId, MonoTime, SocketCookie},
    reason::Reason,
};

use super::super::{
    Answer, Event, OnTimeout, Policy, Readiness, Summary,
    pacing::{RESENDS, SENDING},
};
use crate::backoff::{IDLE_PROBE, PROBE, REPLAY, after};

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

/// What happened to one gate since it was announced last, and what followed from it.
struct Life {
    inputs: Vec<(MonoTime, Input)>,
    /// The inputs that closed the gate, opened it, or gave it another reason.
    turns: Vec<(usize, Phase)>,
    questions: Vec<Question>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `again`: by `regate`.
    Closed {
        again: bool,
    },
    Open(Reason),
}

/// A question and the inputs at which it was asked and answered.
struct Question {
    asked: usize,
    /// It became a question for a listener.
    turned: bool,
    answered: Option<usize>,
}

/// One parked SYN of an open gate, and by when it was sent.
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
        | Event::Declined { gate }
        | Event::Resumed { gate, .. }
        | Event::Terminating { gate }
        | Event::Retired { gate }
        | Event::Parked { gate, .. }
        | Event::Ended { gate, .. }
        | Event::Listening { gate }
        | Event::Silent { gate }
        | Event::Renewed { gate }
        | Event::Restarted { gate }
        | Event::Vouched { gate, .. }
        | Event::Probed { gate, .. }
        | Event::Override { gate } => gate,
    }
}

/// What the gate is from the beginning, if `input` announces it.
fn announced(input: &Input) -> Option<Phase> {
    match input {
        Input::Event(Event::Enrolled { .. }) => Some(Phase::Closed { again: false }),
        Input::Event(Event::Declined { .. }) => Some(Phase::Open(Reason::NotEnrolled)),
        Input::Event(Event::Resumed { reason, .. }) => Some(Phase::Open(*reason)),
        Input::Event(_) | Input::Tick => None,
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
        let (birth, phase) =
            since_retired.iter().enumerate().find_map(|(i, (_, input))| Some((i, announced(input)?)))?;
        let last_is_mine = self.0.last().is_some_and(|(_, input)| mine(input));
        let mut view = Life::of(since_retired[birth..].to_vec(), phase).view(window);
        if !last_is_mine {
            view.replayed.clear();
            view.opened = None;
        }
        Some(view)
    }
}

impl Life {
    fn of(inputs: Vec<(MonoTime, Input)>, phase: Phase) -> Self {
        let mut life = Self { inputs, turns: vec![(0, phase)], questions: Vec::new() };
        for i in 0..life.inputs.len() {
            life.take(i);
        }
        life
    }

    /// Notes what follows from input `i`.
    fn take(&mut self, i: usize) {
        let is_answer = matches!(self.event(i), Some(Event::Probed { .. }));
        let open = self.questions.iter().position(|question| question.answered.is_none()).filter(|_| is_answer);
        let was = self.phase(i);
        if let Some(phase) = self.turn(i, open) {
            self.turns.push((i, phase));
        }
        if self.is_closed(i + 1) && open.is_some_and(|at| self.goes_on(i, &self.questions[at])) {
            self.questions[open.unwrap()].turned = true;
            return;
        }
        if let Some(at) = open {
            self.questions[at].answered = Some(i);
        }
        let free = self.questions.iter().all(|question| question.answered.is_some());
        let asks = self.is_urgent(i)
            || open.is_some_and(|at| self.is_outdated(i, &self.questions[at]))
            || (matches!(self.inputs[i].1, Input::Tick) && self.due(i).is_some_and(|due| due <= self.inputs[i].0));
        let closes = i == 0 || !matches!(was, Phase::Closed { .. });
        if free && self.is_closed(i + 1) && (closes || asks) {
            self.questions.push(Question { asked: i, turned: false, answered: None });
        }
    }

    fn view(&self, window: usize) -> View {
        let end = self.inputs.len();
        let asking = self.questions.iter().any(|question| question.answered.is_none());
        let reset = self.reset_before(end);
        let Phase::Open(reason) = self.phase(end) else {
            let deadline = [self.due(end), self.timeout(end)].into_iter().flatten().min();
            return View {
                state: GateState::Holding,
                reason: if self.listener_is_enough(end - 1) { Reason::NoListener } else { Reason::NotReady },
                waiting: self.waiting_before(end).into_iter().map(|(_, socket)| socket).collect(),
                reset,
                deadline,
                asking,
                replayed: BTreeSet::new(),
                opened: None,
            };
        };
        let opening = self.since(end);
        let (lines, replayed) = self.replays(opening, window);
        View {
            state: if reason == Reason::NotEnrolled { GateState::NotEnrolled } else { GateState::Open },
            reason,
            deadline: lines.iter().filter_map(Line::due).min(),
            waiting: lines.into_iter().map(|line| line.socket).collect(),
            reset,
            asking,
            replayed,
            opened: (opening > 0 && opening == end - 1).then(|| Summary {
                reason,
                held: (self.since(opening)..opening).filter(|&i| self.is_new_connection(i)).count() as u64,
                longest: Duration::from_nanos(
                    self.earliest(opening).map_or(0, |first| self.inputs[opening].0.since(first)),
                ),
                waiting: self.waiting_before(opening).len(),
            }),
        }
    }

    fn event(&self, i: usize) -> Option<Event> {
        match self.inputs[i].1 {
            Input::Event(event) => Some(event),
            Input::Tick => None,
        }
    }

    /// What the gate was just before input `i`; at its announcement, what it was made.
    fn phase(&self, i: usize) -> Phase {
        self.turns.iter().rev().find(|&&(at, _)| at < i || at == 0).unwrap().1
    }

    fn is_closed(&self, i: usize) -> bool {
        matches!(self.phase(i), Phase::Closed { .. })
    }

    /// Since which input the gate was open, or closed, just before input `i`.
    fn since(&self, i: usize) -> usize {
        let same = |at: usize| self.is_closed(at + 1) == self.is_closed(i);
        let turns = self.turns.iter().rev().map(|&(at, _)| at).filter(|&at| at < i || at == 0);
        turns.take_while(|&at| same(at)).last().unwrap()
    }

    fn policy(&self, i: usize) -> Option<Policy> {
        (0..=i).rev().find_map(|i| match self.event(i) {
            Some(Event::Enrolled { policy, .. } | Event::Resumed { policy, .. }) => Some(policy),
            _ => None,
        })
    }

    fn listener_is_enough(&self, i: usize) -> bool {
        self.policy(i).is_some_and(|policy| policy.mode == Mode::Retry || policy.readiness == Readiness::Listener)
    }

    fn is_vouched(&self, before: usize) -> bool {
        let word = |i| match self.event(i) {
            Some(Event::Vouched { ready, .. }) => Some(ready),
            Some(Event::Renewed { .. }) => Some(false),
            _ => None,
        };
        (0..before).rev().find_map(word).unwrap_or(false)
    }

    /// Which connections were reset before input `i` and have not ended since.
    fn reset_before(&self, i: usize) -> BTreeSet<SocketCookie> {
        let ended = |from: usize, socket| {
            (from..i).any(|k| matches!(self.event(k), Some(Event::Ended { socket: other, .. }) if other == socket))
        };
        let timeouts =
            self.turns.iter().filter(|&&(at, phase)| 0 < at && at < i && phase == Phase::Open(Reason::Timeout));
        let resets = timeouts.filter(|&&(at, _)| {
            self.is_closed(at) && self.policy(at).is_some_and(|policy| policy.on_timeout == OnTimeout::Reset)
        });
        resets
            .flat_map(|&(at, _)| self.waiting_before(at).into_iter().map(move |(_, socket)| (at, socket)))
            .filter(|&(at, socket)| !ended(at, socket))
            .map(|(_, socket)| socket)
            .collect()
    }

    /// The SYNs that were parked since the gate was closed, before input `i`; those of reset connections do not count.
    fn drops_before(&self, i: usize) -> Vec<(usize, MonoTime, SocketCookie)> {
        let drop = |k| match self.event(k) {
            Some(Event::Parked { socket, first_drop, .. }) => Some((k, first_drop, socket)),
            _ => None,
        };
        let counts = |&(k, _, socket): &(usize, MonoTime, SocketCookie)| !self.reset_before(k).contains(&socket);
        (self.since(i)..i).filter_map(drop).filter(counts).collect()
    }

    /// Who waits at the closed gate just before input `i`, the oldest first: who was parked and has not ended since.
    fn waiting_before(&self, i: usize) -> Vec<(MonoTime, SocketCookie)> {
        let later = |k: usize, socket| {
            (k + 1..i).any(|j| match self.event(j) {
                Some(Event::Parked { socket: other, .. } | Event::Ended { socket: other, .. }) => other == socket,
                _ => false,
            })
        };
        let drops = self.drops_before(i).into_iter().filter(|&(k, _, socket)| !later(k, socket));
        let mut waiting: Vec<_> = drops.map(|(_, first_drop, socket)| (first_drop, socket)).collect();
        waiting.sort();
        waiting
    }

    fn earliest(&self, i: usize) -> Option<MonoTime> {
        self.drops_before(i).into_iter().map(|(_, first_drop, _)| first_drop).min()
    }

    /// When the hold ends, as things are just before input `i`.
    fn timeout(&self, i: usize) -> Option<MonoTime> {
        let policy = self.policy(i - 1)?;
        let limit = match (self.phase(i), policy.regate) {
            (Phase::Closed { again: true }, Some(regate)) => regate,
            _ => policy.timeout,
        };
        Some(after(self.earliest(i)?, limit))
    }

    /// Whether input `i` is the first word of a connection that waits from now on at a closed gate.
    fn is_new_connection(&self, i: usize) -> bool {
        match self.event(i) {
            Some(Event::Parked { socket, .. }) if i > 0 && self.is_closed(i) => {
                !self.reset_before(i).contains(&socket)
                    && self.waiting_before(i).iter().all(|&(_, other)| other != socket)
            }
            _ => false,
        }
    }

    /// What input `i` makes of the gate, if something else; `open` is the question that it answers.
    fn turn(&self, i: usize, open: Option<usize>) -> Option<Phase> {
        if i == 0 {
            return None;
        }
        match self.phase(i) {
            Phase::Closed { .. } => self.opens(i, open).map(Phase::Open),
            Phase::Open(reason) => {
                let terminating = (0..i).any(|k| matches!(self.event(k), Some(Event::Terminating { .. })));
                let declined = reason == Reason::NotEnrolled;
                let ready = [Reason::Ready, Reason::Listening, Reason::KubeletReady].contains(&reason);
                match self.event(i) {
                    Some(Event::Declined { .. }) if !declined => Some(Phase::Open(Reason::NotEnrolled)),
                    Some(Event::Enrolled { .. }) if declined && !terminating => Some(Phase::Closed { again: false }),
                    Some(Event::Resumed { reason, .. }) if declined && !terminating => Some(Phase::Open(reason)),
                    Some(Event::Renewed { .. }) if !declined && !terminating => Some(Phase::Closed { again: false }),
                    Some(Event::Restarted { .. })
                        if [Reason::Timeout, Reason::Listening].contains(&reason) && !terminating =>
                    {
                        Some(Phase::Closed { again: false })
                    }
                    Some(Event::Silent { .. }) if ready && !terminating => {
                        self.policy(i)?.regate.map(|_| Phase::Closed { again: true })
                    }
                    _ => None,
                }
            }
        }
    }

    /// Why input `i` opens a closed gate.
    fn opens(&self, i: usize, open: Option<usize>) -> Option<Reason> {
        match self.event(i) {
            None => self.timeout(i).is_some_and(|at| at <= self.inputs[i].0).then_some(Reason::Timeout),
            Some(Event::Override { .. }) => Some(Reason::Operator),
            Some(Event::Terminating { .. }) => Some(Reason::Terminating),
            Some(Event::Declined { .. }) => Some(Reason::NotEnrolled),
            Some(Event::Probed { .. }) if open.is_some_and(|at| self.is_void(i, &self.questions[at])) => None,
            Some(Event::Probed { answer: Answer::Ready, .. }) => Some(Reason::Ready),
            Some(Event::Probed { answer: Answer::Listening, .. }) if self.listener_is_enough(i) => {
                Some(Reason::Listening)
            }
            Some(Event::Probed { answer: Answer::Listening, .. }) => self.is_vouched(i).then_some(Reason::KubeletReady),
            _ => None,
        }
    }

    fn changes_policy(&self, i: usize) -> bool {
        i > 0 && self.is_closed(i) && self.policy(i) != self.policy(i - 1)
    }

    fn closes(&self, i: usize) -> bool {
        self.turns.iter().any(|&(at, phase)| at == i && matches!(phase, Phase::Closed { .. }))
    }

    /// News that is worth a question at once, if the gate stays closed.
    fn is_urgent(&self, i: usize) -> bool {
        let news = match self.event(i) {
            Some(Event::Listening { .. }) => true,
            Some(Event::Vouched { ready, .. }) => ready && !self.is_vouched(i),
            Some(Event::Renewed { .. }) => true,
            _ => false,
        };
        i > 0 && self.is_closed(i) && (news || self.changes_policy(i))
    }

    /// Whether there was news between `question` and its answer, input `i`.
    fn is_outdated(&self, i: usize, question: &Question) -> bool {
        (question.asked + 1..i).any(|k| self.is_urgent(k) || self.closes(k))
    }

    /// Whether input `i` answers what nobody wants to know any longer.
    fn is_void(&self, i: usize, question: &Question) -> bool {
        (question.asked + 1..i).any(|k| self.changes_policy(k) || self.closes(k) || self.is_renewed(k))
    }

    /// Whether the workload begins anew at input `k`.
    fn is_renewed(&self, k: usize) -> bool {
        matches!(self.event(k), Some(Event::Renewed { .. }))
    }

    /// Whether input `i` makes `question` one for a listener.
    fn goes_on(&self, i: usize, question: &Question) -> bool {
        matches!(self.event(i), Some(Event::Probed { answer: Answer::Unanswered, .. }))
            && self.is_vouched(i)
            && !self.listener_is_enough(i)
            && !question.turned
            && !self.is_void(i, question)
    }

    /// When a closed gate is asked next, as things are just before input `i`; `None` while it is being asked.
    fn due(&self, i: usize) -> Option<MonoTime> {
        if !self.is_closed(i) || self.questions.iter().any(|question| question.answered.is_none()) {
            return None;
        }
        let refused = |question: &Question| {
            let answered = question.answered?;
            (self.is_closed(answered) && !self.is_outdated(answered, question)).then_some(answered)
        };
        let last = self.questions.iter().rev().find_map(refused)?;
        let is_news = |&k: &usize| self.is_urgent(k) || self.closes(k) || self.is_new_connection(k);
        let news = (0..last).rev().find(is_news).unwrap_or(0);
        let failures = self.questions.iter().filter_map(refused).filter(|&at| news < at && at < last).count();
        let backoff = if self.waiting_before(last).is_empty() { IDLE_PROBE } else { PROBE };
        let joined = (last + 1..i).filter(|&k| self.is_new_connection(k));
        let soon = joined.map(|k| after(self.inputs[k].0, PROBE.delay(0)));
        soon.chain([after(self.inputs[last].0, backoff.delay(count(failures)))]).min()
    }

    /// The SYNs under way since the gate was opened, and what was sent at the last input.
    fn replays(&self, opening: usize, window: usize) -> (Vec<Line>, BTreeSet<SocketCookie>) {
        let line = |socket| Line { socket, sends: Vec::new() };
        let was_closed = opening > 0 && self.is_closed(opening);
        let waiting = if was_closed { self.waiting_before(opening) } else { Vec::new() };
        let reset = self.reset_before(opening + 1);
        let sockets = waiting.into_iter().map(|(_, socket)| socket);
        let mut lines: Vec<Line> = sockets.filter(|socket| !reset.contains(socket)).map(line).collect();
        let mut replayed = BTreeSet::new();
        for i in opening..self.inputs.len() {
            replayed.clear();
            match self.event(i) {
                Some(Event::Parked { socket, .. })
                    if !self.reset_before(i).contains(&socket) && lines.iter().all(|line| line.socket != socket) =>
                {
                    lines.push(line(socket));
                }
                Some(Event::Ended { socket, .. }) => lines.retain(|line| line.socket != socket),
                Some(Event::Enrolled { .. } | Event::Resumed { .. }) => continue,
                _ => {}
            }
            let now = self.inputs[i].0;
            let gone = after(now, SENDING * count(lines.len().min(window)));
            let is_due = |line: &Line| line.due().is_some_and(|due| due <= now);
            lines.retain(|line| !(is_due(line) && count(line.sends.len()) > RESENDS));
            for line in lines.iter_mut().filter(|line| is_due(line)) {
                line.sends.push(gone);
                replayed.insert(line.socket);
            }
            let free = window.saturating_sub(lines.iter().filter(|line| !line.sends.is_empty()).count());
            let unsent = lines.iter().filter(|line| line.sends.is_empty()).count();
            let may = if free >= unsent || 2 * free >= window { free } else { 0 };
            for line in lines.iter_mut().filter(|line| line.sends.is_empty()).take(may) {
                line.sends.push(gone);
                replayed.insert(line.socket);
            }
        }
        (lines, replayed)
    }
}
