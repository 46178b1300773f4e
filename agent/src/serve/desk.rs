//! The desk: where those who serve ask the agent's loop, and get an answer or none in time.
//!
//! Knows nothing of what is answered. A loop that is busy with something that cannot be had does not answer: who asks says
//! then what the conditions say.

use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{
    metrics::Snapshot,
    view::{event::Event, explain::Explanation, open::Opening, report::Report, status::Live},
};

/// How long an answer may take. The loop turns every quarter second at least.
const PATIENCE: Duration = Duration::from_secs(2);

/// Questions that wait.
const ROOM: usize = 64;

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

/// Takes questions; cloned freely.
#[derive(Clone, Debug)]
pub struct Desk(mpsc::Sender<Question>);

impl Desk {
    /// A desk, and where its questions arrive.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Question>) {
        let (questions, arriving) = mpsc::channel(ROOM);
        (Self(questions), arriving)
    }

    /// Asks; `None`: no answer in time.
    pub async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(question(answer)).ok()?;
        tokio::time::timeout(PATIENCE, answered).await.ok()?.ok()
    }
}
