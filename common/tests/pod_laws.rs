//! The laws of finding a pod among a socket's ancestors.

use conngate_common::{
    ABI_VERSION,
    gate::{AgentEntry, CapturePorts, MAX_SHARED_PARENTS},
    id::{CgroupId, MonoTime},
};
use proptest::prelude::*;

/// The level of kubepods' children, which are pods or shared parents.
const FIRST: u32 = 3;
const SECOND: u32 = 4;

fn agent(pod_levels: [u32; 2], shared: &[u64]) -> AgentEntry {
    let mut shared_parents = [CgroupId(0); MAX_SHARED_PARENTS];
    for (slot, &id) in shared_parents.iter_mut().zip(shared) {
        *slot = CgroupId(id);
    }
    AgentEntry {
        heartbeat: MonoTime(0),
        stale_after_ns: 0,
        grace_ns: 0,
        shared_parents,
        abi: ABI_VERSION,
        epoch: 1,
        closed_gates: 0,
        hz: 0,
        syn_rto_jiffies: 0,
        syn_linear_timeouts: 0,
        pod_levels,
        capture_ports: CapturePorts::default(),
    }
}

/// The ancestors of a socket: `path` from the root (level 0) on, none deeper.
fn ancestors(path: &[u64]) -> impl Fn(u32) -> u64 {
    |level| usize::try_from(level).ok().and_then(|level| path.get(level)).copied().unwrap_or(0)
}

#[test]
fn pod_below_kubepods_itself_is_found_at_the_first_level() {
    let agent = agent([FIRST, SECOND], &[50, 51]);
    assert_eq!(agent.pod(ancestors(&[1, 2, 3, 60, 70])), (CgroupId(60), FIRST));
}

#[test]
fn pod_below_any_shared_parent_is_found_at_the_second_level() {
    let shared = [50, 51, 52, 53];
    for parent in shared {
        let agent = agent([FIRST, SECOND], &shared);
        assert_eq!(agent.pod(ancestors(&[1, 2, 3, parent, 60, 70])), (CgroupId(60), SECOND));
    }
}

#[test]
fn pod_process_in_a_shared_parent_itself_has_none() {
    let agent = agent([FIRST, SECOND], &[50]);
    assert_eq!(agent.pod(ancestors(&[1, 2, 3, 50])).0, CgroupId(0));
}

#[test]
fn pod_process_above_the_levels_has_none() {
    for shared in [&[][..], &[50]] {
        let agent = agent([FIRST, SECOND], shared);
        assert_eq!(agent.pod(ancestors(&[1, 2, 3])), (CgroupId(0), FIRST), "an unused slot is no parent");
    }
}

#[test]
fn pod_one_level_only_is_found_there() {
    let agent = agent([FIRST, FIRST], &[50]);
    assert_eq!(agent.pod(ancestors(&[1, 2, 3, 60])), (CgroupId(60), FIRST));
    assert_eq!(agent.pod(ancestors(&[1, 2, 3, 50, 60])), (CgroupId(50), FIRST));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pod_of_any_path_is_at_the_second_level_only_below_a_shared_parent(
        path in prop::collection::vec(1..12u64, 0..8),
        shared in prop::collection::btree_set(1..12u64, 0..=MAX_SHARED_PARENTS),
        first in 0..8u32,
        up in 1..3u32,
    ) {
        let shared: Vec<_> = shared.into_iter().collect();
        let (pod, level) = agent([first, first + up], &shared).pod(ancestors(&path));
        prop_assert_eq!(pod.0, ancestors(&path)(level));
        let at_first = ancestors(&path)(first);
        prop_assert_eq!(level, if shared.contains(&at_first) { first + up } else { first });
    }

    #[test]
    fn pod_order_and_place_of_the_shared_parents_do_not_matter(
        path in prop::collection::vec(1..12u64, 0..8),
        mut shared in prop::collection::vec(0..12u64, MAX_SHARED_PARENTS),
        levels in [0..8u32, 0..8u32],
    ) {
        let before = agent(levels, &shared).pod(ancestors(&path));
        shared.reverse();
        prop_assert_eq!(agent(levels, &shared).pod(ancestors(&path)), before);
    }
}
