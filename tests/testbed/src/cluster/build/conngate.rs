//! conngate itself, linked statically: the only file of its image.
//!
//! Knows nothing of conngate but how cargo builds it.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use super::super::place::shared;
use crate::{checkout, step::step};

/// glibc, because that is the target every Rust toolchain on Linux has.
fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Builds the binary; quick where nothing has changed.
pub(super) fn build() -> Result<PathBuf> {
    let directory = shared("static");
    step("cargo build conngate, static (the first time some minutes)", || {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(checkout()).args(["build", "--quiet", "--release", "--package", "conngate"]);
        cargo.args(["--target", &target(), "--target-dir"]).arg(&directory);
        // Of the release profile what makes it fast to run, without what makes it slow to build.
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_DEBUG", "false");
        cargo.env("RUSTFLAGS", "-C target-feature=+crt-static").env_remove("CARGO_ENCODED_RUSTFLAGS");
        let status = cargo.status().context("cannot start cargo")?;
        if !status.success() {
            bail!("cargo build ended with {status}");
        }
        Ok(())
    })?;
    Ok(directory.join(target()).join("release/conngate"))
}
