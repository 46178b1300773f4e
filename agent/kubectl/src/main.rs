//! `kubectl conngate`: what `conngate` says on a node, asked of all nodes from a workstation.
//!
//! Finds the agents by their label, runs `/conngate VERB -o json` in each as `kubectl exec` does, and merges the answers. The
//! shapes and their words are the agent's own (conngate-view).

mod answer;
mod ask;
mod cli;
mod cluster;
mod complete;
mod exit;
mod output;
mod progress;
#[cfg(test)]
#[path = "../../src/testing.rs"]
mod testing;
mod verbs;

use std::{io, process::ExitCode};

use clap::Parser as _;

use self::{
    cli::{Cli, Verb},
    cluster::{Cluster, Missing},
    exit::Exit,
};

fn main() -> ExitCode {
    let exit = execute(Cli::parse()).unwrap_or_else(|error| {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            // Whoever read has seen enough.
            return Exit::Success;
        }
        eprintln!("kubectl conngate: {}", ask::chain(error.as_ref()));
        if error.is::<Missing>() { Exit::No } else { Exit::Failed }
    });
    exit.into()
}

fn execute(cli: Cli) -> anyhow::Result<Exit> {
    match &cli.verb {
        Verb::Completions(options) => return complete::script(options),
        Verb::Complete(options) => return complete::candidates(options),
        Verb::Bugreport(options) if options.is_for_a_terminal() => {
            eprintln!("kubectl conngate: refusing to write a tar to a terminal: use -o FILE");
            return Ok(Exit::Usage);
        }
        Verb::Status(_)
        | Verb::Top(_)
        | Verb::Explain(_)
        | Verb::Events(_)
        | Verb::Open(_)
        | Verb::Check(_)
        | Verb::Bugreport(_) => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let cluster = Cluster::connect(cli.access).await?;
        match cli.verb {
            Verb::Status(options) => verbs::status::status(&cluster, &options).await,
            Verb::Top(options) => verbs::top::top(&cluster, &options).await,
            Verb::Explain(options) => verbs::explain::explain(&cluster, &options).await,
            Verb::Events(options) => verbs::events::events(&cluster, &options).await,
            Verb::Open(options) => verbs::open::open(&cluster, &options).await,
            Verb::Check(options) => verbs::check::check(&cluster, &options).await,
            Verb::Bugreport(options) => verbs::bugreport::bugreport(&cluster, &options).await,
            Verb::Completions(_) | Verb::Complete(_) => Ok(Exit::Success),
        }
    })
}
