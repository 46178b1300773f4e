//! What the agent tells people and machines about itself, as data: the shapes of `-o json` and of the socket's API.
//!
//! The agent and `kubectl conngate` share it. Knows nothing of how it is found out or sent. docs/json.md is made of these
//! types, and a test keeps it so.
//!
//! Invariant: a field that changes its meaning or goes raises [`VERSION`]; new fields do not.

pub mod bundle;
pub mod check;
pub mod event;
pub mod explain;
pub mod open;
pub mod printable;
pub mod redact;
pub mod report;
pub mod status;
pub mod text;
mod time;

pub use self::time::Time;

/// Version of every shape here.
pub const VERSION: u32 = 1;

#[cfg(test)]
mod reference;
#[cfg(test)]
#[path = "../../src/testing.rs"]
mod testing;
