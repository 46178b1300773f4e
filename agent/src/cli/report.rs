//! `conngate report`: the last gates of this node on one HTML page that opens anywhere.
//!
//! Knows nothing of what the page looks like.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use hyper::Method;

use super::{Output, client::Client, print, print_json};
use crate::{exit::Exit, report::page, view::report::Report};

/// Options of `conngate report`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit status: 0; 125 when the agent cannot be reached or the page cannot be written.")]
pub struct Options {
    /// The agent; with `-o json` what the page is made of goes to stdout, and no page is written.
    #[command(flatten)]
    pub client: Client,
    /// The page; `-`: stdout.
    #[arg(long, value_name = "FILE", default_value = "conngate-report.html")]
    pub file: PathBuf,
}

/// Writes it.
///
/// # Errors
/// When the agent cannot be reached, or the file cannot be written.
pub fn report(options: &Options) -> anyhow::Result<Exit> {
    let report: Report = options.client.block_on(options.client.ask(Method::GET, "/v1/report"))?;
    match options.client.output {
        Output::Json => print_json(&report)?,
        Output::Text if options.file.as_os_str() == "-" => print(&page(&report))?,
        Output::Text => {
            fs::write(&options.file, page(&report))
                .with_context(|| format!("cannot write {} (--file)", options.file.display()))?;
            print(&format!("{}: {} gates\n", options.file.display(), report.lives.len()))?;
        }
    }
    Ok(Exit::Success)
}
