//! The hands that reach into pods' network namespaces: they ask proxies, look for listeners, and send, end or find what is held.
//!
//! Knows nothing of gates. Whatever answers may be hostile: time and memory are bounded here.

pub mod destroy;
pub mod inject;
pub mod listener;
pub mod looks;
pub mod netns;
pub mod probe;
pub mod prober;
pub mod replay;
pub mod sock_diag;
