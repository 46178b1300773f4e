//! Rules about the text of any file: trailing blanks, notes to oneself, paths of one machine.

use super::tree::{File, Finding};

/// Words that must not be committed, and why. In halves, so that this file holds none.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("TO", "DO", "do it, or open an issue"),
    ("FIX", "ME", "do it, or open an issue"),
    ("/wo", "rk/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    ("/ho", "me/", "a path of one machine"),
];

/// What is wrong with the text of `file`.
pub(crate) fn findings(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, text) in (1..).zip(file.content.lines()) {
        if text.ends_with([' ', '\t', '\r']) {
            found.push(file.finding(line, "trailing whitespace"));
        }
        for (head, tail, why) in FORBIDDEN {
            let word = format!("{head}{tail}");
            if text.contains(&word) {
                found.push(file.finding(line, format!("`{word}`: {why}")));
            }
        }
    }
    if !file.content.is_empty() && !file.content.ends_with('\n') {
        found.push(file.finding(file.content.lines().count(), "no newline at the end"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(content: &str) -> Vec<String> {
        findings(&File { path: "docs/a.md".to_owned(), content: content.to_owned() })
            .iter()
            .map(Finding::to_string)
            .collect()
    }

    #[test]
    fn findings_clean_text_is_empty() {
        assert!(lines("a line\nanother, below target/\n").is_empty());
    }

    #[test]
    fn findings_trailing_whitespace_is_found() {
        assert_eq!(lines("fine\nnot fine \n"), ["docs/a.md:2: trailing whitespace"]);
    }

    #[test]
    fn findings_every_forbidden_word_is_found() {
        for (head, tail, _) in FORBIDDEN {
            assert_eq!(lines(&format!("see {head}{tail}x\n")).len(), 1, "{head}{tail}");
        }
    }

    #[test]
    fn findings_no_final_newline_is_found() {
        assert_eq!(lines("a\nb"), ["docs/a.md:2: no newline at the end"]);
    }
}
