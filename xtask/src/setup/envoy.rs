//! A real Envoy below target/, fetched by the laboratory itself: it knows the version, and where the binary goes.
//!
//! Called through its program, not as a library: the laboratory links the agent, which does not build while the eBPF
//! object is stale, and then nobody could run `cargo xtask build-ebpf`.

use std::process::Stdio;

use anyhow::Result;

use crate::{process::run, workspace::cargo};

/// Makes sure that Envoy is there; the fetching program shows its own progress on stderr.
pub(crate) fn install() -> Result<()> {
    run(cargo().args(["run", "--quiet", "--package", "conngate-testbed", "--bin", "fetch-envoy"]).stdout(Stdio::null()))
}
