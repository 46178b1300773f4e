//! Which Kubernetes Events are worth sending: not the same twice, not many for one pod, not many at all.
//!
//! Knows no clock and no API: who asks says what time it is. The bounds are of the order of client-go's spam filter
//! (tools/record/events_cache.go: 25 at once for one object, then 1 in 5 minutes).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::uid::PodUid;

/// One pod gets at most so many in so long.
const PER_POD: usize = 10;
const POD_WINDOW: Duration = Duration::from_secs(600);

/// All pods of the node get at most so many in so long.
const PER_NODE: u32 = 100;
const NODE_WINDOW: Duration = Duration::from_secs(10);

/// The most pods whose events are remembered.
const PODS: usize = 4096;

/// What was sent lately.
#[derive(Debug, Default)]
pub struct Limits {
    pods: BTreeMap<PodUid, Sent>,
    node: Option<(Instant, u32)>,
}

#[derive(Debug)]
struct Sent {
    since: Instant,
    events: Vec<(&'static str, String)>,
}

impl Limits {
    /// Whether an event of this reason and note goes out at `now`; if so, it counts.
    pub fn admit(&mut self, now: Instant, pod: PodUid, reason: &'static str, note: &str) -> bool {
        if self.pods.len() >= PODS {
            self.pods.retain(|_, sent| now.duration_since(sent.since) < POD_WINDOW);
        }
        if self.pods.len() >= PODS && !self.pods.contains_key(&pod) {
            return false;
        }
        let sent = self.pods.entry(pod).or_insert_with(|| Sent { since: now, events: Vec::new() });
        if now.duration_since(sent.since) >= POD_WINDOW {
            *sent = Sent { since: now, events: Vec::new() };
        }
        let said = sent.events.iter().any(|(known, text)| *known == reason && text == note);
        let (since, count) = self.node.get_or_insert((now, 0));
        if now.duration_since(*since) >= NODE_WINDOW {
            (*since, *count) = (now, 0);
        }
        if said || sent.events.len() >= PER_POD || *count >= PER_NODE {
            return false;
        }
        *count += 1;
        sent.events.push((reason, note.to_owned()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::testing::uid;

    fn pod(n: u8) -> PodUid {
        uid(n).parse().unwrap()
    }

    #[test]
    fn admit_same_event_again_is_refused_until_its_window_is_over() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        assert!(limits.admit(start, pod(1), "R", "note"));
        assert!(!limits.admit(start + POD_WINDOW / 2, pod(1), "R", "note"));
        assert!(limits.admit(start, pod(2), "R", "note"));
        assert!(limits.admit(start + POD_WINDOW, pod(1), "R", "note"));
    }

    #[test]
    fn admit_changing_notes_of_one_pod_run_out_and_leave_others_alone() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        let admitted = (0..50).filter(|n| limits.admit(now, pod(1), "R", &n.to_string())).count();
        assert_eq!(admitted, PER_POD);
        assert!(limits.admit(now, pod(2), "R", "note"));
    }

    #[test]
    fn admit_many_pods_run_into_the_node_s_limit_and_recover() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        let admitted = (0..200).filter(|n| limits.admit(now, pod(*n), "R", "note")).count();
        assert_eq!(admitted, usize::try_from(PER_NODE).unwrap());
        assert!(limits.admit(now + NODE_WINDOW, pod(201), "R", "note"));
    }
}
