//! The laws of the verdict, for any input: whatever is in the maps, and whenever it is asked.

use conngate_common::{
    gate::{CapturePorts, ContainerClass, GateEntry, GateState, MAX_EXEMPT_UIDS, Mode, NO_UID},
    id::MonoTime,
    reason::Reason,
    verdict::{Attempt, Verdict, judge, judge_datagram},
};
use proptest::prelude::*;

/// A known code in most cases, and any other.
fn code<T: Copy + std::fmt::Debug>(known: &'static [T], code: fn(T) -> u32) -> impl Strategy<Value = u32> {
    prop_oneof![9 => prop::sample::select(known).prop_map(code), 1 => any::<u32>()]
}

/// Durations and times that meet each other often, and any other.
fn nanos() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..8u64, 1 => any::<u64>()]
}

prop_compose! {
    fn entry()(
        cap_ns in nanos(),
        state in code(GateState::ALL, GateState::code),
        mode in code(Mode::ALL, Mode::code),
        reason in code(Reason::ALL, Reason::code),
        default_class in code(ContainerClass::ALL, ContainerClass::code),
    ) -> GateEntry {
        let exempt_uids = [NO_UID; MAX_EXEMPT_UIDS];
        GateEntry { cap_ns, closed_at: MonoTime(0), state, mode, reason, default_class, exempt_uids, capture_ports: CapturePorts::default(), datagram_ports: CapturePorts::default() }
    }
}

#[derive(Clone, Debug)]
struct Input {
    gate: Option<GateEntry>,
    container: ContainerClass,
    now: MonoTime,
    first_drop: Option<MonoTime>,
    listener: bool,
    agent_fresh: bool,
    agent_silent_ns: u64,
    grace_ns: u64,
}

prop_compose! {
    fn input()(
        gate in prop::option::weighted(0.9, entry()),
        container in prop::sample::select(ContainerClass::ALL),
        now in nanos().prop_map(MonoTime),
        first_drop in prop::option::weighted(0.8, nanos().prop_map(MonoTime)),
        listener: bool,
        agent_fresh: bool,
        agent_silent_ns in nanos(),
        grace_ns in nanos(),
    ) -> Input {
        Input { gate, container, now, first_drop, listener, agent_fresh, agent_silent_ns, grace_ns }
    }
}

impl Input {
    fn judge(&self) -> Verdict {
        let Self { ref gate, container, now, first_drop, listener, agent_fresh, agent_silent_ns, grace_ns } = *self;
        let gate = gate.as_ref();
        judge(&Attempt { gate, container, now, first_drop, listener, agent_fresh, agent_silent_ns, grace_ns })
    }

    fn judge_datagram(&self) -> Verdict {
        let Self { ref gate, container, now, first_drop, listener, agent_fresh, agent_silent_ns, grace_ns } = *self;
        let gate = gate.as_ref();
        judge_datagram(&Attempt { gate, container, now, first_drop, listener, agent_fresh, agent_silent_ns, grace_ns })
    }

    /// How long the socket has been held.
    fn age(&self) -> u64 {
        self.first_drop.map_or(0, |first_drop| self.now.0.saturating_sub(first_drop.0))
    }

    fn state(&self) -> Option<GateState> {
        self.gate.and_then(|gate| GateState::try_from(gate.state).ok())
    }

    /// The agent has been away for as long as a hold may last, and this socket was never held.
    fn is_too_late(&self) -> bool {
        let gone = |gate: GateEntry| !self.agent_fresh && self.agent_silent_ns >= gate.cap_ns;
        self.first_drop.is_none() && self.state() == Some(GateState::Holding) && self.gate.is_some_and(gone)
    }

    fn mode(&self) -> Option<Mode> {
        self.gate.and_then(|gate| Mode::try_from(gate.mode).ok())
    }

    /// The agent has not said what the pod or its container is.
    fn is_unclassified(&self) -> bool {
        match self.state() {
            None => self.gate.is_none(),
            Some(GateState::Unknown) => true,
            Some(GateState::Holding) => self.container == ContainerClass::Unknown,
            Some(GateState::Open | GateState::NotEnrolled) => false,
        }
    }
}

