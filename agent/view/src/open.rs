//! `open`: what an operator has opened.

use serde::{Deserialize, Serialize};

/// The gates that an operator opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Opened {
    /// [`super::VERSION`].
    pub version: u32,
    /// Each of them; with `--all` those that were closed.
    pub gates: Vec<Opening>,
}

/// A gate that an operator opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Opening {
    /// Namespace and name.
    pub pod: String,
    /// Whether it was closed until now.
    pub was_closed: bool,
    /// How many connections were held.
    pub waiting: u64,
}
