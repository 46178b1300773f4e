//! A case as a lane of the timeline: its spans, and the axis that all lanes share.
//!
//! Knows nothing of characters or pixels. Every case has an Envoy of its own, so lanes are stretched, by a few percent
//! before ready and not at all after it, until all of them are ready at the same place: the mean.

use super::case::Case;

/// What a span of a lane shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The remedy has not started the application yet.
    NotStarted,
    /// The application is started and has not called connect() yet.
    Starting,
    /// The application is inside connect().
    Connecting,
}

/// A part of a lane, in seconds on the axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) kind: Kind,
    pub(super) from: f64,
    pub(super) to: f64,
}

/// The time axis, in seconds from Envoy's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) ready: f64,
    /// Where it ends: all cases have ended before.
    pub(super) end: f64,
}

impl Axis {
    /// The axis on which all of `cases` have room, of which there is at least one.
    pub(super) fn of(cases: &[Case]) -> Self {
        let count = f64::from(u32::try_from(cases.len()).unwrap_or(u32::MAX));
        let ready = cases.iter().map(|case| case.ready).sum::<f64>() / count.max(1.0);
        let last = cases.iter().map(|case| case.ended() - case.ready + ready).fold(ready, f64::max);
        Self { ready, end: last + 0.2 }
    }

    /// Where `at`, a time of `case`, is on the axis.
    pub(super) fn place(&self, case: &Case, at: f64) -> f64 {
        if at < case.ready { at / case.ready * self.ready } else { at - case.ready + self.ready }
    }

    /// The spans of `case`, in order.
    pub(super) fn spans(&self, case: &Case) -> [Span; 3] {
        let span = |kind, from, to| Span { kind, from: self.place(case, from), to: self.place(case, to) };
        [
            span(Kind::NotStarted, 0.0, case.started),
            span(Kind::Starting, case.started, case.connecting),
            span(Kind::Connecting, case.connecting, case.ended()),
        ]
    }

    /// Whole seconds on the axis, at most some ten of them.
    pub(super) fn ticks(&self) -> impl Iterator<Item = u32> {
        let end = self.end;
        let step = [1_u32, 2, 5, 10].into_iter().find(|step| end / f64::from(*step) <= 10.0).unwrap_or(20);
        (0..).map(move |tick| tick * step).take_while(move |tick| f64::from(*tick) <= end)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::demo::{application::Application, case::End, remedy::Remedy};

    /// A case whose Envoy was ready at `ready` and that was connected 0.5 s later, all of it inside connect().
    pub(crate) fn connected(ready: f64) -> Case {
        Case {
            application: Application::Shell,
            remedy: Remedy::Conngate,
            answered: ready - 0.005,
            ready,
            resolution: 0.001,
            started: 0.0,
            connecting: 0.0,
            end: End::Connected(ready + 0.5),
            exit: Some(0),
            greeting: None,
            gate: None,
        }
    }

    #[test]
    fn place_cases_with_other_envoys_begin_and_are_ready_together() {
        let cases = [connected(3.0), connected(3.2)];
        let axis = Axis::of(&cases);
        assert!((axis.ready - 3.1).abs() < 1e-9);
        for case in &cases {
            assert!(axis.place(case, 0.0).abs() < 1e-9);
            assert!((axis.place(case, case.ready) - 3.1).abs() < 1e-9);
            assert!((axis.place(case, case.ended()) - 3.6).abs() < 1e-9);
            assert!(axis.place(case, case.ended()) < axis.end);
        }
    }

    #[test]
    fn ticks_long_delay_stays_readable() {
        assert_eq!(Axis { ready: 3.0, end: 4.2 }.ticks().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(Axis { ready: 30.0, end: 32.0 }.ticks().last(), Some(30));
    }
}
