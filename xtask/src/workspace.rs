//! Where things are in the checkout, and what cargo knows about it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::process;

/// The eBPF object, relative to the checkout.
pub(crate) const OBJECT: &str = "agent/src/bpf/object/conngate.bpf.o";
/// The digest of the object's sources, relative to the checkout.
pub(crate) const OBJECT_DIGEST: &str = "agent/src/bpf/object/conngate.bpf.sha256";

/// The checkout that this program was built from.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Whatever is made here and can be made again: target/`name`.
pub(crate) fn target(name: &str) -> PathBuf {
    root().join("target").join(name)
}

/// The stable cargo, in the checkout.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root());
    cargo
}

/// The part of `cargo metadata` that is used here.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    /// Every package of the lock file.
    pub(crate) packages: Vec<Package>,
}

/// One package.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// An SPDX expression; absent where the package names a file.
    pub(crate) license: Option<String>,
    /// Absent for packages of the checkout.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a `[dependencies]` section.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) rename: Option<String>,
}

impl Package {
    /// The directory of the package's manifest.
    pub(crate) fn directory(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }
}

/// `cargo metadata` of the workspace in `directory`; downloads what is not there yet. `locked`: Cargo.lock must not change.
pub(crate) fn metadata(directory: &Path, locked: bool) -> Result<Metadata> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version", "1"]).args(locked.then_some("--locked")).current_dir(directory);
    serde_json::from_str(&process::output(&mut cargo)?).context("cargo metadata is not what it was")
}
