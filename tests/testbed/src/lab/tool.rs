//! Programs: the machine's tools (ip, iptables-restore, pip), run to their end, with their words when they fail; and our own.
//!
//! Knows nothing of namespaces: the caller brings the command.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Runs `command` with `input` on its stdin and returns its stdout; fails with what it said on stderr.
pub fn feed(mut command: Command, input: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    // A program that ends before it has read everything says why on stderr; that is reported below.
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed ({}): {}\ninput:\n{input}", output.status, said.trim());
    }
    written.transpose().with_context(|| format!("cannot write to {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `name` is an executable in PATH or in the directories where administrators' tools live.
#[must_use]
pub fn exists(name: impl AsRef<Path>) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .any(|dir| dir.join(name.as_ref()).is_file())
}

/// The program `name` of this checkout, beside the program that runs now or (for a test) one directory above it.
pub fn built(name: &str, package: &str) -> Result<PathBuf> {
    let here = std::env::current_exe().context("cannot find the running program")?;
    let places = here.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    places
        .into_iter()
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not built: cargo build -p {package}"))
}
