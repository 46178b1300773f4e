//! When to ask whether a gate may open: at once where there is news, otherwise ever more rarely.
//!
//! Knows nothing of what is asked, or of whether the gate is closed: of an open one nobody asks for the deadline.
//!
//! Invariant: at most one question is open, also across openings and closings. The methods that return a bool are the
//! only ones that open one: true means "ask now".

use conngate_common::id::MonoTime;

use crate::backoff::{Backoff, PROBE, after};

/// The questions about one gate.
#[derive(Debug)]
pub(super) struct Prober {
    /// Answers "no" since the last news.
    failures: u32,
    /// The open question.
    question: Option<Question>,
    /// When to ask next, while no question is open.
    at: MonoTime,
}

/// A question that was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    /// What its answer is still worth.
    pub(super) worth: Worth,
    /// Nobody answered, and the kernel was asked for a listener instead.
    pub(super) turned: bool,
}

/// What an answer is worth, by what happened since the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// It counts.
    All,
    /// There was news: a "yes" counts, a "no" may be older.
    OnlyYes,
    /// The gate was closed or got another policy: it answers something else.
    Nothing,
}

impl Prober {
    /// A prober that was asked nothing yet.
    pub(super) const fn new() -> Self {
        Self { failures: 0, question: None, at: MonoTime(0) }
    }

    /// Something has changed that may have changed the answer; an open question's answer is worth `worth` at most.
    #[must_use]
    pub(super) fn ask_at_once(&mut self, worth: Worth) -> bool {
        self.failures = 0;
        match &mut self.question {
            Some(question) => {
                question.worth = question.worth.max(worth);
                false
            }
            None => self.ask(),
        }
    }

    /// Somebody has begun to wait: worth asking soon, not worth a question each.
    pub(super) fn ask_soon(&mut self, now: MonoTime) {
        self.failures = 0;
        self.at = after(now, PROBE.delay(0)).min(self.at);
    }

    /// An answer has come: to this question, which is not open any more.
    pub(super) const fn answered(&mut self) -> Option<Question> {
        self.question.take()
    }

    /// `question` is not settled yet: a listener is looked for.
    pub(super) const fn turn(&mut self, question: Question) {
        self.question = Some(Question { turned: true, ..question });
    }

    /// The answer to `question` was "no", or worth nothing: asks again, now or as late as `backoff` says.
    #[must_use]
    pub(super) fn failed(&mut self, question: Question, now: MonoTime, backoff: Backoff) -> bool {
        if question.worth != Worth::All {
            return self.ask();
        }
        self.at = after(now, backoff.delay(self.failures));
        self.failures = self.failures.saturating_add(1);
        false
    }

    /// Time has passed.
    #[must_use]
    pub(super) fn tick(&mut self, now: MonoTime) -> bool {
        self.deadline().is_some_and(|at| at <= now) && self.ask()
    }

    /// When to ask next; `None` while a question is open.
    pub(super) const fn deadline(&self) -> Option<MonoTime> {
        if self.question.is_some() { None } else { Some(self.at) }
    }

    const fn ask(&mut self) -> bool {
        self.question = Some(Question { worth: Worth::All, turned: false });
        true
    }
}
