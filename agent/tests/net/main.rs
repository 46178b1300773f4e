//! The leaf modules that touch the network, on the real kernel, in namespaces that vanish with the test.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod destroy;
mod fixture;
mod listener;
mod netns;
mod probe;
mod replay;
