//! The pinned versions: of what this repository needs beyond its Cargo.lock files.
//!
//! Known good together; they change together.

/// The rustup toolchain that builds the eBPF programs, where [`NIGHTLY_VARIABLE`] names no other.
const NIGHTLY: &str = "nightly";

/// Environment variable with a toolchain's name, such as a dated nightly.
const NIGHTLY_VARIABLE: &str = "CONNGATE_NIGHTLY";

/// The nightly that built the committed object. Another one works, but may generate other instructions.
pub(crate) const NIGHTLY_OF_OBJECT: &str = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)";

/// The rustup toolchain that builds the eBPF programs.
pub(crate) fn nightly() -> String {
    std::env::var(NIGHTLY_VARIABLE).unwrap_or_else(|_| NIGHTLY.to_owned())
}

/// bpf-linker, from its crate.
pub(crate) const BPF_LINKER: &str = "0.10.4";

/// The LLVM of [`NIGHTLY_OF_OBJECT`], as bpf-linker calls it.
pub(crate) const BPF_LINKER_FEATURE: &str = "rust-llvm-22";
