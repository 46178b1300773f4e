//! Pods that somebody wants to know about: those asked for now, and those that nobody knew, to be asked for again.
//!
//! Never blocks, never grows beyond its bound.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use conngate_core::backoff::Backoff;
use tokio::{sync::Notify, time::Instant};

use crate::uid::PodUid;

/// The most questions at once: more pods than a node can have.
pub(super) const MOST: usize = 1024;

/// Between the answer that a pod is not known and the next question.
const AGAIN: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// How long after it was last asked for a pod is asked for again: longer than a watch that died in silence goes unnoticed.
const PERSISTENCE: Duration = Duration::from_secs(180);

/// A set, not a queue, so that asking often is asking once.
#[derive(Debug, Default)]
pub(super) struct Asks {
    waiting: Mutex<BTreeSet<PodUid>>,
    some: Notify,
}

impl Asks {
    /// Asks for a pod; false when there is no room.
    pub(super) fn push(&self, uid: PodUid) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST && !waiting.contains(&uid) {
            return false;
        }
        waiting.insert(uid);
        self.some.notify_one();
        true
    }

    /// Whether nobody asks.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Every question so far.
    pub(super) fn take(&self) -> BTreeSet<PodUid> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns when there may be a question.
    pub(super) async fn some(&self) {
        self.some.notified().await;
    }
}

/// Pods that were asked for and are not known yet.
#[derive(Debug, Default)]
pub(super) struct Unknown(BTreeMap<PodUid, Next>);

#[derive(Debug)]
struct Next {
    /// When to ask again; `None` while there is no answer.
    at: Option<Instant>,
    /// Answers so far.
    answers: u32,
    until: Instant,
}

impl Unknown {
    /// Somebody asks for a pod.
    pub(super) fn asked(&mut self, uid: PodUid, now: Instant) {
        let until = now + PERSISTENCE;
        if let Some(next) = self.0.get_mut(&uid) {
            next.until = until;
        } else if self.0.len() < MOST {
            self.0.insert(uid, Next { at: None, answers: 0, until });
        }
    }

    /// Nobody knows it yet.
    pub(super) fn not_known(&mut self, uid: PodUid, now: Instant) {
        if let Some(next) = self.0.get_mut(&uid) {
            next.at = Some(now + AGAIN.delay(next.answers));
            next.answers = next.answers.saturating_add(1);
        }
    }

    /// It is known, or gone.
    pub(super) fn forget(&mut self, uid: PodUid) {
        self.0.remove(&uid);
    }

    /// When [`Unknown::due`] has something next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().filter_map(|next| next.at).min()
    }

    /// Those to ask for again. Those that nobody has asked for of late are forgotten.
    pub(super) fn due(&mut self, now: Instant) -> Vec<PodUid> {
        self.0.retain(|_, next| now < next.until);
        let due = self.0.iter_mut().filter(|(_, next)| next.at.is_some_and(|at| at <= now));
        due.map(|(uid, next)| {
            next.at = None;
            *uid
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::testing::uid;

    /// Answers every question with no until it is forgotten; the times of the questions.
    fn questions(unknown: &mut Unknown, start: Instant) -> Vec<Duration> {
        let mut times = Vec::new();
        while let Some(at) = unknown.next_due() {
            for uid in unknown.due(at) {
                times.push(at - start);
                unknown.not_known(uid, at);
            }
        }
        times
    }

    #[test]
    fn unknown_pod_is_asked_for_again_and_again_but_not_for_ever() {
        let (mut unknown, start, pod) = (Unknown::default(), Instant::now(), uid(1).parse().unwrap());
        unknown.asked(pod, start);
        assert_eq!(unknown.next_due(), None);
        unknown.not_known(pod, start);
        let times = questions(&mut unknown, start);
        let milliseconds: Vec<_> = times.iter().map(Duration::as_millis).take(7).collect();
        assert_eq!(milliseconds, [200, 600, 1400, 3000, 6200, 11200, 16200]);
        assert!(times.iter().all(|time| *time < PERSISTENCE) && times.len() < 50, "{times:?}");
        assert!(unknown.0.is_empty());
    }

    #[test]
    fn pod_that_is_known_at_last_is_not_asked_for_again() {
        let (mut unknown, now, pod) = (Unknown::default(), Instant::now(), uid(1).parse().unwrap());
        unknown.asked(pod, now);
        unknown.not_known(pod, now);
        unknown.forget(pod);
        unknown.not_known(pod, now);
        assert_eq!(unknown.next_due(), None);
    }

    #[test]
    fn ever_more_unknown_pods_are_bounded() {
        let (mut unknown, now) = (Unknown::default(), Instant::now());
        for n in 0..2 * MOST {
            unknown.asked(format!("{n:032x}").parse().unwrap(), now);
        }
        assert_eq!(unknown.0.len(), MOST);
    }
}
