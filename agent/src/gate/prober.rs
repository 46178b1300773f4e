//! When to ask whether a gate may open: at once where there is news, otherwise ever more rarely.
//!
//! Knows nothing of what is asked, or of the answer "yes": then there is no prober any more.
//!
//! Invariant: at most one question is open. The methods that return a bool are the only ones that open one: true means
//! "ask now".

use conngate_common::id::MonoTime;

use super::backoff::{PROBE, after};

/// The questions about one closed gate.
#[derive(Debug)]
pub(super) struct Prober {
    /// Answers "no" since the last news.
    failures: u32,
    next: Next,
}

#[derive(Debug)]
enum Next {
    /// The question is open; `again`: its answer may be older than the news, ask once more.
    Answer { again: bool },
    /// Ask at this time.
    At(MonoTime),
}

impl Prober {
    /// A prober whose first question has just been asked.
    pub(super) const fn asked() -> Self {
        Self { failures: 0, next: Next::Answer { again: false } }
    }

    /// Something has changed that may have changed the answer.
    #[must_use]
    pub(super) fn ask_at_once(&mut self) -> bool {
        self.failures = 0;
        let ask = matches!(self.next, Next::At(_));
        self.next = Next::Answer { again: !ask };
        ask
    }

    /// Somebody has begun to wait: worth asking soon, not worth a question each.
    pub(super) fn ask_soon(&mut self, now: MonoTime) {
        self.failures = 0;
        if let Next::At(at) = &mut self.next {
            *at = after(now, PROBE.delay(0)).min(*at);
        }
    }

    /// The answer is "no". Without an open question it is an echo, and says nothing.
    #[must_use]
    pub(super) fn failed(&mut self, now: MonoTime) -> bool {
        let Next::Answer { again } = self.next else { return false };
        if again {
            self.next = Next::Answer { again: false };
        } else {
            self.next = Next::At(after(now, PROBE.delay(self.failures)));
            self.failures = self.failures.saturating_add(1);
        }
        again
    }

    /// Time has passed.
    #[must_use]
    pub(super) fn tick(&mut self, now: MonoTime) -> bool {
        let due = self.deadline().is_some_and(|at| at <= now);
        if due {
            self.next = Next::Answer { again: false };
        }
        due
    }

    /// When to ask next; `None` while a question is open.
    pub(super) const fn deadline(&self) -> Option<MonoTime> {
        match self.next {
            Next::Answer { .. } => None,
            Next::At(at) => Some(at),
        }
    }
}
