//! Programs of the Go modules in tests/testbed/cluster, built once.
//!
//! Knows nothing of what they do. Versions are pinned by go.mod and go.sum; what changes them, or Go, builds anew.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{
    super::place::{modules, shared},
    stamp::{Digest, Stamp},
};
use crate::{lab::tool, step::step};

/// Some programs of one module.
#[derive(Debug)]
pub(super) struct Programs {
    /// The module's directory in tests/testbed/cluster.
    pub(super) module: &'static str,
    /// Packages of the module or of what it requires; each makes a program named after its last element.
    pub(super) packages: &'static [&'static str],
    /// For people: what a build takes from nothing, on two cores.
    pub(super) takes: &'static str,
    /// Given to the linker: a variable, and the module whose version is its value.
    pub(super) version: Option<(&'static str, &'static str)>,
}

impl Programs {
    /// Builds what is missing or out of date; the digest of what it was built from.
    pub(super) fn build(&self) -> Result<Digest> {
        let digest = self.digest()?;
        let names: Vec<_> = self.packages.iter().map(|package| name(package)).collect();
        let stamp = Stamp::new(&names.join("+"))?;
        let missing = names.iter().map(|name| program(name)).collect::<Result<Vec<_>>>()?;
        if stamp.fits(&digest) && missing.iter().all(|path| path.is_file()) {
            return Ok(digest);
        }
        step(&format!("go build {} (once; {} from nothing)", names.join(" "), self.takes), || {
            let mut go = go(self.module);
            let mut flags = "-s -w".to_owned();
            if let Some((variable, module)) = self.version {
                flags += &format!(" -X {variable}={}", version(self.module, module)?);
            }
            go.args(["build", "-trimpath", "-ldflags", &flags, "-o"]).arg(directory()?).args(self.packages);
            let status = go.status().context("cannot start go")?;
            if !status.success() {
                bail!("go build ended with {status}");
            }
            Ok(())
        })?;
        stamp.set(&digest)?;
        Ok(digest)
    }

    fn digest(&self) -> Result<Digest> {
        let mut go = go(self.module);
        go.arg("version");
        let go_version = tool::feed(go, "")
            .with_context(|| format!("{} is built with Go 1.26 or newer (https://go.dev/dl/)", self.module))?;
        let mut digest = Digest::default().text(&go_version).text(&self.packages.join(" "));
        for file in files(&modules().join(self.module))? {
            digest = digest.file(&file)?;
        }
        Ok(digest)
    }
}

/// The directory of the programs.
pub(in super::super) fn directory() -> Result<PathBuf> {
    let directory = shared("bin");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

/// Where the program `name` is, once it is built.
pub(in super::super) fn program(name: &str) -> Result<PathBuf> {
    Ok(directory()?.join(name))
}

/// Where the sources of `dependency` are that `module` pins; downloaded if need be.
pub(super) fn source(module: &str, dependency: &str) -> Result<PathBuf> {
    let mut go = go(module);
    go.args(["mod", "download", "-json", dependency]);
    let answer: serde_json::Value = serde_json::from_str(&tool::feed(go, "")?)?;
    Ok(answer["Dir"].as_str().context("go mod download names a directory")?.into())
}

/// The version of `dependency` that `module` pins.
fn version(module: &str, dependency: &str) -> Result<String> {
    let mut go = go(module);
    go.args(["list", "-m", "-f", "{{.Version}}", dependency]);
    Ok(tool::feed(go, "")?.trim().to_owned())
}

fn go(module: &str) -> Command {
    let mut go = Command::new("go");
    go.current_dir(modules().join(module)).env("CGO_ENABLED", "0");
    go
}

fn name(package: &str) -> &str {
    package.rsplit('/').next().unwrap_or(package)
}

/// The files below `directory`, in order.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
