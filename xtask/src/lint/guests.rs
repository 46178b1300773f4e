//! xtask/vm/kernels.toml: the tests that it names are there.
//!
//! Knows nothing of kernels. What program a test is of is seen only when a guest names it.

use std::collections::BTreeSet;

use super::{
    failures::functions,
    tree::{File, Finding},
};

/// The document.
pub(crate) const DOCUMENT: &str = "xtask/vm/kernels.toml";

/// Tests that are not among the functions of `files`.
pub(crate) fn findings(document: &File, files: &[File]) -> Vec<Finding> {
    let functions: BTreeSet<_> = files.iter().filter(|file| file.is_rust()).flat_map(functions).collect();
    let mut found = Vec::new();
    for (line, text) in (1..).zip(document.content.lines()) {
        let Some(test) = named(text) else { continue };
        let (path, name) = test.rsplit_once("::").unwrap_or(("", test));
        let module = path.rsplit("::").next().unwrap_or_default();
        if !functions.contains(&(module.to_owned(), name.to_owned())) {
            found.push(document.finding(line, format!("there is no test `{test}`")));
        }
    }
    found
}

/// The test of a line `"PROGRAM/TEST",` or `test = "PROGRAM/TEST"`, without its program.
fn named(line: &str) -> Option<&str> {
    let text = line.trim();
    let text = text.strip_prefix("test = ").unwrap_or(text).strip_prefix('"')?;
    Some(text.split_once('"')?.0.split_once('/')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(content: &str) -> Vec<String> {
        let file = |path: &str, content: &str| File { path: path.to_owned(), content: content.to_owned() };
        let files = [file("tests/kernel/hold.rs", "fn a() {}\n"), file("agent/src/load.rs", "fn b() {}\n")];
        findings(&file(DOCUMENT, content), &files).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn findings_tests_that_are_there_are_not_found() {
        assert!(
            lines("core = [\n    \"kernel/hold::a\",\n    \"conngate/load::tests::b\",\n    \"machine/a\",\n]\n")
                .is_empty()
        );
        assert!(lines("# \"kernel/hold::gone\"\nwhy = \"a/b\"\n").is_empty());
    }

    #[test]
    fn findings_test_that_is_gone_is_found() {
        assert_eq!(
            lines("\ntest = \"kernel/hold::gone\"\n"),
            ["xtask/vm/kernels.toml:2: there is no test `hold::gone`"]
        );
        assert_eq!(lines("\"kernel/other::a\",\n").len(), 1);
    }
}
