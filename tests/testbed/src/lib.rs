//! What the tests, the benchmarks and the demo stand on: the laboratory, the cluster, and the words of their programs.
//!
//! Links nothing of the agent, so that it builds whatever state that is in: the fault that conngate removes is built here with the
//! real kernel and a real Envoy.

pub mod clock;
pub mod cluster;
pub mod dashboard;
pub mod debian;
pub mod lab;
pub mod report;
pub mod step;

use std::path::Path;

/// The checkout that this crate was built from.
#[must_use]
pub fn checkout() -> &'static Path {
    let testbed = Path::new(env!("CARGO_MANIFEST_DIR"));
    testbed.ancestors().nth(2).unwrap_or(testbed)
}

/// Major and minor number of the running kernel.
pub fn kernel_version() -> anyhow::Result<(u32, u32)> {
    use anyhow::Context as _;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split('.').map_while(|part| part.parse().ok());
    numbers.next().zip(numbers.next()).with_context(|| format!("{release} begins with no version"))
}
