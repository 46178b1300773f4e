//! The `conngate` binary: parses the command line and ends with the verb's exit code.

use std::process::ExitCode;

use clap::Parser as _;
use conngate::cli::{Cli, log};

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::begin(&cli.verb);
    cli.execute().into()
}
