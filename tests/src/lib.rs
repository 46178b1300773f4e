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

/// Major and minor number of the running kernel.
pub fn kernel_version() -> anyhow::Result<(u32, u32)> {
    use anyhow::Context as _;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split('.').map_while(|part| part.parse().ok());
    numbers.next().zip(numbers.next()).with_context(|| format!("{release} begins with no version"))
}
