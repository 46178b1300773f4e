//! Other programs: run them, or say which one failed and how.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::versions;

/// What cargo and rustup tell a process below `cargo run` about its own toolchain: not true for another one.
const OF_THIS_TOOLCHAIN: [&str; 7] = [
    "CARGO",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// Runs `command` with this process's stdio.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", spelt(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", spelt(command));
    }
    Ok(())
}

/// Runs `command` with this process's stdio; the status to end with, which is its own.
pub(crate) fn end_as(command: &mut Command) -> Result<ExitCode> {
    let status = command.status().with_context(|| format!("cannot start {}", spelt(command)))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Runs `command` and gives its stdout; its stderr is part of the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {}", spelt(command)))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}:\n{}",
            spelt(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// `program` of the nightly toolchain ("cargo", "rustc"), whatever toolchain runs this process.
pub(crate) fn nightly(program: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(format!("+{}", versions::nightly()));
    for name in OF_THIS_TOOLCHAIN {
        command.env_remove(name);
    }
    command
}

/// Where `program` is on PATH, or in an administrator's directory that PATH may lack.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(sbin).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // /proc/self belongs to the effective user.
    Path::new("/proc/self").metadata().is_ok_and(|metadata| metadata.uid() == 0)
}

fn spelt(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    format!("`{}`", words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
}
