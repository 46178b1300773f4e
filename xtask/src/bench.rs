//! `cargo xtask bench`: the benchmarks, built for release with all that they measure.
//!
//! Knows nothing of them: a package of its own (tests/bench) has them, because this program must build without the agent.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use crate::{
    process::{end_as, run as run_command},
    setup::{Purpose, prepare},
    workspace::{cargo, target},
};

/// Measure, and say how: `release` (how fast a held connection is made), `idle` (what it costs when nothing is held),
/// `node` (the agent with as many pods as a node has), `fairness` (beside a hostile pod) or `scale` (many agents against one
/// API server)
#[derive(Args)]
pub(crate) struct Options {
    /// The benchmark and its options
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "release|idle|node|fairness|scale"
    )]
    arguments: Vec<String>,
}

/// The verb.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let needs_node = options.arguments.first().is_some_and(|benchmark| benchmark == "scale");
    prepare(if needs_node { Purpose::Node } else { Purpose::Demo })?;
    // Not in a step of its own: cargo shows its progress, and says nothing where there is nothing to do.
    let packages = ["--package", "conngate", "--package", "conngate-testbed", "--package", "conngate-bench"];
    run_command(cargo().args(["build", "--release"]).args(packages))?;
    end_as(Command::new(target("release").join("conngate-bench")).args(&options.arguments))
}
