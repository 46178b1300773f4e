//! Whether the story is true: the order of events in each case. No timing but one, wide enough for any machine.
//!
//! Knows nothing of how the cases were made. What must come before or after Envoy's readiness is compared with the control
//! plane's answer, whose time is exact: two threads of which the second is woken first prove nothing.

use crate::{
    case::{Case, End, Gate},
    remedy::Remedy,
};

/// A held connection that completes later than this after Envoy was ready was not released, it was lucky.
const AT_ONCE: f64 = 1.0;

/// Where the story is not true, the first thing in each case; empty when it is.
pub(crate) fn broken(cases: &[Case]) -> Vec<String> {
    cases.iter().filter_map(broken_in).collect()
}

fn broken_in(case: &Case) -> Option<String> {
    let connected = matches!(case.end, End::Connected(_));
    let early = case.is_early();
    let expected = match case.remedy {
        Remedy::Nothing => vec![
            (early, "it called connect() only after Envoy was ready: give Envoy a longer --delay"),
            // A resolver asks again, but seconds later, and for some seconds only.
            (!connected || is_late_by_name(case), "it was connected although Envoy was not ready"),
            (connected || case.exit != Some(0), "it succeeded although it was refused"),
        ],
        Remedy::WaitLoop => vec![
            (case.started >= case.answered, "it was started before Envoy was ready"),
            (connected && case.exit == Some(0), "it was not connected"),
            (is_greeted(case), "it did not reach its destination"),
        ],
        Remedy::Conngate => {
            let gate = case.gate.as_ref();
            vec![
                (early, "it called connect() only after Envoy was ready: give Envoy a longer --delay"),
                (connected && case.exit == Some(0), "it was not connected"),
                (is_greeted(case), "it did not reach its destination"),
                (gate.is_some_and(|gate| is_all_held(case, gate)), "conngate did not hold what it sent first"),
                (gate.and_then(|gate| gate.opened.as_deref()) == Some("ready"), "the gate was not opened by readiness"),
                (case.ended() >= case.answered, "it was connected before Envoy was ready"),
                (case.ended() <= case.ready + AT_ONCE, "it was connected more than 1 s after Envoy was ready"),
            ]
        }
    };
    let (_, otherwise) = expected.into_iter().find(|(is_true, _)| !is_true)?;
    Some(format!("{}, {}: {otherwise}", case.application, case.remedy))
}

/// What the upstream was reached at is what the application connected to.
fn is_greeted(case: &Case) -> bool {
    case.greeting.as_deref() == Some(&case.application.reaches())
}

fn is_late_by_name(case: &Case) -> bool {
    case.application.is_by_name() && case.after_ready().is_some_and(|after| after > AT_ONCE)
}

/// Its one connection, or the queries before it: by IPv4 and IPv6, and perhaps again.
fn is_all_held(case: &Case, gate: &Gate) -> bool {
    if case.application.is_by_name() { gate.held != 0 } else { gate.held == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::Application;

    fn held() -> Case {
        Case {
            application: Application::Shell,
            remedy: Remedy::Conngate,
            answered: 3.19,
            ready: 3.2,
            resolution: 0.001,
            started: 0.0,
            connecting: 0.01,
            end: End::Connected(3.2005),
            exit: Some(0),
            greeting: Some("198.51.100.10:80".into()),
            gate: Some(Gate { held: 1, held_seconds: 3.19, opened: Some("ready".into()) }),
        }
    }

    #[test]
    fn broken_held_and_released_at_ready_is_the_story() {
        assert_eq!(broken(&[held()]), Vec::<String>::new());
        let seen_before_the_oracle = Case { end: End::Connected(3.1995), ..held() };
        assert_eq!(broken(&[seen_before_the_oracle]), Vec::<String>::new());
    }

    #[test]
    fn broken_conngate_refused_late_or_early_is_named() {
        let cases = [
            Case { end: End::Refused(0.02), exit: Some(1), greeting: None, ..held() },
            Case { end: End::Connected(4.3), ..held() },
            Case { end: End::Connected(3.0), ..held() },
            Case { connecting: 3.3, ..held() },
            Case { gate: None, ..held() },
            Case { greeting: Some("127.0.0.1:15001".into()), ..held() },
        ];
        for case in cases {
            let broken = broken(std::slice::from_ref(&case));
            assert!(!broken.is_empty() && broken[0].starts_with("bash, conngate run: "), "{case:?}: {broken:?}");
        }
    }

    #[test]
    fn broken_nobody_was_refused_without_conngate_is_named() {
        let refused = Case { remedy: Remedy::Nothing, end: End::Refused(0.01), exit: Some(1), gate: None, ..held() };
        assert_eq!(broken(std::slice::from_ref(&refused)), Vec::<String>::new());
        for case in [Case { exit: Some(0), ..refused.clone() }, Case { end: End::Connected(0.01), ..refused }] {
            assert_eq!(broken(&[case]).len(), 1);
        }
    }

    #[test]
    fn broken_wait_loop_that_did_not_wait_is_named() {
        let waited = Case {
            remedy: Remedy::WaitLoop,
            started: 4.0,
            connecting: 4.1,
            end: End::Connected(4.2),
            gate: None,
            ..held()
        };
        assert_eq!(broken(std::slice::from_ref(&waited)), Vec::<String>::new());
        assert_eq!(broken(&[Case { started: 0.5, ..waited }]).len(), 1);
    }
}
