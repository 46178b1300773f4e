//! Commands inside a running node, and what runs there.
//!
//! Knows nothing of the cluster: it needs the init's process id.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use super::{build::go, configuration::ADMIN};
use crate::lab::{process, tool};

/// The way into a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inside(pub(super) Pid);

impl Inside {
    /// A command that will run `program` inside; it is killed when its child here is.
    pub(super) fn command(self, program: impl AsRef<OsStr>) -> Result<Command> {
        self.enter(&[], program.as_ref())
    }

    /// As [`Inside::command`], in the network namespace outside of the node.
    pub(super) fn command_outside(self, program: impl AsRef<OsStr>) -> Result<Command> {
        self.enter(&["--outside"], program.as_ref())
    }

    /// Starts `command` inside and leaves it there. What it says is added to `log`.
    pub(super) fn leave(self, command: &[String], log: &Path) -> Result<()> {
        let (program, arguments) = command.split_first().context("a command has a program")?;
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write to {}", log.display()))?;
        let mut enter = self.enter(&["--leave"], program.as_ref())?;
        enter.args(arguments).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).current_dir("/");
        let status = enter.status().context("cannot enter the node")?;
        if !status.success() {
            bail!("{program} could not be started: see {}", log.display());
        }
        Ok(())
    }

    fn enter(self, options: &[&str], program: &OsStr) -> Result<Command> {
        let mut enter = Command::new(node_program()?);
        enter.arg("enter").args(options).arg(self.0.to_string()).arg("--").arg(program);
        enter.env("PATH", path()?).env("KUBECONFIG", ADMIN);
        process::mark(&mut enter);
        Ok(enter)
    }

    /// The processes inside that run `program`, by the pids that they have there.
    pub(super) fn processes(self, program: &str) -> Vec<i32> {
        let proc = self.file("/proc");
        let Ok(entries) = fs::read_dir(&proc) else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
        pids.filter(|pid: &i32| {
            let command = fs::read(proc.join(pid.to_string()).join("cmdline")).unwrap_or_default();
            let name = command.split(|byte| *byte == 0).next().unwrap_or_default();
            Path::new(OsStr::new(&*String::from_utf8_lossy(name))).file_name() == Some(OsStr::new(program))
        })
        .collect()
    }

    /// Sends `signal` (as kill(1) spells it) to every process inside that runs `program`; how many there are.
    pub(super) fn signal(self, program: &str, signal: &str) -> Result<usize> {
        let pids = self.processes(program);
        for pid in &pids {
            let mut kill = self.command("sh")?;
            kill.args(["-c", &format!("kill -{signal} {pid}")]).stderr(Stdio::null());
            // It may have ended by itself.
            let _ = kill.status().context("cannot enter the node")?;
        }
        Ok(pids.len())
    }

    /// A file of the node, as it is seen from here.
    pub(super) fn file(self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.0))
    }
}

/// The program of which the node's own processes are.
pub(super) fn node_program() -> Result<PathBuf> {
    tool::built("conngate-test-node", "conngate-testbed")
}

/// What is built comes first; administrators' directories, that a user's PATH may lack, last.
fn path() -> Result<std::ffi::OsString> {
    let own = env::var_os("PATH").unwrap_or_default();
    let last = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    Ok(env::join_paths([go::directory()?].into_iter().chain(env::split_paths(&own)).chain(last))?)
}
