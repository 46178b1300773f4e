//! The laboratory that the kernel tests, the demo and the benchmarks share, and the words of its client program.
//!
//! Knows nothing of conngate itself: the fault that conngate removes is built here with the real kernel and a real Envoy.

pub mod clock;
pub mod cluster;
pub mod dashboard;
pub mod debian;
pub mod lab;
pub mod report;
pub mod step;
