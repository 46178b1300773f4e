//! `check` in words: one paragraph for each finding, with what to do where it is not as it should be.

use super::{WIDTH, printable};
use crate::check::{Checked, Finding, Level};

/// The most that is shown of a text.
const MOST: usize = 1000;

/// Where a finding's words begin: below the first of them, the next lines.
const INDENT: usize = 18;

/// What was found, for people.
#[must_use]
pub fn text(checked: &Checked) -> String {
    checked.findings.iter().map(finding).collect()
}

/// One finding.
#[must_use]
pub fn finding(finding: &Finding) -> String {
    let said = format!("{}: {}", printable(&finding.found, MOST), printable(&finding.means, MOST));
    let head = format!("{:<5} {:<11} ", finding.level.word(), printable(&finding.subject, INDENT - 7));
    let mut text = wrapped(&head, &said);
    if finding.level != Level::Ok {
        for more in finding.hint.iter().chain([&finding.link].into_iter().filter(|link| !link.is_empty())) {
            text += &wrapped(&format!("{:INDENT$}-> ", ""), &printable(more, MOST));
        }
    }
    text
}

/// `words` after `head`, in lines that fit; a word that does not fit has a line of its own.
fn wrapped(head: &str, words: &str) -> String {
    let indent = " ".repeat(INDENT);
    let mut lines = vec![head.to_owned()];
    let mut begun = false;
    for word in words.split(' ') {
        let line = lines.last_mut().expect("there is a first one");
        if begun && line.chars().count() + 1 + word.chars().count() > usize::from(WIDTH) {
            lines.push(format!("{indent}{word}"));
        } else {
            *line += if begun { " " } else { "" };
            *line += word;
        }
        begun = true;
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Subject;

    #[test]
    fn text_of_a_finding_that_is_well_is_one_line() {
        let checked = Checked::new(vec![Finding::new(Level::Ok, Subject::Kernel, "6.18", "5.10 or later is needed")]);
        assert_eq!(text(&checked), "ok    kernel      6.18: 5.10 or later is needed\n");
    }

    #[test]
    fn text_of_a_finding_that_fails_says_what_to_do_and_where_more_is_said() {
        let text = finding(&Finding::new(Level::Fail, Subject::Pins, "no BPF file system", "nothing is pinned"));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "fail  pins        no BPF file system: nothing is pinned");
        assert!(lines[1].starts_with("                  -> mount -t bpf"), "{text}");
        assert!(lines.last().is_some_and(|line| line.trim_start().starts_with("-> https://")), "{text}");
    }

    #[test]
    fn text_of_long_findings_fits_and_moves_nothing() {
        let found = format!("{} {}", "word ".repeat(60), "a\u{1b}[2J\n\u{202e}b");
        let text = finding(&Finding::new(Level::Warn, Subject::Neighbours, found, "x"));
        assert!(text.lines().count() > 3, "{text}");
        for line in text.lines().filter(|line| !line.contains("https://")) {
            assert!(line.chars().count() <= usize::from(WIDTH), "{line}");
            assert!(!line.chars().any(|letter| letter.is_control() || letter == '\u{202e}'), "{line:?}");
        }
    }
}
