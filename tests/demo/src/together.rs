//! The cases on one time axis, on which Envoy is ready once.
//!
//! Knows nothing of characters or pixels. Every case has an Envoy of its own: their times are stretched, by a few percent before
//! ready and not at all after it, until all of them are ready at the same time, the mean.

use conngate::report::Axis;

use crate::case::{Case, End};

/// `cases` with such times.
pub(crate) fn together(cases: &[Case]) -> Vec<Case> {
    let count = f64::from(u32::try_from(cases.len()).unwrap_or(u32::MAX));
    let ready = cases.iter().map(|case| case.ready).sum::<f64>() / count.max(1.0);
    cases.iter().map(|case| moved(case, ready)).collect()
}

/// The axis for `cases`, of which one at least is there and all are ready together.
pub(crate) fn axis(cases: &[Case]) -> Axis {
    Axis::new(0.0, cases.iter().map(|case| case.ended().max(case.ready)).fold(0.0, f64::max))
}

fn moved(case: &Case, ready: f64) -> Case {
    let at = |at: f64| if at < case.ready { at / case.ready * ready } else { at - case.ready + ready };
    Case {
        answered: at(case.answered),
        ready,
        started: at(case.started),
        connecting: at(case.connecting),
        end: match case.end {
            End::Connected(ended) => End::Connected(at(ended)),
            End::Refused(ended) => End::Refused(at(ended)),
        },
        ..case.clone()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{application::Application, remedy::Remedy};

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
    fn together_cases_with_other_envoys_begin_and_are_ready_together() {
        for case in together(&[connected(3.0), connected(3.2)]) {
            assert_eq!(case.started, 0.0);
            assert!((case.ready - 3.1).abs() < 1e-9);
            assert!(case.answered < case.ready);
            assert!((case.ended() - 3.6).abs() < 1e-9);
        }
    }
}
