//! What the agent serves to others: /healthz, /readyz and /metrics over HTTP, and the command line's API over a socket.
//!
//! It shows what the agent's loop tells it. What serves is handed one [`ServerState`] and runs on a thread of its own,
//! so that /healthz can say that the loop is stuck.

pub mod api;
pub mod conditions;
mod connections;
pub mod http;
pub mod metrics;
pub mod queries;
pub mod socket;

use conngate_common::ABI_VERSION;

use self::{
    conditions::{Condition, Conditions},
    queries::{Queries, Question},
};
use crate::{
    clock,
    metrics::Recorded,
    view::{Time, VERSION, status},
};

/// What those who ask are shown.
#[derive(Clone, Debug)]
pub struct ServerState {
    /// What the agent needs.
    pub conditions: Conditions,
    /// What this process counts.
    pub recorded: Recorded,
    /// The loop.
    pub queries: Queries,
    /// This node's name in the Kubernetes API.
    pub node: Option<String>,
    /// When the agent began.
    pub started: Time,
}

impl ServerState {
    /// How the agent is, also while its loop does not answer.
    pub async fn status(&self) -> status::Status {
        let missing = self.conditions.missing();
        let unmet = |condition| missing.iter().find(|(unmet, _)| *unmet == condition).map(|(_, why)| why.clone());
        let conditions = Condition::ALL
            .into_iter()
            .map(|condition| status::Condition { name: condition.word().to_owned(), unmet: unmet(condition) });
        status::Status {
            version: VERSION,
            agent: status::Agent {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                abi: ABI_VERSION,
                node: self.node.clone(),
                pid: std::process::id(),
                started: self.started,
                heartbeat_age_seconds: self.recorded.heartbeat_age(clock::now()).map(|age| age.as_secs_f64()),
            },
            ready: missing.is_empty(),
            conditions: conditions.collect(),
            degraded: self.conditions.degraded(),
            live: self.queries.ask(Question::Status).await,
        }
    }
}

#[cfg(test)]
mod testing {
    use super::*;

    /// What is served while no loop takes questions.
    pub(super) fn state(conditions: Conditions) -> ServerState {
        let (queries, _) = Queries::new();
        ServerState {
            conditions,
            recorded: Recorded::new(),
            queries,
            node: Some("node-1".to_owned()),
            started: Time::now(),
        }
    }
}
