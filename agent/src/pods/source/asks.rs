//! Pods that somebody wants to know about now: a set, not a queue, so that asking often is asking once.
//!
//! Knows nothing of who answers. Never blocks, never grows beyond its bound.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::uid::PodUid;

/// The most questions at once: more pods than a node can have.
pub(super) const MOST: usize = 1024;

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
