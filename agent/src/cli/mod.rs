//! The command line: one file per verb.
//!
//! Knows nothing of how a verb does its work.

pub mod agent;
pub mod check;
pub mod log;
pub mod run;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Say whether this machine can hold connections, and what each finding means.
    Check(check::Options),
}

/// What every verb that prints and loads programs understands.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// How results are printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// The programs.
    #[command(flatten)]
    pub programs: Programs,
}

/// What every verb that loads programs understands.
#[derive(Args, Clone, Debug)]
pub struct Programs {
    /// Let the eBPF programs log: 0 off, 1 errors … 5 everything (also set CONNGATE_LOG).
    #[arg(long, value_name = "LEVEL", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=5))]
    pub bpf_log: u8,
    /// Use this eBPF object instead of the built-in one.
    #[arg(long, value_name = "FILE", hide = true)]
    pub bpf_object: Option<PathBuf>,
}

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Cli {
    /// Does it. Errors are reported here, once, with the chain of causes.
    #[must_use]
    pub fn execute(self) -> Exit {
        match self.verb {
            Verb::Run(options) => run::run(options),
            Verb::Agent(options) => agent::agent(*options),
            Verb::Check(options) => check::check(&options),
        }
    }
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
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
        let document = std::fs::read_to_string(path).unwrap();
        let (before, rest) = document.split_once("<!-- reference -->\n").expect("the reference begins");
        let (reference_there, after) = rest.split_once("<!-- end of reference -->\n").expect("the reference ends");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            let updated = format!("{before}<!-- reference -->\n{}<!-- end of reference -->\n{after}", reference());
            std::fs::write(path, updated).unwrap();
        } else {
            assert_eq!(reference_there, reference(), "run this test with UPDATE_DOCS=1");
        }
    }
}
