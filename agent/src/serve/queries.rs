//! Questions to the agent's loop, each answered in time or not at all.
//!
//! A loop that is busy with something that cannot be had does not answer: who asks says then what the conditions say.
//! Operators' questions and scrapes wait in queues of their own, and operators come first: whoever reaches the port can
//! keep no operator from an answer.

use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};

use super::connections::CONNECTIONS;
use crate::{
    serve::metrics::Snapshot,
    view::{event::Event, explain::Explanation, open::Opening, report::Report, status::Live},
};

/// How long an answer may take. A loop that waits takes a question at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// Questions that wait in each queue: one for each connection that may ask.
const ROOM: usize = CONNECTIONS;

/// A question, and where its answer goes.
pub enum Question {
    /// For a scrape.
    Snapshot(oneshot::Sender<Snapshot>),
    /// What `status` shows beside the conditions.
    Status(oneshot::Sender<Live>),
    /// What is so of one pod, by its name or its namespace and name.
    Explain(String, oneshot::Sender<Result<Explanation, Refusal>>),
    /// Open gates by the operator's word.
    Open(Which, oneshot::Sender<Result<Vec<Opening>, Refusal>>),
    /// The last events, and those to come.
    Events(oneshot::Sender<(Vec<Event>, broadcast::Receiver<Event>)>),
    /// The last gates.
    Report(oneshot::Sender<Report>),
}

/// Whose gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All closed ones.
    All,
    /// That of one pod, by its name or its namespace and name.
    Pod(String),
}

/// Why there is no answer of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody knows such a pod.
    #[error("no pod `{0}` on this node; `conngate status` lists those with a gate")]
    Unknown(String),
    /// Several pods have the name.
    #[error("several pods are called `{name}`: {}", .pods.join(", "))]
    Ambiguous {
        /// The name.
        name: String,
        /// They.
        pods: Vec<String>,
    },
    /// The pod has no gate.
    #[error("pod {pod} has no gate: {why}")]
    NoGate {
        /// Which.
        pod: String,
        /// Why.
        why: String,
    },
}

/// Asks the loop; cloned freely.
#[derive(Clone, Debug)]
pub struct Queries {
    operators: mpsc::Sender<Question>,
    scrapes: mpsc::Sender<Question>,
}

/// Where the questions arrive.
#[derive(Debug)]
pub struct Questions {
    operators: mpsc::Receiver<Question>,
    scrapes: mpsc::Receiver<Question>,
}

impl Queries {
    /// Both ends.
    #[must_use]
    pub fn new() -> (Self, Questions) {
        let (operators, from_operators) = mpsc::channel(ROOM);
        let (scrapes, from_scrapes) = mpsc::channel(ROOM);
        (Self { operators, scrapes }, Questions { operators: from_operators, scrapes: from_scrapes })
    }

    /// Asks for an operator; `None`: no answer in time.
    pub async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        ask(&self.operators, question).await
    }

    /// Asks for a scrape; `None`: no answer in time.
    pub async fn scrape(&self) -> Option<Snapshot> {
        ask(&self.scrapes, Question::Snapshot).await
    }
}

impl Questions {
    /// The next question, an operator's before any scrape's; `None`: nobody can ask any longer. Nothing is lost when the
    /// future is dropped.
    pub async fn recv(&mut self) -> Option<Question> {
        tokio::select! {
            biased;
            Some(question) = self.operators.recv() => Some(question),
            Some(question) = self.scrapes.recv() => Some(question),
            else => None,
        }
    }
}

async fn ask<T>(queue: &mpsc::Sender<Question>, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    queue.try_send(question(answer)).ok()?;
    tokio::time::timeout(PATIENCE, answered).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::join_all};

    use super::*;

    #[tokio::test]
    async fn operator_beside_more_scrapes_than_there_is_room_for_is_answered_first() {
        let (queries, mut questions) = Queries::new();
        let mut scrapes = Box::pin(join_all((0..2 * ROOM).map(|_| queries.scrape())));
        assert!(scrapes.as_mut().now_or_never().is_none(), "they wait for the loop");
        let mut operator = Box::pin(queries.ask(Question::Report));
        assert!(operator.as_mut().now_or_never().is_none(), "there is room for an operator");
        assert!(matches!(questions.recv().await, Some(Question::Report(_))));
        assert!(matches!(questions.recv().await, Some(Question::Snapshot(_))));
    }
}