fn is_held(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Hold(_))
}

/// A gate that holds an application container's connection for one second more, unless `change` says otherwise.
fn held(change: impl FnOnce(&mut Input, &mut GateEntry)) -> Verdict {
    let mut gate = GateEntry {
        cap_ns: 2_000_000_000,
        closed_at: MonoTime(0),
        state: GateState::Holding.code(),
        mode: Mode::Hold.code(),
        reason: Reason::NotReady.code(),
        default_class: ContainerClass::Gated.code(),
        exempt_uids: [NO_UID; MAX_EXEMPT_UIDS],
        capture_ports: CapturePorts::default(),
        datagram_ports: CapturePorts::default(),
    };
    let mut input = Input {
        gate: None,
        container: ContainerClass::Gated,
        now: MonoTime(5_000_000_000),
        first_drop: Some(MonoTime(4_000_000_000)),
        listener: false,
        agent_fresh: true,
        agent_silent_ns: 0,
        grace_ns: 2_000_000_000,
    };
    change(&mut input, &mut gate);
    input.gate = Some(gate);
    input.judge()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn datagram_is_judged_as_a_syn_but_at_an_open_gate_while_nobody_is_bound(input in input()) {
        let verdict = input.judge_datagram();
        if input.state() != Some(GateState::Open) || input.listener || input.container == ContainerClass::Exempt {
            prop_assert!(verdict == input.judge() || verdict == Verdict::Pass(Reason::Listening));
        }
        if is_held(verdict) && input.state() == Some(GateState::Open) {
            let cap = input.gate.unwrap().cap_ns;
            prop_assert!(!input.listener && input.mode() != Some(Mode::Observe));
            prop_assert!(input.age() < cap && input.agent_silent_ns < cap, "it ends without the agent");
        }
    }

    #[test]
    fn any_input_has_a_verdict_whose_reason_fits(input in input()) {
        // `judge` is total: it returns, and what it returns makes sense.
        match input.judge() {
            Verdict::Hold(reason) | Verdict::WouldHold(reason) => {
                prop_assert!(reason.holds(), "metrics look for it among the reasons to hold");
                if reason != Reason::Unclassified {
                    prop_assert_eq!(input.listener, reason == Reason::NotReady);
                }
            }
            Verdict::Pass(Reason::AgentStale) if input.state() != Some(GateState::Open) => {
                prop_assert!(!input.agent_fresh);
            }
            Verdict::Pass(Reason::Listening) if input.state() != Some(GateState::Open) => {
                prop_assert!(input.listener);
            }
            Verdict::Pass(reason) if input.state() != Some(GateState::Open) => prop_assert!(!reason.holds()),
            // As the agent has written it.
            Verdict::Pass(_) => {}
        }
    }

    #[test]
    fn past_the_cap_is_never_held(input in input()) {
        if input.state() == Some(GateState::Holding) && input.gate.is_some_and(|gate| input.age() >= gate.cap_ns) {
            prop_assert!(matches!(input.judge(), Verdict::Pass(_)));
        }
    }

    #[test]
    fn stale_agent_with_a_listener_never_holds(input in input()) {
        let input = Input { listener: true, agent_fresh: false, ..input };
        prop_assert!(!is_held(input.judge()));
    }

    #[test]
    fn agent_gone_for_the_cap_holds_nothing_that_was_never_held(input in input()) {
        if input.is_too_late() {
            prop_assert!(matches!(input.judge(), Verdict::Pass(_)));
        }
    }

    #[test]
    fn agent_gone_changes_nothing_for_what_is_held(input in input(), silent in nanos()) {
        if input.first_drop.is_some() {
            let silent = Input { agent_silent_ns: silent, ..input.clone() };
            prop_assert_eq!(silent.judge(), input.judge());
        }
    }

    #[test]
    fn open_gate_passes_for_its_reason(input in input()) {
        if input.state() == Some(GateState::Open) && input.container != ContainerClass::Exempt {
            let reason = input.gate.and_then(|gate| Reason::try_from(gate.reason).ok());
            prop_assert_eq!(input.judge(), Verdict::Pass(reason.unwrap_or(Reason::Invalid)));
        }
    }

    #[test]
    fn not_enrolled_passes(input in input()) {
        if input.state() == Some(GateState::NotEnrolled) && input.container != ContainerClass::Exempt {
            prop_assert_eq!(input.judge(), Verdict::Pass(Reason::NotEnrolled));
        }
    }

    #[test]
    fn observe_never_drops(input in input()) {
        if input.state() == Some(GateState::Holding) && input.mode() == Some(Mode::Observe) {
            prop_assert!(!is_held(input.judge()));
        }
    }

    #[test]
    fn observe_tells_what_hold_would_have_done(input in input()) {
        let in_mode = |mode: Mode| {
            let gate = input.gate.map(|gate| GateEntry { mode: mode.code(), ..gate });
            Input { gate, ..input.clone() }.judge()
        };
        if input.state() == Some(GateState::Holding) && input.agent_fresh {
            let expected = match in_mode(Mode::Hold) {
                Verdict::Hold(reason) => Verdict::WouldHold(reason),
                other @ (Verdict::Pass(_) | Verdict::WouldHold(_)) => other,
            };
            prop_assert_eq!(in_mode(Mode::Observe), expected);
        }
    }

    #[test]
    fn only_observe_would_hold(input in input()) {
        if let Verdict::WouldHold(_) = input.judge() {
            prop_assert_eq!((input.state(), input.mode()), (Some(GateState::Holding), Some(Mode::Observe)));
        }
    }

    #[test]
    fn exempt_is_never_held(input in input()) {
        let input = Input { container: ContainerClass::Exempt, ..input };
        prop_assert_eq!(input.judge(), Verdict::Pass(Reason::Exempt));
    }

    #[test]
    fn unknown_code_passes(input in input()) {
        let bad_state = input.gate.is_some() && input.state().is_none();
        let bad_mode = input.state() == Some(GateState::Holding) && input.mode().is_none();
        if bad_state || bad_mode {
            prop_assert!(matches!(input.judge(), Verdict::Pass(_)));
        }
    }

    #[test]
    fn unclassified_past_the_grace_is_never_held(input in input()) {
        if input.is_unclassified() && input.age() >= input.grace_ns {
            prop_assert!(matches!(input.judge(), Verdict::Pass(_)));
        }
    }

    #[test]
    fn unclassified_with_a_listener_is_held_only_by_a_live_agent_at_a_closed_gate(input in input()) {
        let input = Input { listener: true, ..input };
        if input.is_unclassified() && (!input.agent_fresh || input.state() != Some(GateState::Holding)) {
            prop_assert!(matches!(input.judge(), Verdict::Pass(_)));
        }
    }

    #[test]
    fn retry_with_a_listener_never_holds(input in input()) {
        if input.mode() == Some(Mode::Retry) {
            let input = Input { listener: true, ..input };
            prop_assert!(!is_held(input.judge()));
        }
    }

    #[test]
    fn retry_without_a_listener_holds_before_the_cap(input in input()) {
        if input.state() == Some(GateState::Holding)
            && input.mode() == Some(Mode::Retry)
            && input.container == ContainerClass::Gated
            && !input.listener
            && !input.is_too_late()
            && input.gate.is_some_and(|gate| input.age() < gate.cap_ns)
        {
            prop_assert_eq!(input.judge(), Verdict::Hold(Reason::NoListener));
        }
    }

    #[test]
    fn hold_with_a_fresh_agent_holds_before_the_cap(input in input()) {
        if input.state() == Some(GateState::Holding)
            && input.mode() == Some(Mode::Hold)
            && input.container == ContainerClass::Gated
            && input.agent_fresh
            && input.gate.is_some_and(|gate| input.age() < gate.cap_ns)
        {
            let reason = if input.listener { Reason::NotReady } else { Reason::NoListener };
            prop_assert_eq!(input.judge(), Verdict::Hold(reason));
        }
    }

    #[test]
    fn held_once_passes_in_the_end_whatever_does_not_change(input in input()) {
        // Time alone ends every hold: the longest one is the cap (of a gate) or the grace (of nobody's pod).
        let first_drop = input.first_drop.unwrap_or(input.now);
        let limit = input.gate.map_or(input.grace_ns, |gate| gate.cap_ns.max(input.grace_ns));
        if let Some(end) = first_drop.0.checked_add(limit) {
            let later = Input { now: MonoTime(end), first_drop: Some(first_drop), ..input };
            prop_assert!(!is_held(later.judge()));
        }
    }
}

