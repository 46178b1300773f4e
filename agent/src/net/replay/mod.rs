//! Replay: a parked SYN is sent again, so that a release does not wait for the kernel's timer.
//!
//! Knows nothing of when: that a gate is open and somebody listens is the caller's to know. A SYN replayed too early is
//! answered with a reset.

pub mod datagram;
pub mod raw;
pub mod syn;
