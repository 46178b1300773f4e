//! Conditions: what the agent needs to be ready, each with its name, and what each one waits for.
//!
//! Knows nothing of HTTP. A condition that nobody has met is not met: "what are we waiting for" always has an answer.

use std::{
    collections::BTreeMap,
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use conngate_common::id::MonoTime;
use tokio::sync::watch;

use crate::shortage::Shortages;

/// A loop that has not turned for this long is taken for stuck. It turns at least every 5 s, to look for cgroups that have gone.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// What the agent needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The capabilities that the programs and the replay take.
    Capabilities,
    /// The kubelet's root cgroup.
    Cgroups,
    /// The programs, loaded and attached.
    Programs,
    /// A source that tells about the node's pods.
    Pods,
    /// Every gate that an earlier agent left agrees with its pod.
    Reconciled,
}

impl Condition {
    /// All of them, in the order in which they are met.
    pub const ALL: [Self; 5] = [Self::Capabilities, Self::Cgroups, Self::Programs, Self::Pods, Self::Reconciled];

    /// Its word in /readyz and in the log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::Cgroups => "cgroups",
            Self::Programs => "programs",
            Self::Pods => "pods",
            Self::Reconciled => "reconciled",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Who may lack something that the agent can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The kernel, or other users of its hooks.
    Kernel,
    /// What outlives the agent.
    Pins,
    /// What the programs are told.
    Maps,
    /// Where the agent is asked.
    Port,
    /// The watch on the pods' cgroups.
    Cgroups,
    /// Where the runtime puts containers.
    Drivers,
    /// The sources of pods.
    Sources,
    /// Pods that no source tells of.
    Pods,
    /// What keeps pods off the node.
    Taint,
}

/// The state of all conditions, shared between the agent's loop and whoever asks.
#[derive(Clone, Debug)]
pub struct Conditions(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What each one waits for; absent: met.
    unmet: Mutex<BTreeMap<Condition, String>>,
    degraded: Mutex<BTreeMap<Part, String>>,
    shortages: Shortages,
    turned: AtomicU64,
    /// Whether all are met.
    ready: watch::Sender<bool>,
}

impl Conditions {
    /// Nothing is met yet.
    #[must_use]
    pub fn new(now: MonoTime) -> Self {
        let unmet = Condition::ALL.into_iter().map(|condition| (condition, "not reached yet".to_owned())).collect();
        Self(Arc::new(Shared {
            unmet: Mutex::new(unmet),
            degraded: Mutex::default(),
            shortages: Shortages::default(),
            turned: AtomicU64::new(now.0),
            ready: watch::Sender::new(false),
        }))
    }

    /// The condition is met. Said in the log when it was not.
    pub fn met(&self, condition: Condition) {
        let mut unmet = self.unmet();
        if unmet.remove(&condition).is_some() {
            tracing::info!(%condition, "met");
        }
        self.0.ready.send_if_modified(|ready| !mem::replace(ready, unmet.is_empty()) && *ready);
    }

    /// The condition is not met, and `why`. Said in the log when that is news.
    pub fn unmet_because(&self, condition: Condition, why: impl Into<String>) {
        let why = why.into();
        let before = self.unmet().insert(condition, why.clone());
        self.0.ready.send_replace(false);
        if before.as_ref() != Some(&why) {
            tracing::warn!(%condition, why, "not met");
        }
    }

    /// `part` lacks something that the agent can do without, and what; `None`: nothing. Said in the log when that is news.
    pub fn degraded_because(&self, part: Part, why: Option<String>) {
        let mut degraded = self.0.degraded.lock().unwrap_or_else(PoisonError::into_inner);
        if degraded.get(&part) == why.as_ref() {
            return;
        }
        match why {
            Some(why) => {
                tracing::warn!(why, "degraded");
                degraded.insert(part, why);
            }
            None => {
                tracing::info!("no longer degraded");
                degraded.remove(&part);
            }
        }
    }

    /// What the process is short of, which degrades it.
    #[must_use]
    pub fn shortages(&self) -> &Shortages {
        &self.0.shortages
    }

    /// What is missing although the agent is ready.
    #[must_use]
    pub fn degraded(&self) -> Option<String> {
        let parts = self.0.degraded.lock().unwrap_or_else(PoisonError::into_inner);
        let short = self.0.shortages.named().into_iter().map(|short| format!("short of {short}"));
        let degraded: Vec<_> = parts.values().cloned().chain(short).collect();
        (!degraded.is_empty()).then(|| degraded.join("; "))
    }

    /// What is not met, and why.
    #[must_use]
    pub fn missing(&self) -> Vec<(Condition, String)> {
        self.unmet().iter().map(|(condition, why)| (*condition, why.clone())).collect()
    }

    /// Whether the agent is ready, now and whenever that changes.
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<bool> {
        self.0.ready.subscribe()
    }

    /// The agent's loop has turned.
    pub fn turn(&self, now: MonoTime) {
        self.0.turned.store(now.0, Ordering::Relaxed);
    }

    /// How long the agent's loop has not turned, where that is too long.
    #[must_use]
    pub fn stuck(&self, now: MonoTime) -> Option<Duration> {
        let since = now.since(MonoTime(self.0.turned.load(Ordering::Relaxed)));
        Some(Duration::from_nanos(since)).filter(|since| *since > STUCK_AFTER)
    }

    fn unmet(&self) -> MutexGuard<'_, BTreeMap<Condition, String>> {
        self.0.unmet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_at_first_are_all_missing_and_then_met_one_by_one() {
        let conditions = Conditions::new(MonoTime(0));
        assert_eq!(conditions.missing().len(), Condition::ALL.len());
        let ready = conditions.readiness();
        for condition in Condition::ALL {
            assert!(!*ready.borrow());
            conditions.met(condition);
        }
        assert!(conditions.missing().is_empty() && *ready.borrow());
        conditions.unmet_because(Condition::Pods, "the API server is away");
        assert!(!*ready.borrow());
        assert_eq!(conditions.missing(), [(Condition::Pods, "the API server is away".to_owned())]);
    }

    #[test]
    fn conditions_degraded_by_two_parts_says_both_until_each_is_mended() {
        let conditions = Conditions::new(MonoTime(0));
        conditions.degraded_because(Part::Sources, Some("kubelet: refused".to_owned()));
        conditions.degraded_because(Part::Kernel, Some("listeners: kernel before 5.15".to_owned()));
        assert_eq!(conditions.degraded().unwrap(), "listeners: kernel before 5.15; kubelet: refused");
        conditions.degraded_because(Part::Sources, None);
        assert_eq!(conditions.degraded().unwrap(), "listeners: kernel before 5.15");
        conditions.degraded_because(Part::Kernel, None);
        assert_eq!(conditions.degraded(), None);
        conditions.shortages().note(&std::io::Error::from_raw_os_error(nix::libc::ENOMEM));
        assert_eq!(conditions.degraded().unwrap(), "short of memory");
    }

    #[test]
    fn loop_that_has_not_turned_for_long_is_stuck() {
        let second = 1_000_000_000;
        let conditions = Conditions::new(MonoTime(0));
        conditions.turn(MonoTime(5 * second));
        assert_eq!(conditions.stuck(MonoTime(15 * second)), None);
        assert_eq!(conditions.stuck(MonoTime(16 * second)), Some(Duration::from_secs(11)));
    }
}
