//! `conngate events`: what happened to gates and connections lately, and with -f what happens.
//!
//! Knows nothing of how it is found out.

use anyhow::Context as _;
use clap::Args;
use http_body_util::BodyExt as _;
use hyper::Method;

use super::{Output, client::Client, print, print_json};
use crate::{
    exit::Exit,
    view::{event::Event, text::event::text},
};

/// Options of `conngate events`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit status: 0; 125 when the agent cannot be reached, or goes away during --follow.")]
pub struct Options {
    /// The agent.
    #[command(flatten)]
    pub client: Client,
    /// Keep printing new events.
    #[arg(short, long)]
    pub follow: bool,
    /// Only events of this pod: NAMESPACE/NAME.
    #[arg(long, value_name = "POD")]
    pub pod: Option<String>,
}

/// Shows them.
///
/// # Errors
/// When the agent cannot be reached, or goes away.
pub fn events(options: &Options) -> anyhow::Result<Exit> {
    options.client.block_on(async {
        let path = if options.follow { "/v1/events/follow" } else { "/v1/events" };
        let mut body = options.client.request(Method::GET, path).await?.into_body();
        let mut buffer = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.context("the agent is gone")?.into_data() else { continue };
            buffer.extend_from_slice(&data);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = buffer.drain(..=end).collect();
                let event =
                    serde_json::from_slice(&line).context("the agent's answer does not have this version's format")?;
                show(options, &event)?;
            }
        }
        if options.follow { Err(anyhow::anyhow!("the agent is gone")) } else { Ok(Exit::Success) }
    })
}

fn show(options: &Options, event: &Event) -> anyhow::Result<()> {
    let of_another = options.pod.is_some() && event.pod.is_some() && options.pod != event.pod;
    match options.client.output {
        _ if of_another => {}
        Output::Json => print_json(event)?,
        Output::Text => print(&format!("{}\n", text(event)))?,
    }
    Ok(())
}
