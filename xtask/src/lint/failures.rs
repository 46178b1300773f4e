//! docs/failure-modes.md and docs/meshes.md: each row names the test that shows it, and that test is there.
//!
//! Knows nothing of what fails or is known. A row that no test shows says `no test yet`.

use std::collections::BTreeSet;

use super::tree::{File, Finding};

/// What fails.
pub(crate) const DOCUMENT: &str = "docs/failure-modes.md";

/// What was run of each mesh.
pub(crate) const MESHES: &str = "docs/meshes.md";

/// What stands in the place of a test.
const NONE: &str = "no test yet";

/// Rows whose tests are not among the functions of `files`.
pub(crate) fn findings(document: &File, files: &[File]) -> Vec<Finding> {
    let functions: BTreeSet<_> = files.iter().filter(|file| file.is_rust()).flat_map(functions).collect();
    let mut found = Vec::new();
    for (line, text) in (1..).zip(document.content.lines()) {
        let Some(cell) = last_cell(text) else { continue };
        let tests: Vec<_> = cell.split(", ").map(|test| test.trim_matches('`')).collect();
        for test in tests {
            let (module, name) = test.rsplit_once("::").unwrap_or(("", test));
            let module = module.rsplit("::").next().unwrap_or_default();
            if test != NONE && !functions.contains(&(module.to_owned(), name.to_owned())) {
                found.push(document.finding(line, format!("there is no test `{test}` (or say `{NONE}`)")));
            }
        }
    }
    found
}

/// The last cell of a table's row; none of its head or of the rule below it.
fn last_cell(line: &str) -> Option<&str> {
    let cell = line.trim_end().strip_prefix('|')?.strip_suffix('|')?.rsplit('|').next()?.trim();
    (cell.starts_with('`') || cell == NONE).then_some(cell)
}

/// Every function of a file by the names that its module goes by: the file's, its directory's, and without any.
pub(crate) fn functions(file: &File) -> impl Iterator<Item = (String, String)> {
    let mut parts = file.path.trim_end_matches(".rs").rsplit('/');
    let stem = parts.next().unwrap_or_default().trim_end_matches("_tests");
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

    fn file(path: &str, content: &str) -> File {
        File { path: path.to_owned(), content: content.to_owned() }
    }

    #[test]
    fn findings_of_a_row_whose_test_is_gone_names_it() {
        let files = [file("tests/tests/kernel/death.rs", "#[test]\nfn agent_killed_goes_on() -> Result<()> {\n")];
        let table = "| fails | test |\n|---|---|\n| a | `death::agent_killed_goes_on` |\n| b | no test yet |\n\
                     | c | `death::agent_killed_goes_on`, `death::gone` |\n| d | `life::agent_killed_goes_on` |\n";
        let found = findings(&file(DOCUMENT, table), &files);
        let found: Vec<_> = found.iter().map(Finding::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains(":5: there is no test `death::gone`"), "{found:?}");
        assert!(found[1].contains(":6: there is no test `life::agent_killed_goes_on`"), "{found:?}");
    }
}
