//! Completions: a script for the binary itself, and the answers that kubectl wants from a plug-in.
//!
//! kubectl asks an executable `kubectl_complete-conngate` in the PATH, with the words so far; that is to be
//! `exec kubectl conngate __complete "$@"`. What it wants is one candidate per line and a line `:4` (no files).

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;

use crate::{cli::Cli, exit::Exit, output::print};

/// Options of `completions`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "For `kubectl conngate`, put an executable kubectl_complete-conngate into the PATH that says:\n  \
    exec kubectl conngate __complete \"$@\""
)]
pub(crate) struct Script {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Options of `__complete`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Candidates {
    /// The words so far; the last one may be begun.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

/// Prints the script.
pub(crate) fn script(options: &Script) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "kubectl-conngate", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}

/// Prints what the last word can become.
pub(crate) fn candidates(options: &Candidates) -> anyhow::Result<Exit> {
    let lines: String = possible(&options.words).into_iter().map(|word| word + "\n").collect();
    print(&format!("{lines}:4\n"))?;
    Ok(Exit::Success)
}

/// What the last of `words` can become: verbs, or options of the verb.
fn possible(words: &[String]) -> Vec<String> {
    let mut cli = Cli::command();
    cli.build();
    let (begun, before) = words.split_last().map_or(("", words), |(last, before)| (last.as_str(), before));
    let verb = before.iter().find_map(|word| cli.find_subcommand(word));
    let all = match verb {
        None if !begun.starts_with('-') => verbs(&cli),
        verb => self::options(verb.unwrap_or(&cli)),
    };
    all.into_iter().filter(|word| word.starts_with(begun)).collect()
}

fn verbs(command: &Command) -> Vec<String> {
    let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    shown.map(|verb| verb.get_name().to_owned()).collect()
}

fn options(command: &Command) -> Vec<String> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown.filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Vec<String> {
        possible(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn candidates_of_a_begun_word_are_verbs_or_options() {
        assert_eq!(of(&["st"]), ["status"]);
        assert!(of(&[""]).contains(&"bugreport".to_owned()) && !of(&[""]).contains(&"__complete".to_owned()));
        assert_eq!(of(&["events", "--fol"]), ["--follow"]);
        assert_eq!(of(&["explain", "--names"]), ["--namespace"]);
        assert!(of(&["explain", "web"]).is_empty());
    }
}
