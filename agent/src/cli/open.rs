//! `conngate open`: an operator opens a gate, or all of them, whatever the proxy says.
//!
//! Knows nothing of how. The agent logs who asked, and counts it with the reason `operator`.

use clap::Args;
use hyper::Method;

use super::{
    Output,
    client::{Client, escaped},
    print, print_json,
};
use crate::{
    exit::Exit,
    view::{open::Opened, text::open::text},
};

/// Options of `conngate open`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "A gate opened by hand stays open, even if its pod asks for regate.\n\
    Exit status: 0; 1 when the pod is not known or has no gate; 125 when the agent cannot be reached.")]
pub struct Options {
    /// NAMESPACE/NAME, or NAME where only one pod of the node has it.
    #[arg(value_name = "POD", required_unless_present = "all", conflicts_with = "all")]
    pub pod: Option<String>,
    /// Open every closed gate of this node.
    #[arg(long)]
    pub all: bool,
    /// The agent.
    #[command(flatten)]
    pub client: Client,
}

/// Opens.
///
/// # Errors
/// When the agent cannot be reached, or there is no such gate.
pub fn open(options: &Options) -> anyhow::Result<Exit> {
    let path = match &options.pod {
        Some(pod) => format!("/v1/open/{}", escaped(pod)),
        None => "/v1/open".to_owned(),
    };
    let opened: Opened = options.client.block_on(options.client.ask(Method::POST, &path))?;
    match options.client.output {
        Output::Json => print_json(&opened)?,
        Output::Text => print(&text(&opened))?,
    }
    Ok(Exit::Success)
}
