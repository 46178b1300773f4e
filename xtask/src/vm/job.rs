//! What a guest is told to do: `conngate check`, every test's name, then the tests.
//!
//! Knows nothing of how the guest is started; xtask/vm/job.sh has the words that are used here.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{accelerator::Accelerator, arch::Arch, cross::built, programs::Program, selection::Selection};
use crate::workspace::root;

/// So many tests at a time, where the runner is not told another number; the laboratory's own wait for each other.
const THREADS: [&str; 2] = ["--test-threads", "2"];

/// The job, as files.
pub(crate) struct Job {
    /// Variables.
    pub(crate) environment: String,
    /// Words for the shell.
    pub(crate) runs: String,
}

impl Job {
    /// Of the tests of `programs` those that are `selected`.
    pub(crate) fn new(programs: &[Program], selection: &Selection, arch: Arch, accelerator: Accelerator) -> Self {
        Self { environment: environment(arch, accelerator), runs: runs(programs, selection) }
    }
}

fn environment(arch: Arch, accelerator: Accelerator) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let [checkout, built] = [root(), &built(arch)].map(|directory| quoted(&directory.display().to_string()));
    // Under CI nothing is skipped.
    format!(
        "CHECKOUT={checkout}\nBUILT={built}\nNOW={now}\nCI=true\nCONNGATE_GUEST=1\nCONNGATE_TEST_PATIENCE={}\n",
        accelerator.patience()
    )
}

fn runs(programs: &[Program], selection: &Selection) -> String {
    let mut lines = String::new();
    for (word, program) in programs
        .iter()
        .map(|program| ("list", program))
        .chain(programs.iter().filter(|program| selection.may_have_some(&program.name)).map(|program| ("run", program)))
    {
        let mut words = vec![program.name.clone(), program.path.display().to_string()];
        words.extend(program.runner.iter().map(|word| (*word).to_owned()));
        if word == "run" {
            let threads = THREADS.iter().filter(|_| !program.runner.contains(&THREADS[0]));
            words.extend(threads.map(|word| (*word).to_owned()));
            words.extend(selection.arguments(&program.name));
        }
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        let _ = writeln!(lines, "{word} {}", words.join(" "));
    }
    lines
}

/// As one word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn runs_lists_come_first_and_words_are_quoted() {
        let program = |name: &str, runner| Program { name: name.into(), path: format!("/it's/{name}").into(), runner };
        let programs = [program("net", &["--ignored"]), program("kernel", &[])];
        let selection = Selection::new(None, &["hold".to_owned()], BTreeSet::from(["kernel/hold::a".to_owned()]));
        assert_eq!(
            runs(&programs, &selection),
            "list 'net' '/it'\\''s/net' '--ignored'\nlist 'kernel' '/it'\\''s/kernel'\n\
             run 'net' '/it'\\''s/net' '--ignored' '--test-threads' '2' 'hold'\n\
             run 'kernel' '/it'\\''s/kernel' '--test-threads' '2' 'hold' '--skip' 'hold::a'\n"
        );
    }
}
