//! Pods that are there although no source tells of them: for a moment that is ordinary, for a minute it is a wrong node name, or
//! a source that is silent.
//!
//! Knows nothing of sources.

use std::{collections::BTreeMap, time::Duration};

use conngate_common::id::{CgroupId, MonoTime};

use crate::backoff::after;

/// How long it may take until a source tells of a pod whose cgroup is there.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Since when each pod is untold.
#[derive(Debug, Default)]
pub struct Untold(BTreeMap<CgroupId, MonoTime>);

impl Untold {
    /// Of these `pods` no source has told at `now`; answers how many that is so for longer than [`PATIENCE`].
    pub fn at(&mut self, now: MonoTime, pods: impl IntoIterator<Item = CgroupId>) -> usize {
        self.0 = pods.into_iter().map(|pod| (pod, self.0.get(&pod).copied().unwrap_or(now))).collect();
        self.0.values().filter(|since| after(**since, PATIENCE) < now).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_is_overdue_after_a_minute_in_which_nobody_told_of_it() {
        let at = |seconds: u64| MonoTime(seconds * 1_000_000_000);
        let (first, second) = (CgroupId(1), CgroupId(2));
        let mut untold = Untold::default();
        assert_eq!(untold.at(at(0), [first]), 0);
        assert_eq!(untold.at(at(30), [first, second]), 0);
        assert_eq!(untold.at(at(61), [first, second]), 1);
        assert_eq!(untold.at(at(62), [second]), 0, "the first is told of");
        assert_eq!(untold.at(at(91), [first, second]), 1, "and its time begins anew");
    }
}
