//! The `conngate` binary: parses the command line and ends with the verb's exit code.

use std::process::ExitCode;

use clap::Parser as _;
use conngate::cli::Cli;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("CONNGATE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // Also takes what the eBPF programs log (aya-log speaks the `log` crate's language).
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Cli::parse().execute().into()
}
