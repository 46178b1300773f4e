//! The verdict on one captured SYN: the rule that the kernel applies is the function that the host tests run.
//!
//! Knows nothing of packets, maps or helpers. Pure and total: every input has a verdict, and every verdict a reason.
//! An input that it does not understand passes.

use crate::{
    gate::{ContainerClass, GateEntry, GateState, Mode},
    id::MonoTime,
    reason::Reason,
};

/// One captured SYN and what is known about it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The pod's gate; `None`: the agent has not said anything about the pod.
    pub gate: Option<&'a GateEntry>,
    /// The container's class, exemption by uid included.
    pub container: ContainerClass,
    /// Now.
    pub now: MonoTime,
    /// When the socket's first SYN was dropped; `None`: this is its first.
    pub first_drop: Option<MonoTime>,
    /// Somebody listens where the packet goes.
    pub listener: bool,
    /// The agent was alive a moment ago.
    pub agent_fresh: bool,
    /// For how long it has said nothing, in nanoseconds.
    pub agent_silent_ns: u64,
    /// The longest that an unclassified pod or container is held, in nanoseconds.
    pub grace_ns: u64,
}

/// What happens to a captured SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a verdict that nobody applies holds nothing"]
pub enum Verdict {
    /// It goes on as if conngate were not there.
    Pass(Reason),
    /// It is dropped; the kernel tries again, the agent may replay it.
    Hold(Reason),
    /// It goes on; in mode hold it would have been dropped.
    WouldHold(Reason),
}

impl Verdict {
    /// How many kinds of verdict there are.
    pub const KINDS: u32 = 3;
    /// Their words, in the order of [`Verdict::kind`].
    pub const KIND_WORDS: [&str; 3] = ["pass", "hold", "would-hold"];

    /// The kind's number.
    #[inline(always)]
    #[must_use]
    pub const fn kind(self) -> u32 {
        match self {
            Self::Pass(_) => 0,
            Self::Hold(_) => 1,
            Self::WouldHold(_) => 2,
        }
    }

    /// Why.
    #[inline(always)]
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Pass(reason) | Self::Hold(reason) | Self::WouldHold(reason) => reason,
        }
    }
}

/// Judges one captured SYN.
#[inline(always)]
pub fn judge(attempt: &Attempt<'_>) -> Verdict {
    if attempt.container as u32 == ContainerClass::Exempt as u32 {
        return Verdict::Pass(Reason::Exempt);
    }
    let Some(gate) = attempt.gate else {
        return unclassified(attempt);
    };
    match GateState::try_from(gate.state) {
        Ok(GateState::Unknown) => unclassified(attempt),
        Ok(GateState::Holding) => closed(attempt, gate),
        Ok(GateState::Open) => Verdict::Pass(match Reason::try_from(gate.reason) {
            Ok(reason) => reason,
            Err(_) => Reason::Invalid,
        }),
        Ok(GateState::NotEnrolled) => Verdict::Pass(Reason::NotEnrolled),
        Err(_) => Verdict::Pass(Reason::Invalid),
    }
}

/// Judges one captured datagram. That its gate is open says nothing of the mesh's DNS proxy, which may not be bound to its port
/// yet (Kuma's): until it is, a query could only be refused.
#[inline(always)]
pub fn judge_datagram(attempt: &Attempt<'_>) -> Verdict {
    match (attempt.gate, attempt.container) {
        (Some(gate), ContainerClass::Gated | ContainerClass::Unknown)
            if gate.state == GateState::Open.code() && gate.mode != Mode::Observe.code() =>
        {
            if attempt.listener {
                Verdict::Pass(Reason::Listening)
            } else if held_for(attempt, gate.cap_ns) || attempt.agent_silent_ns >= gate.cap_ns {
                Verdict::Pass(Reason::Timeout)
            } else {
                Verdict::Hold(Reason::NoListener)
            }
        }
        _ => judge(attempt),
    }
}

/// Nobody has decided about the pod or the container: hold only what could not succeed anyway, and not for long.
#[inline(always)]
fn unclassified(attempt: &Attempt<'_>) -> Verdict {
    if !attempt.listener && !attempt.agent_fresh {
        Verdict::Pass(Reason::AgentStale)
    } else {
        undecided(attempt, attempt.listener)
    }
}

/// The pod asks for a gate, but which container this is nobody has said: as above, also while the agent is late. Whether a
/// `listener` lets it pass is for the mode to say.
#[inline(always)]
fn undecided(attempt: &Attempt<'_>, listener: bool) -> Verdict {
    if listener {
        Verdict::Pass(Reason::Listening)
    } else if held_for(attempt, attempt.grace_ns) {
        Verdict::Pass(Reason::Timeout)
    } else {
        Verdict::Hold(Reason::Unclassified)
    }
}

#[inline(always)]
fn closed(attempt: &Attempt<'_>, gate: &GateEntry) -> Verdict {
    if held_for(attempt, gate.cap_ns) {
        return Verdict::Pass(Reason::Timeout);
    }
    // Nobody has been there for as long as a hold may last: nobody will open the gate, and no further socket waits for that.
    if attempt.first_drop.is_none() && !attempt.agent_fresh && attempt.agent_silent_ns >= gate.cap_ns {
        return Verdict::Pass(Reason::AgentStale);
    }
    match Mode::try_from(gate.mode) {
        Ok(mode) if attempt.container as u32 == ContainerClass::Unknown as u32 => {
            // In mode hold a listener is not enough, and a live agent says within milliseconds whose the container is.
            let enough = mode as u32 == Mode::Retry as u32 || !attempt.agent_fresh;
            match undecided(attempt, attempt.listener && enough) {
                Verdict::Hold(reason) if mode as u32 == Mode::Observe as u32 => Verdict::WouldHold(reason),
                verdict @ (Verdict::Pass(_) | Verdict::Hold(_) | Verdict::WouldHold(_)) => verdict,
            }
        }
        Ok(Mode::Hold) if !attempt.listener => Verdict::Hold(Reason::NoListener),
        Ok(Mode::Hold) if attempt.agent_fresh => Verdict::Hold(Reason::NotReady),
        Ok(Mode::Hold) => Verdict::Pass(Reason::AgentStale),
        Ok(Mode::Retry) if attempt.listener => Verdict::Pass(Reason::Listening),
        Ok(Mode::Retry) => Verdict::Hold(Reason::NoListener),
        Ok(Mode::Observe) if attempt.listener => Verdict::WouldHold(Reason::NotReady),
        Ok(Mode::Observe) => Verdict::WouldHold(Reason::NoListener),
        Err(_) => Verdict::Pass(Reason::Invalid),
    }
}

/// Whether the socket has been held for `nanos` or longer.
#[inline(always)]
fn held_for(attempt: &Attempt<'_>, nanos: u64) -> bool {
    match attempt.first_drop {
        Some(first_drop) => attempt.now.since(first_drop) >= nanos,
        None => nanos == 0,
    }
}
