//! The eBPF toolchain: a nightly with rust-src, and bpf-linker below target/.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use conngate_testbed::step::step;

use crate::{
    process::{find, nightly, output, run},
    versions::{self, BPF_LINKER, BPF_LINKER_FEATURE},
    workspace::{cargo, target},
};

/// Installs what is missing; rustup's part is left to the user, it is theirs.
pub(crate) fn install() -> Result<()> {
    rust_src()?;
    if bpf_linker().is_some() {
        return Ok(());
    }
    step(&format!("cargo install bpf-linker {BPF_LINKER} (a minute or two, once)"), || {
        let mut install = cargo();
        install.args(["install", "--quiet", "bpf-linker", "--version", BPF_LINKER, "--locked"]);
        install.args(["--no-default-features", "--features", BPF_LINKER_FEATURE]);
        run(install.arg("--root").arg(target("tools")))
    })
}

/// The sources of the nightly toolchain's standard library: the directory above library/.
pub(crate) fn rust_src() -> Result<PathBuf> {
    let toolchain = versions::nightly();
    let sysroot = output(nightly("rustc").args(["--print", "sysroot"])).with_context(|| {
        format!("no {toolchain} toolchain: rustup toolchain install {toolchain} --component rust-src")
    })?;
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
    if !sources.join("library/core/src/lib.rs").exists() {
        bail!("{toolchain} has no rust-src: rustup component add rust-src --toolchain {toolchain}");
    }
    Ok(sources)
}

/// The pinned bpf-linker, our own or one on PATH.
pub(crate) fn bpf_linker() -> Option<PathBuf> {
    let own = target("tools").join("bin/bpf-linker");
    let expected = format!("bpf-linker {BPF_LINKER}");
    let fits =
        |path: &PathBuf| output(Command::new(path).arg("--version")).is_ok_and(|version| version.trim() == expected);
    [Some(own), find("bpf-linker")].into_iter().flatten().find(fits)
}
