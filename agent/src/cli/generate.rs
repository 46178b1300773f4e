//! `conngate completions` and `conngate man`: made of the command line itself, so that they cannot lie.
//!
//! Knows nothing of the verbs.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, print};
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
    /// An existing directory for the pages.
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
}

/// Prints a completion script.
///
/// # Errors
/// When nobody reads it.
pub fn completions(options: &Completions) -> anyhow::Result<Exit> {
    print(&script(options.shell))?;
    Ok(Exit::Success)
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "conngate", &mut script);
    String::from_utf8_lossy(&script).into_owned()
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

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn completions_of_every_shell_know_every_verb() {
        let verbs: Vec<_> = Cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
        for shell in Shell::value_variants() {
            let script = script(*shell);
            assert!(verbs.iter().all(|verb| script.contains(verb.as_str())), "{shell}");
        }
    }

    #[test]
    fn man_writes_a_page_for_each_verb_and_names_a_directory_that_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        man(&Man { directory: directory.path().to_owned() }).unwrap();
        for page in ["conngate.1", "conngate-agent.1", "conngate-explain.1"] {
            assert!(fs::read_to_string(directory.path().join(page)).unwrap().contains("conngate"), "{page}");
        }
        let error = man(&Man { directory: directory.path().join("none") }).unwrap_err();
        assert!(format!("{error:#}").contains("none"), "{error:#}");
    }
}
