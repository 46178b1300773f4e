//! Which tests are to run in a guest, said to the tests' runners and asked when they have ended.
//!
//! Decides purely. A test is named by its program and its own name, `kernel/hold::connect_…`.

use std::collections::BTreeSet;

/// The choice.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// These alone, of all programs; all when absent.
    only: Option<BTreeSet<String>>,
    /// A test has one of these in its name; any when there is none.
    filters: Vec<String>,
    /// Never these.
    left_out: BTreeSet<String>,
}

impl Selection {
    /// `only` these tests that have one of `filters` in their names, but `left_out`.
    pub(crate) fn new(only: Option<&BTreeSet<String>>, filters: &[String], left_out: BTreeSet<String>) -> Self {
        Self { only: only.cloned(), filters: filters.to_vec(), left_out }
    }

    /// Whether the test is to run, or is left out where it would be.
    pub(crate) fn has(&self, test: &str) -> Option<Wanted> {
        let (_, name) = test.split_once('/')?;
        let named = self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()));
        if !named || self.only.as_ref().is_some_and(|only| !only.contains(test)) {
            return None;
        }
        Some(if self.left_out.contains(test) { Wanted::LeftOut } else { Wanted::Run })
    }

    /// Whether a program has tests that are to run, as far as that is known before it has named them.
    pub(crate) fn may_have_some(&self, program: &str) -> bool {
        self.only.is_none() || self.exactly(program).next().is_some()
    }

    /// What the runner of `program` is told.
    pub(crate) fn arguments(&self, program: &str) -> Vec<String> {
        if self.only.is_some() {
            let tests = self.exactly(program).map(|test| self::name(&test).to_owned());
            return std::iter::once("--exact".to_owned()).chain(tests).collect();
        }
        let skipped = self.left_out.iter().filter(|test| test.starts_with(&format!("{program}/")));
        let skipped = skipped.flat_map(|test| ["--skip".to_owned(), name(test).to_owned()]);
        self.filters.iter().cloned().chain(skipped).collect()
    }

    /// What of `known`, all tests that there are, is named here and is none of them.
    pub(crate) fn unknown<'a>(&'a self, known: &BTreeSet<String>) -> Vec<&'a String> {
        let named = self.only.iter().flatten().chain(&self.left_out);
        named.filter(|test| !known.contains(*test)).collect()
    }

    fn exactly(&self, program: &str) -> impl Iterator<Item = String> {
        let tests = self.only.iter().flatten().filter(move |test| test.starts_with(&format!("{program}/")));
        tests.filter(|test| self.has(test) == Some(Wanted::Run)).cloned()
    }
}

/// What is to become of a test that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Run,
    LeftOut,
}

fn name(test: &str) -> &str {
    test.split_once('/').map_or(test, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(tests: &[&str]) -> BTreeSet<String> {
        tests.iter().map(|test| (*test).to_owned()).collect()
    }

    #[test]
    fn has_filter_is_a_part_of_the_name_alone() {
        let selection = Selection::new(None, &["hold::".to_owned()], set(&["kernel/hold::b"]));
        assert_eq!(selection.has("kernel/hold::a"), Some(Wanted::Run));
        assert_eq!(selection.has("kernel/hold::b"), Some(Wanted::LeftOut));
        assert_eq!(selection.has("hold::/a"), None);
        assert_eq!(selection.arguments("kernel"), ["hold::", "--skip", "hold::b"]);
        assert_eq!(selection.arguments("net"), ["hold::"]);
    }

    #[test]
    fn arguments_only_some_names_them_exactly() {
        let only = set(&["kernel/a::x", "kernel/b::y", "kernel/a::z", "net/n"]);
        let selection = Selection::new(Some(&only), &["a::".to_owned()], set(&["kernel/a::z"]));
        assert_eq!(selection.arguments("kernel"), ["--exact", "a::x"]);
        assert!(selection.may_have_some("kernel") && !selection.may_have_some("net"));
    }

    #[test]
    fn unknown_tests_are_those_that_no_program_has() {
        let selection = Selection::new(Some(&set(&["kernel/a", "kernel/gone"])), &[], set(&["kernel/left"]));
        assert_eq!(selection.unknown(&set(&["kernel/a"])), ["kernel/gone", "kernel/left"]);
    }
}
