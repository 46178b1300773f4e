//! The command line.
//!
//! Knows nothing of how a verb does its work. docs/kubectl.md has what is printed here, and a test keeps it so.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    complete,
    verbs::{bugreport, check, events, explain, open, status, top},
};

/// Asks the conngate agents of all nodes.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-conngate",
    bin_name = "kubectl conngate",
    version,
    about,
    propagate_version = true,
    after_help = "Exit status: 0; 1 when the answer is no (an agent that is not ready, a finding that fails, no such pod); 2 for a \
        wrong command line; 3 when some agents could not be reached (prints the answers of the others, and the errors at \
        the end); 125 when the cluster cannot be reached or has no agent."
)]
pub(crate) struct Cli {
    /// Which cluster, and which of its nodes.
    #[command(flatten)]
    pub(crate) access: Access,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show the agents of all nodes and what they hold; with one node, the details.
    Status(status::Options),
    /// Show the pods with held connections, and those that would be held, most first.
    Top(top::Options),
    /// Explain a pod's gate: what it holds, what it waits for, what was decided.
    Explain(explain::Options),
    /// Show what happened to gates and connections on all nodes.
    Events(events::Options),
    /// Open a pod's gate, or all gates, by hand.
    Open(open::Options),
    /// Check whether every node can hold connections, what each finding means and what to do.
    Check(check::Options),
    /// Write a tar with everything that a bug report needs, from all nodes.
    Bugreport(bugreport::Options),
    /// Print a completion script for a shell.
    Completions(complete::Script),
    /// What kubectl asks for completions.
    #[command(name = "__complete", hide = true)]
    Complete(complete::Candidates),
}

/// Which cluster, and which of its nodes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Access {
    /// The kubeconfig; default: $KUBECONFIG, else ~/.kube/config.
    #[arg(long, value_name = "FILE", global = true, help_heading = "Cluster")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME", global = true, help_heading = "Cluster")]
    pub(crate) context: Option<String>,
    /// The namespace of POD; default: the context's namespace.
    #[arg(short, long, value_name = "NAMESPACE", global = true, help_heading = "Cluster")]
    pub(crate) namespace: Option<String>,
    /// Ask only this node's agent; repeatable.
    #[arg(long, value_name = "NODE", global = true, help_heading = "Cluster")]
    pub(crate) node: Vec<String>,
    /// The agents' namespace; default: all namespaces.
    #[arg(long, value_name = "NAMESPACE", global = true, help_heading = "Cluster")]
    pub(crate) agent_namespace: Option<String>,
    /// How many agents to ask at a time.
    #[arg(long, value_name = "N", default_value = "16", global = true, help_heading = "Cluster")]
    pub(crate) parallel: NonZeroUsize,
    /// How long one agent may take to answer.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration, global = true,
        help_heading = "Cluster")]
    pub(crate) timeout: Duration,
}

/// What every verb that prints understands.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Print {
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Readable text.
    Text,
    /// One JSON object per line.
    Json,
}

/// To ask again until all is well.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// Repeat until all is well, for at most this long (default 5m).
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, num_args = 0..=1, require_equals = true,
        default_missing_value = "5m")]
    pub(crate) wait: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// The reference in docs/kubectl.md: the help of every verb, as it is printed 100 columns wide.
    fn reference() -> String {
        let mut cli = Cli::command().term_width(100);
        cli.build();
        let verbs = cli.get_subcommands_mut().filter(|verb| !["help", "__complete"].contains(&verb.get_name()));
        let helps = verbs.map(|verb| {
            // What all verbs have is said once, below.
            let own = verb.clone().mut_args(|arg| match arg.get_help_heading() {
                Some("Cluster") => arg.hide(true),
                Some(_) | None => arg,
            });
            let help = own.term_width(100).render_long_help().to_string();
            let help: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
            format!("### kubectl conngate {}\n\n```text\n{help}```\n", verb.get_name())
        });
        let helps: Vec<_> = helps.collect();
        let whole = Cli::command().term_width(100).render_long_help().to_string();
        let whole: String = whole.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        format!("### kubectl conngate\n\n```text\n{whole}```\n\n{}", helps.join("\n"))
    }

    #[test]
    fn cli_reference_is_what_the_program_prints() {
        crate::testing::assert_reference("docs/kubectl.md", &reference());
    }

    #[test]
    fn cli_of_every_verb_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["kubectl-conngate", "status", "--wait", "--node", "a", "--node", "b"]).unwrap();
        let Verb::Status(options) = cli.verb else { panic!("another verb") };
        assert_eq!((options.wait.wait, cli.access.node.len()), (Some(Duration::from_secs(300)), 2));
        let cli = Cli::try_parse_from(["kubectl-conngate", "check", "--wait=20s"]).unwrap();
        assert!(matches!(cli.verb, Verb::Check(options) if options.wait.wait == Some(Duration::from_secs(20))));
        assert!(Cli::try_parse_from(["kubectl-conngate", "open"]).is_err());
        assert!(Cli::try_parse_from(["kubectl-conngate", "open", "--all", "a/b"]).is_err());
    }
}
