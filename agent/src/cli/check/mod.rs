//! `conngate check`: can this machine hold connections? One line per finding, with what it means. With `--agents`: are those
//! agents well?
//!
//! Knows nothing of what is found; each file beside this one looks at one thing.

mod agents;
mod machine;
mod node;

use std::path::PathBuf;

use clap::Args;

use super::{Common, Output, Programs, client::Client, print_json};
use crate::{
    exit::Exit,
    view::{check::Checked, text::check::text},
};

/// Options of `conngate check`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit status: 0 when nothing fails (warnings included), 1 otherwise.")]
pub struct Options {
    /// What every verb understands.
    #[command(flatten)]
    pub common: Common,
    /// The socket of an agent on this machine.
    #[arg(long, value_name = "PATH", env = "CONNGATE_SOCKET", hide_env_values = true,
        default_value = crate::serve::socket::DEFAULT)]
    pub socket: PathBuf,
    /// The node.
    #[command(flatten)]
    pub node: Place,
    /// Ask the agents at all addresses of this name over HTTP, instead of checking this machine.
    #[arg(long, value_name = "HOST:PORT")]
    pub agents: Option<String>,
}

/// Where a node has its pods and its pins.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// The kubelet's kubepods cgroup or a directory above it; default: detected.
    #[arg(long, value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    /// The bpf file system that an agent pins to.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf")]
    pub bpffs: PathBuf,
}

/// Prints all findings.
///
/// # Errors
/// When there is no event loop, or nobody to print to.
pub fn check(options: &Options) -> anyhow::Result<Exit> {
    let client = Client { socket: options.socket.clone(), output: options.common.output };
    let checked = match &options.agents {
        Some(agents) => Checked::new(client.block_on(async { Ok(agents::findings(agents).await) })?),
        None => client.block_on(here(&client, &options.common.programs, &options.node))?,
    };
    match client.output {
        Output::Text => super::print(&text(&checked))?,
        Output::Json => print_json(&checked)?,
    }
    Ok(if checked.is_well() { Exit::Success } else { Exit::No })
}

/// What is found on this machine.
pub(super) async fn here(client: &Client, programs: &Programs, place: &Place) -> anyhow::Result<Checked> {
    let (kubepods, found) = node::kubepods(place.cgroup_root.as_deref());
    let mut findings = machine::findings(programs, kubepods.as_ref(), &place.bpffs);
    findings.extend([found, node::pins(&place.bpffs, kubepods.is_some())]);
    findings.push(node::agent(client).await);
    Ok(Checked::new(findings))
}
