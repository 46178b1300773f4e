//! What came of a guest: every test that was to run has passed, or the guest has failed.
//!
//! Decides purely: it is told what the guest says, and asked at the end. A test that was ignored, skipped, or not come to
//! counts as failed unless it was left out.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ledger::{self, Costs},
    selection::{Selection, Wanted},
    word::{Ended, Word},
};

/// What a guest has said so far.
#[derive(Debug, Default)]
pub(crate) struct Account {
    release: Option<String>,
    known: BTreeSet<String>,
    ended: BTreeMap<String, Ended>,
    running: Option<Running>,
    complaints: Vec<String>,
    is_complete: bool,
    /// What `conngate check` says; `None`: it does not speak now.
    checking: Option<String>,
    costs: Costs,
}

/// A program whose tests run.
#[derive(Debug)]
struct Running {
    program: String,
    has_failed: bool,
    /// What failed tests have printed follows, which may look like a result.
    is_over: bool,
}

/// The sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) passed: usize,
    pub(crate) left_out: usize,
    /// One line for each test that has not passed.
    pub(crate) failed: Vec<String>,
    /// What else is wrong.
    pub(crate) complaints: Vec<String>,
}

impl Account {
    /// The guest says `word`. Gives the whole name of a test that has ended.
    pub(crate) fn hear(&mut self, word: &Word<'_>) -> Option<(String, Ended)> {
        match word {
            Word::Release(release) => self.release = Some((*release).to_owned()),
            Word::Test(test) => drop(self.known.insert((*test).to_owned())),
            Word::Run(program) => {
                self.running = Some(Running { program: (*program).to_owned(), has_failed: false, is_over: false });
            }
            Word::Ended(name, how) => {
                let running = self.running.as_mut().filter(|running| !running.is_over)?;
                running.has_failed |= *how == Ended::Failed;
                let test = format!("{}/{name}", running.program);
                self.ended.insert(test.clone(), *how);
                return Some((test, *how));
            }
            Word::Failures => self.running.as_mut()?.is_over = true,
            Word::Ran(status) => {
                let Running { program, has_failed, .. } = self.running.take()?;
                if *status != 0 && !has_failed {
                    self.complaints.push(format!("{program} ended with status {status}, and no test of it has failed"));
                }
            }
            Word::End => self.is_complete = true,
            Word::Check => self.checking = Some(String::new()),
            Word::Text(text) => self.checking.iter_mut().for_each(|said| said.push_str(text)),
            Word::Checked(_) => self.costs = ledger::costs(&self.checking.take().unwrap_or_default()),
        }
        None
    }

    /// The kernel's name for itself.
    pub(crate) fn release(&self) -> Option<&str> {
        self.release.as_deref()
    }

    /// What the programs have cost its verifier.
    pub(crate) fn costs(&self) -> &Costs {
        &self.costs
    }

    /// Whether the guest has come to its end.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The sum of it, where the tests of `selection` were to run.
    pub(crate) fn sum(&self, selection: &Selection) -> Sum {
        let mut sum = Sum { complaints: self.complaints.clone(), ..Sum::default() };
        for test in &self.known {
            match (selection.has(test), self.ended.get(test)) {
                (None, _) => {}
                (Some(Wanted::LeftOut), _) => sum.left_out += 1,
                (Some(Wanted::Run), Some(Ended::Passed)) => sum.passed += 1,
                (Some(Wanted::Run), Some(Ended::Failed)) => sum.failed.push(test.clone()),
                (Some(Wanted::Run), Some(Ended::Ignored)) => sum.failed.push(format!("{test}: was ignored")),
                (Some(Wanted::Run), None) => sum.failed.push(format!("{test}: did not end")),
            }
        }
        if !self.is_complete {
            sum.complaints.push("the guest did not come to its end".to_owned());
        } else if self.known.is_empty() {
            sum.complaints.push("no program has named a test".to_owned());
        } else {
            let unknown = selection.unknown(&self.known);
            sum.complaints.extend(unknown.iter().map(|test| format!("there is no test {test} any more")));
            if sum.passed + sum.failed.len() == 0 {
                sum.complaints.push("no test was run".to_owned());
            }
        }
        sum
    }
}

impl Sum {
    /// Whether all is well.
    pub(crate) fn is_good(&self) -> bool {
        self.failed.is_empty() && self.complaints.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "@release 6.1\n@test kernel/a\n@test kernel/b\n@test net/c\n@run kernel\ntest a ... ok\n";

    fn sum(more: &str, left_out: &[&str]) -> Sum {
        let mut account = Account::default();
        for line in SAID.lines().chain(more.lines()) {
            account.hear(&Word::of(line));
        }
        let left_out = left_out.iter().map(|test| (*test).to_owned()).collect();
        account.sum(&Selection::new(None, &[], left_out))
    }

    #[test]
    fn sum_all_passed_or_left_out_is_good() {
        let sum = sum("@ran 0\n@run net\ntest c ... ok\n@ran 0\n@end\n", &["kernel/b"]);
        assert_eq!((sum.passed, sum.left_out), (2, 1));
        assert!(sum.is_good(), "{sum:?}");
    }

    #[test]
    fn sum_failed_ignored_and_missing_tests_have_failed() {
        let sum = sum(
            "test b ... FAILED\nfailures:\ntest b ... ok\n@ran 101\n@run net\ntest c ... ignored, slow\n@ran 0\n@end\n",
            &[],
        );
        assert_eq!(sum.failed, ["kernel/b", "net/c: was ignored"]);
        assert!(sum.complaints.is_empty());
        let missing = self::sum("@ran 0\n@end\n", &["net/c"]);
        assert_eq!(missing.failed, ["kernel/b: did not end"]);
    }

    #[test]
    fn sum_guest_or_program_that_breaks_off_is_a_complaint() {
        let broken_off = sum("test b ... ok\n", &["net/c"]);
        assert_eq!(broken_off.complaints, ["the guest did not come to its end"]);
        let crashed = sum("test b ... ok\n@ran 139\n@end\n", &["net/c"]);
        assert_eq!(crashed.complaints, ["kernel ended with status 139, and no test of it has failed"]);
    }

    #[test]
    fn sum_left_out_test_that_is_gone_is_a_complaint() {
        let sum = sum("test b ... ok\n@ran 0\n@run net\ntest c ... ok\n@ran 0\n@end\n", &["kernel/gone"]);
        assert_eq!(sum.complaints, ["there is no test kernel/gone any more"]);
    }
}