#[test]
fn hold_one_nanosecond_before_the_cap_is_held_and_at_the_cap_passes() {
    let at = |now| held(|input, _| input.now = MonoTime(now));
    assert_eq!(at(5_999_999_999), Verdict::Hold(Reason::NoListener));
    assert_eq!(at(6_000_000_000), Verdict::Pass(Reason::Timeout));
}

#[test]
fn hold_listener_not_ready_is_held_for_that_reason() {
    assert_eq!(held(|input, _| input.listener = true), Verdict::Hold(Reason::NotReady));
}

#[test]
fn hold_stale_agent_holds_while_nobody_listens() {
    assert_eq!(held(|input, _| input.agent_fresh = false), Verdict::Hold(Reason::NoListener));
}

#[test]
fn hold_stale_agent_holds_a_new_socket_until_it_is_gone_for_the_cap() {
    let new = |silent| {
        held(|input, _| {
            input.first_drop = None;
            input.agent_fresh = false;
            input.agent_silent_ns = silent;
        })
    };
    assert_eq!(new(1_999_999_999), Verdict::Hold(Reason::NoListener));
    assert_eq!(new(2_000_000_000), Verdict::Pass(Reason::AgentStale));
}

#[test]
fn hold_first_drop_ahead_of_now_is_held() {
    // Another CPU's clock may be ahead by a little.
    assert_eq!(held(|input, _| input.now = MonoTime(3_999_999_999)), Verdict::Hold(Reason::NoListener));
}

