//! Pods that are there although no source tells of them: for a moment that is ordinary, for a minute it is a wrong node name, or
//! a source that is silent.
//!
//! Knows nothing of sources.

use std::{collections::BTreeMap, time::Duration};

use conngate_common::id::{CgroupId, MonoTime};

use crate::backoff::after;

/// How long it may take until a source tells of a pod whose cgroup is there.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Since when each pod is undecided.
#[derive(Debug, Default)]
pub struct Undecided(BTreeMap<CgroupId, MonoTime>);

impl Undecided {
    /// These `pods` are undecided at `now`; answers how many have been so for longer than [`PATIENCE`].
    pub fn at(&mut self, now: MonoTime, pods: impl IntoIterator<Item = CgroupId>) -> usize {
        self.0 = pods.into_iter().map(|pod| (pod, self.0.get(&pod).copied().unwrap_or(now))).collect();
        self.0.values().filter(|since| after(**since, PATIENCE) < now).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_is_overdue_after_a_minute_in_which_it_was_never_decided() {
        let at = |seconds: u64| MonoTime(seconds * 1_000_000_000);
        let (first, second) = (CgroupId(1), CgroupId(2));
        let mut undecided = Undecided::default();
        assert_eq!(undecided.at(at(0), [first]), 0);
        assert_eq!(undecided.at(at(30), [first, second]), 0);
        assert_eq!(undecided.at(at(61), [first, second]), 1);
        assert_eq!(undecided.at(at(62), [second]), 0, "the first is decided");
        assert_eq!(undecided.at(at(91), [first, second]), 1, "and its time begins anew");
    }
}
