//! `conngate status`: the agent of this node and its gates.
//!
//! Knows nothing of how it is found out, or of the words.

use std::{io::IsTerminal as _, time::Duration};

use clap::Args;
use hyper::Method;

use super::{Output, client::Client, print, print_json};
use crate::{
    exit::Exit,
    values::interval,
    view::{Time, status::Status, text::status::text},
};

/// Options of `conngate status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit status: 0 when the agent is ready, 1 when it is not, 125 when it cannot be reached.")]
pub struct Options {
    /// The agent.
    #[command(flatten)]
    pub client: Client,
    /// Refresh until interrupted.
    #[arg(long)]
    pub watch: bool,
    /// How often to refresh, with --watch (100ms to 1h).
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
}

/// Shows it.
///
/// # Errors
/// When the agent cannot be reached.
pub fn status(options: &Options) -> anyhow::Result<Exit> {
    options.client.block_on(async {
        loop {
            let status: Status = options.client.ask(Method::GET, "/v1/status").await?;
            match options.client.output {
                Output::Json => print_json(&status)?,
                Output::Text => {
                    // From the top of an empty screen, where there is one.
                    let clear = if options.watch && std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
                    print(&format!("{clear}{}\n", text(&status, Time::now())))?;
                }
            }
            if !options.watch {
                return Ok(if status.ready { Exit::Success } else { Exit::No });
            }
            tokio::time::sleep(options.interval).await;
        }
    })
}
