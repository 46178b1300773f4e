//! `conngate check`: can this machine hold connections? One line per finding, with what it means. With `--agents`: are those
//! agents well?
//!
//! Knows nothing of what is found; each file beside this one looks at one thing.

mod agents;
mod machine;
mod node;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Common, Output, client::Client, print_json};
use crate::exit::Exit;

/// Version of the JSON shape.
const SHAPE: u32 = 1;

/// Options of `conngate check`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit status: 0 when nothing fails (warnings included), 1 otherwise.")]
pub struct Options {
    /// What every verb understands.
    #[command(flatten)]
    pub common: Common,
    /// Where an agent of this machine is asked.
    #[arg(long, value_name = "PATH", env = "CONNGATE_SOCKET", hide_env_values = true,
        default_value = crate::serve::socket::DEFAULT)]
    pub socket: PathBuf,
    /// The kubelet's kubepods cgroup or a directory above it; found when absent.
    #[arg(long, value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    /// Where an agent pins.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf")]
    pub bpffs: PathBuf,
    /// Ask every agent at this name's addresses over HTTP, instead of looking at this machine.
    #[arg(long, value_name = "HOST:PORT")]
    pub agents: Option<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    /// As it should be.
    Ok,
    /// Something works less well; the finding says what.
    Warn,
    /// conngate cannot hold connections here.
    Fail,
}

struct Finding {
    level: Level,
    subject: &'static str,
    found: String,
    means: String,
}

impl Finding {
    fn new(level: Level, subject: &'static str, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self { level, subject, found: found.into(), means: means.into() }
    }

    const fn word(&self) -> &'static str {
        match self.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        }
    }
}

/// Prints all findings.
///
/// # Errors
/// When there is no event loop, or nobody to print to.
pub fn check(options: &Options) -> anyhow::Result<Exit> {
    let client = Client { socket: options.socket.clone(), output: options.common.output };
    let findings = match &options.agents {
        Some(agents) => client.block_on(async { Ok(agents::findings(agents).await) })?,
        None => {
            let (kubepods, found) = node::kubepods(options.cgroup_root.as_deref());
            let mut findings = machine::findings(&options.common.programs, kubepods.as_ref());
            findings.extend([found, node::pins(&options.bpffs, kubepods.is_some())]);
            findings.push(client.block_on(async { Ok(node::agent(&client).await) })?);
            findings
        }
    };
    print(options.common.output, &findings)?;
    Ok(if findings.iter().any(|finding| finding.level == Level::Fail) { Exit::No } else { Exit::Success })
}

fn print(output: Output, findings: &[Finding]) -> anyhow::Result<()> {
    match output {
        Output::Text => {
            let lines = findings.iter().map(|finding| {
                format!("{:<5} {:<11} {}: {}\n", finding.word(), finding.subject, finding.found, finding.means)
            });
            super::print(&lines.collect::<String>())
        }
        Output::Json => {
            let findings = findings.iter().map(|finding| {
                json!({
                    "level": finding.word(),
                    "subject": finding.subject,
                    "found": finding.found,
                    "means": finding.means,
                })
            });
            print_json(&json!({ "version": SHAPE, "findings": findings.collect::<Vec<_>>() }))
        }
    }
}
