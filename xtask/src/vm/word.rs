//! What a guest says, line by line: words of xtask/vm/job.sh, and what tests' runners print.
//!
//! Decides purely.

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word<'a> {
    /// `uname -r`.
    Release(&'a str),
    /// What `conngate check` says follows.
    Check,
    /// It has ended with this status.
    Checked(i32),
    /// There is such a test.
    Test(&'a str),
    /// A program's tests follow.
    Run(&'a str),
    /// It has ended with this status.
    Ran(i32),
    /// A test of it has ended.
    Ended(&'a str, Ended),
    /// What failed tests have printed follows, and then their names, after another such line.
    Failures,
    /// The guest has done everything.
    End,
    /// Anything else.
    Text(&'a str),
}

/// How a test has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Passed,
    Failed,
    Ignored,
}

impl<'a> Word<'a> {
    /// What `line` is.
    pub(crate) fn of(line: &'a str) -> Self {
        if line == "failures:" {
            return Self::Failures;
        }
        own(line).or_else(|| ended(line)).unwrap_or(Self::Text(line))
    }
}

fn own(line: &str) -> Option<Word<'_>> {
    let said = line.strip_prefix('@')?;
    let (word, rest) = said.split_once(' ').unwrap_or((said, ""));
    Some(match word {
        "release" => Word::Release(rest),
        "check" => Word::Check,
        "checked" => Word::Checked(rest.parse().ok()?),
        "test" => Word::Test(rest),
        "run" => Word::Run(rest),
        "ran" => Word::Ran(rest.parse().ok()?),
        "end" => Word::End,
        _ => return None,
    })
}

/// `test NAME ... ok`; NAME may be followed by ` - should panic`.
fn ended(line: &str) -> Option<Word<'_>> {
    let (name, how) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let name = name.split(" - ").next().unwrap_or(name);
    let how = match how {
        "ok" => Ended::Passed,
        "FAILED" => Ended::Failed,
        _ if how.starts_with("ignored") => Ended::Ignored,
        _ => return None,
    };
    Some(Word::Ended(name, how))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_guests_own_words() {
        assert_eq!(Word::of("@release 6.1.0-56-cloud-amd64"), Word::Release("6.1.0-56-cloud-amd64"));
        assert_eq!(Word::of("@test kernel/hold::a"), Word::Test("kernel/hold::a"));
        assert_eq!(Word::of("@ran 101"), Word::Ran(101));
        assert_eq!(Word::of("@end"), Word::End);
        assert_eq!(Word::of("@someone said"), Word::Text("@someone said"));
    }

    #[test]
    fn of_the_runners_lines() {
        assert_eq!(Word::of("test hold::a ... ok"), Word::Ended("hold::a", Ended::Passed));
        assert_eq!(Word::of("test a - should panic ... FAILED"), Word::Ended("a", Ended::Failed));
        assert_eq!(Word::of("test a ... ignored, needs root"), Word::Ended("a", Ended::Ignored));
        assert_eq!(Word::of("test a has been running for over 60 seconds"), {
            Word::Text("test a has been running for over 60 seconds")
        });
        assert_eq!(Word::of("failures:"), Word::Failures);
        assert_eq!(Word::of("test result: ok. 1 passed"), Word::Text("test result: ok. 1 passed"));
    }
}
