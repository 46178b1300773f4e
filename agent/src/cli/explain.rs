//! `conngate explain POD`: what is held, by whom, to where, since when and why; what it waits for; what was decided.
//!
//! Knows nothing of how it is found out, or of the words.

use clap::Args;
use hyper::Method;

use super::{
    Output,
    client::{Client, escaped},
    print, print_json,
};
use crate::{
    exit::Exit,
    view::{explain::Explanation, text::explain::text},
};

/// Options of `conngate explain`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit status: 0; 1 when the pod is not known; 125 when the agent cannot be reached.")]
pub struct Options {
    /// NAMESPACE/NAME, or NAME where only one pod of the node has it.
    #[arg(value_name = "POD")]
    pub pod: String,
    /// The agent.
    #[command(flatten)]
    pub client: Client,
}

/// Explains it.
///
/// # Errors
/// When the agent cannot be reached, or knows no such pod.
pub fn explain(options: &Options) -> anyhow::Result<Exit> {
    let path = format!("/v1/pods/{}", escaped(&options.pod));
    let explanation: Explanation = options.client.block_on(options.client.ask(Method::GET, &path))?;
    match options.client.output {
        Output::Json => print_json(&explanation)?,
        Output::Text => print(&text(&explanation))?,
    }
    Ok(Exit::Success)
}
