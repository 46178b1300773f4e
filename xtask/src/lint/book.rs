//! docs/SUMMARY.md, the book's table of contents: every page of docs/ is in it, once, and nothing else.
//!
//! Knows nothing of how the book is built.

use std::collections::BTreeSet;

use super::tree::{File, Finding};

/// The document.
pub(crate) const DOCUMENT: &str = "docs/SUMMARY.md";

/// What is wrong with it.
pub(crate) fn findings(document: &File, files: &[File]) -> Vec<Finding> {
    let pages = files.iter().filter_map(|file| file.path.strip_prefix("docs/"));
    let pages = pages.filter(|path| path.ends_with(".md") && *path != "SUMMARY.md");
    let mut missing: BTreeSet<_> = pages.collect();
    let mut found = Vec::new();
    for (line, text) in (1..).zip(document.content.lines()) {
        let named = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for page in named.filter(|page| !missing.remove(page)) {
            found.push(document.finding(line, format!("docs/{page} is not there, or named twice")));
        }
    }
    found.extend(missing.into_iter().map(|page| document.finding(1, format!("docs/{page} is not in it"))));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_page_that_is_missing_twice_or_not_there_is_found() {
        let file = |path: &str, content: &str| File { path: path.to_owned(), content: content.to_owned() };
        let files = [file("docs/a.md", ""), file("docs/b.md", ""), file(DOCUMENT, ""), file("README.md", "")];
        let of = |content: &str| findings(&file(DOCUMENT, content), &files).len();
        assert_eq!(of("- [A](a.md)\n- [B](b.md)\n"), 0);
        assert_eq!(of("- [A](a.md)\n"), 1);
        assert_eq!(of("- [A](a.md)\n- [B](b.md)\n- [C](c.md)\n- [A](a.md)\n"), 2);
    }
}
