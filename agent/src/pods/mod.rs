//! Pods: where they come from (`source`), what they are (`pod`), which proxy they have (`sidecar`) and what they ask for
//! (`annotations`).
//!
//! Knows nothing of cgroups, gates or the kernel. No Kubernetes type leaves this module but the API client.

pub mod annotations;
pub mod bad;
pub mod defaults;
pub mod event_limits;
pub mod events;
mod label_selector;
pub mod no_gate;
pub mod object;
pub mod pod;
mod ports;
pub mod presets;
pub mod resolve;
pub mod sidecar;
pub mod source;
pub mod supervise;
pub mod taint;
#[cfg(test)]
pub(crate) mod testing;
