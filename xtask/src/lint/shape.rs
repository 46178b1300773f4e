//! Rules about the shape of a Rust file: it says what it is, it is short, and tests stand where Rust looks for them.

use super::tree::{File, Finding};

/// Lines of a file that is not a test.
const MAX_LINES: usize = 500;

/// What is wrong with the shape of `file`.
pub(crate) fn findings(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    if !file.content.starts_with("//! ") {
        found.push(file.finding(1, "a file starts with its module doc: `//! what it is`"));
    }
    let lines = file.content.lines().count();
    if lines > MAX_LINES && !file.is_test() {
        found.push(file.finding(lines, format!("{lines} lines, at most {MAX_LINES}: split it by idea")));
    }
    if is_oddly_named(file) {
        found.push(file.finding(1, "tests of x.rs stand in x/tests.rs, or by idea in x/tests/"));
    }
    found
}

/// Whether a file of tests has a name that takes a `#[path]`, or stands beside what it tests.
fn is_oddly_named(file: &File) -> bool {
    let name = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    name.ends_with("_tests") || name.starts_with("tests_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, content: &str) -> usize {
        findings(&File { path: path.to_owned(), content: content.to_owned() }).len()
    }

    #[test]
    fn findings_module_doc_is_asked_of_every_file() {
        assert_eq!(count("agent/build.rs", "fn main() {}\n"), 1);
        assert_eq!(count("agent/build.rs", "//! Checks.\nfn main() {}\n"), 0);
    }

    #[test]
    fn findings_tests_beside_their_file_are_found() {
        for path in ["agent/src/pods/pod_tests.rs", "agent/src/gate/tests_life.rs"] {
            assert_eq!(count(path, "//! Tests.\n"), 1, "{path}");
        }
        for path in ["agent/src/pods/pod/tests.rs", "agent/src/gate/tests/life.rs"] {
            assert_eq!(count(path, "//! Tests.\n"), 0, "{path}");
        }
    }

    #[test]
    fn findings_long_file_is_found_unless_a_test() {
        let long = format!("//! Long.\n{}", "\n".repeat(MAX_LINES));
        assert_eq!(count("agent/src/app.rs", &long), 1);
        assert_eq!(count("tests/testbed/src/lib.rs", &long), 1);
        assert_eq!(count("agent/src/gate/tests.rs", &long), 0);
        assert_eq!(count("tests/kernel/connect.rs", &long), 0);
    }
}
