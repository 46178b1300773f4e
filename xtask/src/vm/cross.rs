//! The cargo that builds for a guest: this machine's own, or one that builds for another architecture.
//!
//! Knows nothing of what is built. A foreign architecture needs Debian's cross compiler and a nightly toolchain with
//! rust-src, but no target of rustup's: the standard library is built too.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use super::arch::Arch;
use crate::{
    process::nightly,
    setup::rust_src,
    workspace::{cargo as native, root, target},
};

/// An emulated processor is slow, and here the profile is the standard library's too: with a little optimisation the
/// agent's own tests take a tenth of the time. Nobody debugs in a guest.
const PROFILE: [(&str, &str); 3] =
    [("CARGO_PROFILE_DEV_OPT_LEVEL", "1"), ("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_PROFILE_DEV_STRIP", "symbols")];

/// Cargo in the checkout, to be given a subcommand without `--target`.
pub(crate) fn cargo(arch: Arch) -> Result<Command> {
    let Some(triple) = arch.target() else { return Ok(native()) };
    rust_src()?;
    let compiler = arch.binutil("gcc");
    let variable = triple.replace('-', "_");
    let mut cargo = nightly("cargo");
    cargo.args(["-Z", "build-std=std"]).current_dir(root()).env("CARGO_BUILD_TARGET", triple).envs(PROFILE);
    cargo.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), &compiler);
    // For C in dependencies.
    cargo.env(format!("CC_{variable}"), &compiler);
    Ok(cargo)
}

/// Where the programs are that it builds; those with tests are in deps/ below it.
pub(crate) fn built(arch: Arch) -> PathBuf {
    target(arch.target().unwrap_or_default()).join("debug")
}
