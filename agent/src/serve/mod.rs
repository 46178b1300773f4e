//! What the agent serves to others: /healthz and /readyz over HTTP.
//!
//! Knows nothing of gates: it shows what the agent's loop tells it.

pub mod conditions;
pub mod http;
