//! The `conngate` binary: parses the command line and ends with the verb's exit code.

use std::process::ExitCode;

use clap::Parser as _;
use conngate::cli::{Cli, log};

fn main() -> ExitCode {
    #[cfg(target_env = "gnu")]
    return_large_buffers();
    let cli = Cli::parse();
    let _written = log::begin(&cli.verb);
    cli.execute().into()
}

/// Lets every large buffer go back to the kernel when it is freed. By itself glibc raises its threshold to the first one that
/// is (the kernel's BTF, 5 MB) and keeps what is smaller from then on: see M_MMAP_THRESHOLD in mallopt(3).
#[cfg(target_env = "gnu")]
fn return_large_buffers() {
    // SAFETY: sets a number of the allocator, before there is another thread.
    unsafe { nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, 128 * 1024) };
}
