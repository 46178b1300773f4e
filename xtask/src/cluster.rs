//! `cargo xtask cluster`: a real Kubernetes node on this machine, to try conngate on.
//!
//! Knows nothing of how it is made: `conngate_testbed::cluster` does it.

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};

use conngate_testbed::cluster::{Cluster, NAMES, Options as Parts, Place, State};

use crate::{
    process::{end_as, is_root, run as run_command},
    setup::{Purpose, prepare},
    workspace::cargo,
};

/// A real Kubernetes node, and with `--mesh istio` a real Istio, in namespaces of its own
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build it (the first time takes some minutes) and start it
    Up {
        /// With a mesh
        #[arg(long, value_enum)]
        mesh: Option<Mesh>,
        /// Without the image of conngate
        #[arg(long)]
        no_conngate: bool,
    },
    /// End it, and remove all that is left of it
    Down,
    /// Say what runs
    Status,
    /// Run kubectl against it
    Kubectl(Arguments),
    /// Run Helm against it
    Helm(Arguments),
    /// Run a command inside the node
    Exec(Arguments),
    /// Build conngate's image anew and import it
    Load,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mesh {
    Istio,
}

#[derive(Args)]
struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// The verb.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !is_root() {
        bail!("a node needs root: it is made of namespaces and cgroups");
    }
    match &options.verb {
        Verb::Up { mesh, no_conngate } => up(Parts { mesh: mesh.is_some(), conngate: !no_conngate })?,
        Verb::Down => Cluster::down(&Place::up())?,
        Verb::Status => return status(),
        Verb::Kubectl(Arguments { arguments }) => return end_as(attached()?.kubectl_command()?.args(arguments)),
        Verb::Helm(Arguments { arguments }) => return end_as(attached()?.helm_command()?.args(arguments)),
        Verb::Exec(Arguments { arguments }) => {
            let (program, arguments) = arguments.split_first().context("no command")?;
            return end_as(attached()?.exec_in_node(program)?.args(arguments));
        }
        Verb::Load => attached()?.load_conngate()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(parts: Parts) -> Result<()> {
    let place = Place::up();
    match Cluster::state(&place)? {
        State::Up { mesh } if mesh || !parts.mesh => {
            status()?;
            return Ok(());
        }
        State::Up { .. } => bail!("a cluster without a mesh runs: cargo xtask cluster down"),
        State::Unfinished | State::Down => {}
    }
    prepare(Purpose::Node)?;
    run_command(cargo().args(["build", "--quiet", "--package", "conngate-testbed", "--bins"]))?;
    Cluster::up(parts)?;
    status()?;
    println!("try: cargo xtask cluster kubectl get pods --all-namespaces");
    Ok(())
}

/// Prints what runs; a failure where nothing does.
fn status() -> Result<ExitCode> {
    let place = Place::up();
    let state = Cluster::state(&place)?;
    match state {
        State::Down => println!("no cluster runs"),
        State::Unfinished => println!("a cluster is being started, or was not finished"),
        State::Up { mesh } => {
            let cluster = Cluster::attach(&place)?;
            println!(
                "a cluster runs, {} (process {})",
                if mesh { "with Istio" } else { "without a mesh" },
                cluster.init()
            );
            for name in NAMES {
                let state = if cluster.is_running(name) { "runs" } else { "does not run" };
                println!("  {name} {state}: {}", cluster.log(name).display());
            }
        }
    }
    Ok(if state == State::Down { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn attached() -> Result<Cluster> {
    Cluster::attach(&Place::up())
}
