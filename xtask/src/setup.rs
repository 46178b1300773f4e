//! `cargo xtask setup`: brings what the other verbs need; they call it themselves.
//!
//! Knows nothing of what they do with it. Idempotent, and quick when all is there.

mod ebpf;
mod packages;

pub(crate) use ebpf::{bpf_linker, rust_src};

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use conngate_testbed::lab::envoy;

/// Install what a verb needs: Debian packages (as root), Envoy, the eBPF toolchain
#[derive(Args)]
pub(crate) struct Options {
    /// What for; everything when absent
    #[arg(long = "for", value_enum)]
    purpose: Option<Purpose>,
}

/// What a verb needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// `cargo xtask demo`
    Demo,
    /// `cargo xtask test`
    Test,
    /// `cargo xtask build-ebpf`
    Ebpf,
    /// `cargo xtask fuzz`
    Fuzz,
    /// `cargo xtask cluster`
    Node,
    /// `cargo xtask vm`
    Vm,
    /// `cargo xtask vm --arch aarch64`
    VmAarch64,
}

/// The verb.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    match options.purpose {
        Some(purpose) => prepare(purpose)?,
        None => Purpose::value_variants().iter().copied().try_for_each(prepare)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Brings what `purpose` needs, or says what is missing and how to get it.
pub(crate) fn prepare(purpose: Purpose) -> Result<()> {
    packages::install(packages::needed(purpose))?;
    match purpose {
        Purpose::Demo | Purpose::Test | Purpose::Node => envoy::binary().map(drop),
        Purpose::Ebpf => ebpf::install(),
        // Guests have an Envoy of their own architecture, which is fetched with their programs.
        Purpose::Fuzz | Purpose::Vm | Purpose::VmAarch64 => Ok(()),
    }
}
