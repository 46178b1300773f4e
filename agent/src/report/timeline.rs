//! One life of a gate on a time axis: a bar for each listed connection, marks for what happened to the gate.
//!
//! Knows nothing of HTML. Moments are seconds from the gate's closing; places are hundredths of the axis.
//!
//! Invariants: connections and the opening lie on the axis, whatever the clock did, and so does the closing, unless
//! nothing happens for long after it; no bar ends before it begins; a listener that would squeeze the rest is put at
//! the axis' end, and its mark says so.

use super::{axis::Axis, words::Tone};
use crate::view::{
    Time,
    report::{Life, Span},
};

/// When the first thing of a life that held something happens in the last tenth of an axis from 0, the axis begins
/// shortly before it instead.
const LATE: f64 = 0.9;

/// How much longer the axis may become for a moment that it need not show.
const STRETCH: f64 = 2.0;

/// A life, drawn.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    pub(super) axis: Axis,
    /// Where the gate was closed: from, to.
    pub(super) closed: (f64, f64),
    pub(super) marks: Vec<Mark>,
    /// One for each listed connection, in their order.
    pub(super) bars: Vec<Bar>,
}

/// Something that happened to the gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mark {
    pub(super) what: What,
    /// Seconds.
    pub(super) at: f64,
    pub(super) x: f64,
    /// Whether it lies on the axis.
    pub(super) lies: Lies,
}

/// What a mark marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Somebody listens on a capture port.
    Listening,
    /// The gate was opened.
    Opened,
    /// The pod ended with its gate closed.
    Gone,
}

impl What {
    /// Its class in the style sheet, in a life that went as `tone` says.
    pub(super) const fn class(self, tone: Tone) -> &'static str {
        match self {
            Self::Listening => "listening",
            Self::Opened => tone.class(),
            Self::Gone => "gone",
        }
    }
}

/// Where a moment is, seen from the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lies {
    On,
    Before,
    Behind,
}

/// A held connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bar {
    /// The first drop, in seconds.
    pub(super) since: f64,
    /// How long it was held, in seconds: so far, where its end is open. Negative: the clock was set.
    pub(super) held: f64,
    pub(super) from: f64,
    pub(super) to: f64,
    /// It has no end.
    pub(super) open: bool,
}

impl Timeline {
    /// The life `life` in a report made at `made`.
    pub(super) fn of(life: &Life, made: Time) -> Self {
        let at = |time: Time| seconds(life.closed, time);
        let now = at(life.gone.unwrap_or(made));
        let listening = life.listening.map(at);
        let opened = life.opened.map(at);
        let gone = life.gone.filter(|_| life.opened.is_none()).map(at);
        let spans = life.connections.iter().map(|span| (at(span.connection.since), span.ended.map(at)));

        let mut range = Range::default();
        spans.clone().flat_map(|(since, ended)| [Some(since), ended]).flatten().for_each(|at| range.include(at));
        opened.into_iter().chain(gone).for_each(|at| range.include(at));
        let waits = spans.clone().any(|(_, ended)| ended.is_none());
        let closed_now = opened.is_none() && gone.is_none();
        if closed_now && (waits || range.is_point()) {
            range.include(now);
        } else if closed_now || waits {
            range.include_near(now);
        }
        if let Some(listening) = listening {
            range.include_near(listening);
        }
        let first = spans.clone().map(|(since, _)| since).chain(listening).chain(opened).chain(gone);
        let first = first.filter(|&at| !life.connections.is_empty() && range.has(at)).reduce(f64::min);
        let axis = range.axis(first);

        let marks = [(What::Listening, listening), (What::Opened, opened), (What::Gone, gone)];
        Self {
            axis,
            closed: (axis.x(0.0), axis.x(opened.or(gone).unwrap_or(f64::MAX).max(0.0))),
            marks: marks.into_iter().filter_map(|(what, at)| Some(mark(&axis, range, what, at?))).collect(),
            bars: spans.map(|(since, ended)| bar(&axis, since, ended, now)).collect(),
        }
    }
}

/// How long `span` was held, in seconds, until `now` where its end is not known.
pub(super) fn held(span: &Span, now: Time) -> f64 {
    seconds(span.connection.since, span.ended.unwrap_or(now))
}

/// From `from` to `to`, in seconds; negative when `to` lies before.
pub(super) fn seconds(from: Time, to: Time) -> f64 {
    match to.0.duration_since(from.0) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

fn mark(axis: &Axis, range: Range, what: What, at: f64) -> Mark {
    let lies = if at < axis.from() {
        Lies::Before
    } else if at > range.to {
        Lies::Behind
    } else {
        Lies::On
    };
    Mark { what, at, x: axis.x(at), lies }
}

fn bar(axis: &Axis, since: f64, ended: Option<f64>, now: f64) -> Bar {
    let end = ended.unwrap_or(now);
    let from = axis.x(since);
    Bar { since, held: end - since, from, to: axis.x(end).max(from), open: ended.is_none() }
}

/// What the axis has to show: the closing, at 0, and what is included.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    from: f64,
    to: f64,
}

impl Range {
    fn include(&mut self, at: f64) {
        self.from = self.from.min(at);
        self.to = self.to.max(at);
    }

    /// Includes `at` unless that makes much of what is there already, however short that is, much smaller.
    fn include_near(&mut self, at: f64) {
        let mut wider = *self;
        wider.include(at);
        if wider.to - wider.from <= STRETCH * (self.to - self.from) {
            *self = wider;
        }
    }

    fn has(self, at: f64) -> bool {
        (self.from..=self.to).contains(&at)
    }

    fn is_point(self) -> bool {
        self.from >= self.to
    }

    /// The axis, when `first` is the first thing that happens after the closing.
    fn axis(self, first: Option<f64>) -> Axis {
        match first {
            Some(first) if self.from >= 0.0 && first > LATE * self.to && first < self.to => {
                Axis::new((first - (self.to - first) / 4.0).max(0.0), self.to)
            }
            Some(_) | None => Axis::new(self.from, self.to),
        }
    }
}

#[cfg(test)]
mod tests;
