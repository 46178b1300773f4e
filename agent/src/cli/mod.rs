//! The command line: one file per verb.
//!
//! Knows nothing of how a verb does its work.

pub mod agent;
pub mod boot;
pub mod bugreport;
pub mod check;
pub mod client;
pub mod events;
pub mod explain;
pub mod generate;
pub mod log;
pub mod open;
pub mod report;
pub mod run;
pub mod status;

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use self::client::Refused;
use crate::exit::Exit;

/// Holds an application's outbound connections in the kernel until its Envoy sidecar is ready.
#[derive(Debug, Parser)]
#[command(name = "conngate", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run one command behind a gate, on this machine, without Kubernetes.
    Run(run::Options),
    /// Gate the pods of this node that ask for it.
    Agent(Box<agent::Options>),
    /// Hold what starts on this node before the agent: for a unit that runs before the kubelet.
    Boot(boot::Options),
    /// Check whether this machine can hold connections, and what each finding means.
    Check(check::Options),
    /// Show this node's agent and its gates.
    Status(status::Options),
    /// Explain a pod's gate: what it holds, what it waits for, what was decided.
    Explain(explain::Options),
    /// Show what happened to gates and connections.
    Events(events::Options),
    /// Open a pod's gate, or all gates, by hand.
    Open(open::Options),
    /// Write an HTML page with a timeline of this node's last gates and their connections.
    Report(report::Options),
    /// Write a tar with everything that a bug report needs.
    Bugreport(bugreport::Options),
    /// Print a completion script for a shell.
    Completions(generate::Completions),
    /// Write manual pages.
    Man(generate::Man),
}

/// What every verb that prints and loads programs understands.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// The programs.
    #[command(flatten)]
    pub programs: Programs,
}

/// What every verb that loads programs understands.
#[derive(Args, Clone, Debug)]
pub struct Programs {
    /// Log level of the eBPF programs: 0 off, 1 errors … 5 everything (also set CONNGATE_LOG). Above 0 the verifier's complete log
    /// of a rejected program is logged too.
    #[arg(long, value_name = "LEVEL", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=5))]
    pub bpf_log: u8,
    /// Use this eBPF object instead of the built-in one.
    #[arg(long, value_name = "FILE", hide = true)]
    pub bpf_object: Option<PathBuf>,
}

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Readable text.
    Text,
    /// One JSON object per line.
    Json,
}

impl Cli {
    /// Does it. Errors are reported here, once, with the chain of causes.
    #[must_use]
    pub fn execute(self) -> Exit {
        let done = match self.verb {
            Verb::Run(options) => return run::run(options),
            Verb::Agent(options) => return agent::agent(*options),
            Verb::Boot(options) => boot::hold(options),
            Verb::Check(options) => check::check(&options),
            Verb::Status(options) => status::status(&options),
            Verb::Explain(options) => explain::explain(&options),
            Verb::Events(options) => events::events(&options),
            Verb::Open(options) => open::open(&options),
            Verb::Report(options) => report::report(&options),
            Verb::Bugreport(options) => bugreport::bugreport(&options),
            Verb::Completions(options) => generate::completions(&options),
            Verb::Man(options) => generate::man(&options),
        };
        done.unwrap_or_else(|error| {
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                // Whoever read has seen enough.
                return Exit::Success;
            }
            eprintln!("conngate: {error:#}");
            if error.is::<Refused>() { Exit::No } else { Exit::Failed }
        })
    }
}

/// One JSON object on a line of its own, at once.
fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string(value)?))
}

/// Text as it is, at once.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// The reference in docs/cli.md: the help of every verb, as it is printed 100 columns wide.
    fn reference() -> String {
        let mut cli = Cli::command().term_width(100);
        cli.build();
        let verbs = cli.get_subcommands_mut().filter(|verb| verb.get_name() != "help");
        let helps = verbs.map(|verb| {
            let help = verb.render_long_help().to_string();
            let help: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
            format!("### conngate {}\n\n```text\n{help}```\n", verb.get_name())
        });
        helps.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn cli_reference_is_what_the_program_prints() {
        crate::testing::assert_reference("docs/cli.md", &reference());
    }
}