#[test]
fn hold_cap_zero_never_holds() {
    assert_eq!(held(|_, gate| gate.cap_ns = 0), Verdict::Pass(Reason::Timeout));
    let first = held(|input, gate| {
        gate.cap_ns = 0;
        input.first_drop = None;
    });
    assert_eq!(first, Verdict::Pass(Reason::Timeout));
}

#[test]
fn unclassified_container_waits_for_the_grace_only() {
    let unclassified = |grace_ns| {
        held(|input, _| {
            input.container = ContainerClass::Unknown;
            input.grace_ns = grace_ns;
        })
    };
    assert_eq!(unclassified(1_000_000_001), Verdict::Hold(Reason::Unclassified));
    assert_eq!(unclassified(1_000_000_000), Verdict::Pass(Reason::Timeout));
}

#[test]
fn unclassified_container_of_a_gated_pod_waits_though_somebody_listens_but_not_in_mode_retry() {
    let listens = |mode: Mode| {
        held(|input, gate| {
            input.container = ContainerClass::Unknown;
            input.listener = true;
            gate.mode = mode.code();
        })
    };
    assert_eq!(listens(Mode::Hold), Verdict::Hold(Reason::Unclassified));
    assert_eq!(listens(Mode::Observe), Verdict::WouldHold(Reason::Unclassified));
    assert_eq!(listens(Mode::Retry), Verdict::Pass(Reason::Listening));
}

#[test]
fn unclassified_container_of_a_gated_pod_is_held_by_a_late_agent_too() {
    let late = held(|input, _| {
        input.container = ContainerClass::Unknown;
        input.grace_ns = 1_000_000_001;
        input.agent_fresh = false;
    });
    assert_eq!(late, Verdict::Hold(Reason::Unclassified));
}

#[test]
fn verdict_kind_has_its_word() {
    let words = [Verdict::Pass(Reason::Ready), Verdict::Hold(Reason::Ready), Verdict::WouldHold(Reason::Ready)]
        .map(|verdict| Verdict::KIND_WORDS[verdict.kind() as usize]);
    assert_eq!(words, ["pass", "hold", "would-hold"]);
}
