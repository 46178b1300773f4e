//! `conngate completions` and `conngate man`: made of the command line itself, so that they cannot lie.
//!
//! Knows nothing of the verbs.

use std::{fs, io, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use crate::exit::Exit;

/// Options of `conngate completions`.
#[derive(Args, Clone, Debug)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Options of `conngate man`.
#[derive(Args, Clone, Debug)]
pub struct Man {
    /// Where the pages are written to; it must be there.
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
}

/// Prints a completion script.
pub fn completions(options: &Completions) -> Exit {
    clap_complete::generate(options.shell, &mut Cli::command(), "conngate", &mut io::stdout());
    Exit::Success
}

/// Writes one page for the program and one for each verb.
///
/// # Errors
/// When a page cannot be written.
pub fn man(options: &Man) -> anyhow::Result<Exit> {
    let directory = &options.directory;
    fs::metadata(directory).with_context(|| format!("no directory {}", directory.display()))?;
    clap_mangen::generate_to(Cli::command(), directory)
        .with_context(|| format!("cannot write to {}", directory.display()))?;
    Ok(Exit::Success)
}
