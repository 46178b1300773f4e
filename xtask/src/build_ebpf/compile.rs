//! Compiles ebpf/ to one BPF object that does not tell where it was built.
//!
//! Invariant: the object depends on the sources and on the toolchain, not on the machine, the user or the checkout.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use super::strip::without_dwarf;
use crate::{
    process::{nightly, run},
    setup::{bpf_linker, rust_src},
    workspace::{metadata, root, target},
};

const TARGET: &str = "bpfel-unknown-none";
const BIN: &str = "conngate";

/// Builds, and gives the object without DWARF. `locked`: ebpf/Cargo.lock must not change.
pub(crate) fn compile(locked: bool) -> Result<Vec<u8>> {
    let linker = bpf_linker().context("no bpf-linker: cargo xtask setup --for ebpf")?;
    let remapped = remapped(locked)?;
    let mut flags = vec![
        // aya-ebpf takes the layout of pt_regs from it, which none of our programs reads: one object for all machines.
        r#"--cfg=bpf_target_arch="x86_64""#.to_owned(),
        "-Cdebuginfo=2".to_owned(),
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
    ];
    flags.extend(remapped.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())));

    let output = target("bpf");
    let mut cargo = nightly("cargo");
    cargo.args(["build", "--release", "--quiet", "-Z", "build-std=core", "--target", TARGET, "--bin", BIN]);
    cargo.arg("--target-dir").arg(&output).args(locked.then_some("--locked"));
    cargo.current_dir(root().join("ebpf")).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    run(&mut cargo)?;

    let linked = output.join(TARGET).join("release").join(BIN);
    let object = without_dwarf(&fs::read(&linked).with_context(|| linked.display().to_string())?)?;
    match remapped.iter().find(|(path, _)| holds(&object, &path.to_string_lossy())) {
        Some((path, _)) => bail!("the object names {}, a path of this machine", path.display()),
        None => Ok(object),
    }
}

fn holds(object: &[u8], path: &str) -> bool {
    object.windows(path.len()).any(|window| window == path.as_bytes())
}

/// Paths of this machine, and what the object says instead; rustc applies the last one that matches.
fn remapped(locked: bool) -> Result<Vec<(PathBuf, String)>> {
    let mut paths = Vec::new();
    // A home of "/" says nothing about the machine, and is part of every path.
    paths.extend(env::home_dir().filter(|home| home.parent().is_some()).map(|home| (home, "/user".to_owned())));
    paths.push((rust_src()?, "/rust".to_owned()));
    for package in metadata(&root().join("ebpf"), locked)?.packages.iter().filter(|package| package.source.is_some()) {
        // The registry's directory names a host, a vendored one does not: name and version say what it is.
        paths.push((package.directory().to_owned(), format!("/{}-{}", package.name, package.version)));
    }
    paths.push((root().to_owned(), "/conngate".to_owned()));
    Ok(paths)
}
