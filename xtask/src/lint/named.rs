//! Tests that documents name are there: those of docs/failure-modes.md and docs/meshes.md, one row each, and of xtask/vm/kernels.toml.
//!
//! Knows nothing of what fails, nor of kernels: of what program a test is, is seen only when a guest names it. A row of
//! docs/failure-modes.md that no test shows says `no test yet`.

use std::collections::BTreeSet;

use super::tree::{File, Finding};

/// The tests in a line of a document.
type Named = fn(&str) -> Vec<&str>;

/// The documents.
const DOCUMENTS: [(&str, Named); 3] =
    [("docs/failure-modes.md", in_last_cell), ("docs/meshes.md", in_last_cell), ("xtask/vm/kernels.toml", in_quotes)];

/// What stands in a row in the place of a test.
const NONE: &str = "no test yet";

/// Documents that are not there, and tests of theirs that are not among the functions of `files`.
pub(crate) fn findings(files: &[File]) -> Vec<Finding> {
    let functions: BTreeSet<_> = files.iter().filter(|file| file.is_rust()).flat_map(functions).collect();
    let mut found = Vec::new();
    for (path, named) in DOCUMENTS {
        let Some(document) = files.iter().find(|file| file.path == path) else {
            found.push(Finding::new(path, 1, "is not there".to_owned()));
            continue;
        };
        for (line, text) in (1..).zip(document.content.lines()) {
            for test in named(text) {
                let (path, name) = test.rsplit_once("::").unwrap_or(("", test));
                let module = path.rsplit("::").next().unwrap_or_default();
                if !functions.contains(&(module.to_owned(), name.to_owned())) {
                    found.push(document.finding(line, format!("there is no test `{test}`")));
                }
            }
        }
    }
    found
}

/// The tests in the last cell of a table's row; none of its head or of the rule below it.
fn in_last_cell(line: &str) -> Vec<&str> {
    let row = line.trim_end().strip_prefix('|').and_then(|line| line.strip_suffix('|'));
    let cell = row.and_then(|row| row.rsplit('|').next()).unwrap_or_default().trim();
    if !cell.starts_with('`') && !cell.starts_with(NONE) {
        return Vec::new();
    }
    cell.split(", ").filter(|test| *test != NONE).map(|test| test.trim_matches('`')).collect()
}

/// The test of a line `"PROGRAM/TEST",` or `test = "PROGRAM/TEST"`, without its program.
fn in_quotes(line: &str) -> Vec<&str> {
    let text = line.trim();
    let quoted = text.strip_prefix("test = ").unwrap_or(text).strip_prefix('"').and_then(|text| text.split_once('"'));
    quoted.and_then(|(test, _)| test.split_once('/')).map(|(_, test)| test).into_iter().collect()
}

/// Every function of a file by the names that its module goes by: the file's, its directory's, and without any.
fn functions(file: &File) -> impl Iterator<Item = (String, String)> {
    let mut parts = file.path.trim_end_matches(".rs").rsplit('/');
    let stem = parts.next().unwrap_or_default();
    let modules = [stem, parts.next().unwrap_or_default(), "tests", ""].map(str::to_owned);
    let names = file.content.lines().filter_map(|line| {
        let (_, rest) = line.split_once("fn ")?;
        Some(rest.split(['(', '<']).next()?.to_owned())
    });
    names.flat_map(move |name| modules.clone().map(|module| (module, name.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(table: &str, kernels: &str) -> Vec<String> {
        let file = |path: &str, content: &str| File { path: path.to_owned(), content: content.to_owned() };
        let files = [
            file("tests/kernel/death.rs", "#[test]\nfn agent_killed_goes_on() -> Result<()> {\n"),
            file("agent/src/load/tests.rs", "fn b() {}\n"),
            file(DOCUMENTS[0].0, table),
            file(DOCUMENTS[1].0, ""),
            file(DOCUMENTS[2].0, kernels),
        ];
        findings(&files).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn findings_of_a_row_whose_test_is_gone_names_it() {
        let table = "| fails | test |\n|---|---|\n| a | `death::agent_killed_goes_on` |\n| b | no test yet |\n\
                     | c | `death::agent_killed_goes_on`, `death::gone` |\n| d | `life::agent_killed_goes_on` |\n";
        let found = found(table, "");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains(":5: there is no test `death::gone`"), "{found:?}");
        assert!(found[1].contains(":6: there is no test `life::agent_killed_goes_on`"), "{found:?}");
    }

    #[test]
    fn findings_of_kernels_whose_tests_are_there_are_none() {
        let core = "core = [\n    \"kernel/death::agent_killed_goes_on\",\n    \"conngate/load::tests::b\",\n    \"machine/b\",\n]\n";
        assert!(found("", core).is_empty());
        assert!(found("", "# \"kernel/death::gone\"\nwhy = \"a/b\"\n").is_empty());
    }

    #[test]
    fn findings_of_kernels_whose_test_is_gone_name_it() {
        let gone = found("", "\ntest = \"kernel/death::gone\"\n");
        assert_eq!(gone, ["xtask/vm/kernels.toml:2: there is no test `death::gone`"]);
        assert_eq!(found("", "\"kernel/other::b\",\n").len(), 1);
    }

    #[test]
    fn findings_document_that_is_not_there_is_named() {
        assert_eq!(findings(&[]).len(), DOCUMENTS.len());
    }
}
