//! The programs of the kernel tier, built, and the disk with them that is mounted where the checkout is on this machine:
//! tests know their files by absolute paths.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use conngate_testbed::{lab::envoy::binary_for, step::step};
use serde::Deserialize;

use super::{
    arch::Arch,
    cross::{built, cargo},
    disk,
};
use crate::{
    process::{output, run},
    test::{KERNEL, MACHINE},
    workspace::{OBJECT, root, target},
};

/// What tests start, of the packages that are built for it.
const STARTED: [(&str, &str); 2] = [("conngate", "conngate"), ("conngate-test-client", "conngate-testbed")];

/// What tests read, relative to the checkout, directories whole.
const READ: [&str; 3] = [OBJECT, "docs", "tests/Cargo.toml"];

/// Where tests look for Envoy's binary, relative to the checkout.
const ENVOY: &str = "target/envoy/envoy";

/// For what tests write beside their programs.
const SPARE: u64 = 256 << 20;

/// A program with tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// What its tests are named by.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// What its runner is always told.
    pub(crate) runner: &'static [&'static str],
}

/// A line of what cargo says in JSON.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    profile: Option<Profile>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds them.
pub(crate) fn build(arch: Arch) -> Result<Vec<Program>> {
    step(&format!("build the tests for {arch}"), || {
        for (program, package) in STARTED {
            run(cargo(arch)?.args(["build", "--quiet", "--package", package, "--bin", program]))?;
        }
        let mut programs = Vec::new();
        for tests in KERNEL.iter().chain([&MACHINE]) {
            let mut build = cargo(arch)?;
            build.args(["test", "--quiet", "--no-run", "--message-format=json"]).args(tests.cargo);
            programs.extend(tested(&output(&mut build)?, tests.runner));
        }
        Ok(programs)
    })
}

/// The programs in what cargo said.
fn tested(said: &str, runner: &'static [&'static str]) -> Vec<Program> {
    let messages = said.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let programs = messages.filter_map(|message| {
        let (path, target) = (message.executable?, message.target?);
        // A library and a program may have one name.
        let prefix = if target.kind.iter().any(|kind| kind == "bin") { "bin-" } else { "" };
        message.profile?.test.then(|| Program { name: format!("{prefix}{}", target.name), path, runner })
    });
    programs.collect()
}

/// Makes the disk; its path.
pub(crate) fn disk(programs: &[Program], arch: Arch) -> Result<PathBuf> {
    let directory = target("vm").join(format!("checkout-{arch}"));
    let image = directory.with_extension("ext4");
    step("the disk with the tests", || {
        let _ = fs::remove_dir_all(&directory);
        let started = STARTED.map(|(name, _)| built(arch).join(name));
        for path in programs.iter().map(|program| &program.path).chain(&started) {
            let inside = made_for(&directory, path)?;
            // Most of such a program is for a debugger.
            run(Command::new(arch.binutil("strip")).arg("--strip-debug").arg("-o").arg(inside).arg(path))?;
        }
        fs::copy(binary_for(arch.word())?, made_for(&directory, &root().join(ENVOY))?).context("cannot copy Envoy")?;
        for path in READ {
            let inside = made_for(&directory, &root().join(path))?;
            run(Command::new("cp").arg("--recursive").arg(root().join(path)).arg(inside))?;
        }
        // Other users come by here on their way to Envoy and to the client.
        run(Command::new("chmod").args(["--recursive", "a+rX"]).arg(&directory))?;
        disk::make(&directory, &image, SPARE)?;
        fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))
    })?;
    Ok(image)
}

/// Where the file `path` of the checkout is below `directory`, whose directories are made.
fn made_for(directory: &Path, path: &Path) -> Result<PathBuf> {
    let inside = path.strip_prefix(root()).with_context(|| format!("{} is not in the checkout", path.display()))?;
    let inside = directory.join(inside);
    fs::create_dir_all(inside.parent().context("a file is in a directory")?)?;
    Ok(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tested_programs_are_those_with_tests() {
        let said = r#"
{"reason":"compiler-artifact","target":{"name":"conngate","kind":["lib"]},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"name":"conngate","kind":["lib"]},"profile":{"test":true},"executable":"/t/a"}
{"reason":"compiler-artifact","target":{"name":"conngate","kind":["bin"]},"profile":{"test":true},"executable":"/t/b"}
{"reason":"compiler-artifact","target":{"name":"conngate","kind":["bin"]},"profile":{"test":false},"executable":"/t/c"}
{"reason":"build-finished","success":true}
"#;
        let names: Vec<_> = tested(said, &[]).into_iter().map(|program| program.name).collect();
        assert_eq!(names, ["conngate", "bin-conngate"]);
    }
}
