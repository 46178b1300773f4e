//! Readiness: is the proxy usable?
//!
//! Knows nothing of gates. Whatever answers may be hostile: time and memory are bounded here.

pub mod asking;
pub mod listener;
pub mod probe;
pub use conngate_core::url;
