//! Adds up what the test runners themselves say.
//!
//! Knows libtest's two summary lines, and how it tells why a test failed.

use std::{
    fmt,
    ops::{Add, AddAssign},
};

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Ignored, or of a tier that did not run.
    pub(crate) skipped: usize,
}

/// What came of a tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// Why.
    Skipped(String),
}

impl Tally {
    /// The tier's outcome, where its runner `succeeded`. A runner that fails without a failed test (it does not
    /// compile, it crashed) is one failure, so that the numbers never look better than the outcome; and one that
    /// ran nothing has not passed.
    pub(crate) fn outcome(mut self, succeeded: bool) -> (Outcome, Self) {
        let ran_nothing = self.passed + self.failed == 0;
        if self.failed == 0 && (!succeeded || ran_nothing) {
            self.failed = 1;
        }
        (if self.failed == 0 { Outcome::Passed } else { Outcome::Failed }, self)
    }
}

impl Outcome {
    /// Whether it fails the whole; under CI nothing may be skipped.
    pub(crate) fn is_failure(&self, ci: bool) -> bool {
        match self {
            Self::Passed => false,
            Self::Failed => true,
            Self::Skipped(_) => ci,
        }
    }
}

/// The numbers of a line `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`.
pub(crate) fn result(line: &str) -> Option<Tally> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let of = |what: &str| numbers.split("; ").find_map(|part| part.strip_suffix(what)?.trim_end().parse().ok());
    Some(Tally { passed: of("passed")?, failed: of("failed")?, skipped: of("ignored")? })
}

/// The longest that is said again of one failure, in lines.
const SAID_AGAIN: usize = 12;

/// The longest of these lines, in characters.
const LINE: usize = 300;

/// Why tests failed, each in a few lines: who sees only the end of a long output has to see that.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// The lines.
    said: Vec<String>,
    /// How many more of the present failure's lines belong there.
    room: usize,
}

impl Failures {
    /// Takes the next line of a runner's output. A failure begins with `---- NAME stdout ----` and ends before the
    /// next one, or the list of names.
    pub(crate) fn read(&mut self, line: &str) {
        if line.starts_with("---- ") && line.ends_with(" ----") {
            self.room = SAID_AGAIN;
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.room = 0;
        } else if line.trim().is_empty() {
            return;
        }
        if self.room > 0 {
            self.room -= 1;
            self.said.push(line.chars().take(LINE).collect());
        }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.said.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// The number of a line `7 tests, 0 benchmarks`, the end of `--list`.
pub(crate) fn listed(line: &str) -> Option<usize> {
    let (tests, _) = line.split_once(" test")?;
    line.contains(" benchmark").then(|| tests.parse().ok())?
}

impl Add for Tally {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed => f.write_str("failed"),
            Self::Skipped(why) => write!(f, "skipped ({why})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE_OF_RESULT: &str =
        "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.02s";

    #[test]
    fn result_summary_line_gives_its_numbers() {
        assert_eq!(result(LINE_OF_RESULT), Some(Tally { passed: 12, failed: 3, skipped: 1 }));
    }

    #[test]
    fn result_other_line_is_none() {
        assert_eq!(result("test result_summary_line ... ok"), None);
    }

    #[test]
    fn failures_are_said_again_shortened() {
        let long = "x".repeat(LINE + 1);
        let cause = ["", "thread 'a' panicked at b.rs:1:2:", &long].into_iter().chain(["more"; SAID_AGAIN]);
        let mut failures = Failures::default();
        for line in ["test a ... FAILED", "failures:", "", "---- a stdout ----"].into_iter().chain(cause) {
            failures.read(line);
        }
        for line in ["failures:", "    a", LINE_OF_RESULT] {
            failures.read(line);
        }
        let said = failures.to_string();
        let said: Vec<_> = said.lines().collect();
        assert_eq!(said[..2], ["---- a stdout ----", "thread 'a' panicked at b.rs:1:2:"]);
        assert_eq!((said[2].len(), said.len()), (LINE, SAID_AGAIN));
        assert_eq!(said[3..], ["more"; SAID_AGAIN - 3]);
    }

    #[test]
    fn listed_summary_line_gives_its_number() {
        assert_eq!(listed("7 tests, 0 benchmarks"), Some(7));
        assert_eq!(listed("1 test, 0 benchmarks"), Some(1));
        assert_eq!(listed("gate::opens: test"), None);
    }

    #[test]
    fn outcome_runner_failed_without_a_failed_test_counts_one() {
        let passed = Tally { passed: 5, ..Tally::default() };
        assert_eq!(passed.outcome(true), (Outcome::Passed, passed));
        assert_eq!(passed.outcome(false), (Outcome::Failed, Tally { passed: 5, failed: 1, skipped: 0 }));
    }

    #[test]
    fn outcome_nothing_ran_is_failed() {
        assert_eq!(Tally::default().outcome(true).0, Outcome::Failed);
    }

    #[test]
    fn is_failure_skipped_only_under_ci() {
        let skipped = Outcome::Skipped("needs root".to_owned());
        assert!(skipped.is_failure(true) && !skipped.is_failure(false));
        assert!(Outcome::Failed.is_failure(false) && !Outcome::Passed.is_failure(true));
    }

    #[test]
    fn display_tally_is_the_last_line() {
        assert_eq!(Tally { passed: 2, failed: 1, skipped: 3 }.to_string(), "2 passed, 1 failed, 3 skipped");
    }
}
