//! The capabilities that loading, attaching and replaying take.
//!
//! Knows nothing of what is done with it.

use caps::{CapSet, Capability};

/// The capabilities, and what each is for.
pub const NEEDED: [(Capability, &str); 8] = [
    (Capability::CAP_BPF, "load eBPF programs"),
    (Capability::CAP_PERFMON, "let the verifier accept them"),
    (Capability::CAP_NET_ADMIN, "attach them to a cgroup"),
    (Capability::CAP_NET_RAW, "replay held SYNs"),
    (Capability::CAP_SETUID, "replay them as their sender"),
    (Capability::CAP_SETGID, "replay them as their sender"),
    (Capability::CAP_SYS_ADMIN, "enter a network namespace"),
    (Capability::CAP_SYS_PTRACE, "find another user's network namespace"),
];

/// A capability is missing.
#[derive(Debug, thiserror::Error)]
#[error("missing {}: run conngate as root, or give it the capabilities", .0.join(", "))]
pub struct Missing(Vec<String>);

/// Fails with all of [`NEEDED`] that this process lacks.
///
/// # Errors
/// When there are any.
pub fn require() -> Result<(), Missing> {
    let missing = missing();
    if missing.is_empty() { Ok(()) } else { Err(Missing(missing)) }
}

/// Which of [`NEEDED`] this process lacks, each with what it is for.
#[must_use]
pub fn missing() -> Vec<String> {
    let lacks = |capability| !caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    NEEDED
        .into_iter()
        .filter(|(capability, _)| lacks(*capability))
        .map(|(name, use_)| format!("{name} (to {use_})"))
        .collect()
}
